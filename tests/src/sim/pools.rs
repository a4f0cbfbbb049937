//! Pools for the simulator: those of the tests, and that of the table in the documentation.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{Down, Kind, Site};

/// Returns `n` equal sites that never fail.
#[must_use]
pub fn equals(n: usize) -> Vec<Site> {
    (0..n).map(|i| Site::new(format!("b{i}"))).collect()
}

/// Returns the pool of the table: two cheap providers that often fail, and a fast, expensive one
/// that seldom does. The failures are of random kinds and lengths.
#[must_use]
pub fn market(length: Duration, seed: u64) -> Vec<Site> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x5EED);
    let site = |name: &str, priority: u8, millis, price, noise| Site {
        weight: f64::from(3 - priority),
        priority,
        price,
        noise,
        median: Duration::from_millis(millis),
        ..Site::new(name)
    };
    let mut sites = vec![
        site("cheap", 0, 700, 1.0, 0.005),
        site("other", 1, 900, 1.2, 0.01),
        Site { premium: true, ..site("premium", 2, 450, 10.0, 0.001) },
    ];
    for (site, every) in sites.iter_mut().zip([2_400, 1_800, 14_400]) {
        troubles(site, length.as_secs(), every, &mut rng);
    }
    sites
}

/// Adds periods of failure that are `every` seconds apart on average and do not overlap.
pub fn troubles(site: &mut Site, length: u64, every: u64, rng: &mut StdRng) {
    let mut at = rng.random_range(0..every);
    while at + 900 < length {
        let lasts = rng.random_range(60..600);
        *site = site.clone().trouble(at, at + lasts, any_kind(rng));
        at += lasts + rng.random_range(every / 2..every * 3 / 2);
    }
}

/// Returns a random kind of failure.
pub fn any_kind(rng: &mut StdRng) -> Kind {
    let down = [Down::Errors, Down::Refuses, Down::Hangs][rng.random_range(0..3)];
    match rng.random_range(0..4) {
        0 => Kind::Outage(down),
        1 => Kind::Flapping { down, period: Duration::from_secs(rng.random_range(10..90)) },
        2 => Kind::Decay,
        _ => {
            let retry_after = rng.random_bool(0.5).then(|| Duration::from_secs(rng.random_range(1..30)));
            Kind::Limited { retry_after }
        }
    }
}
