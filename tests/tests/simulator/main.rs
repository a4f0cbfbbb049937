//! What must hold of the strategies over simulated pools that fail, seed by seed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{thread, time::Duration};

use berry_tests::sim::{Down, Kind, Run, Setup, Site, Table, pools};
use berry_tower::backend::strategy::NAMES;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const SEEDS: u64 = 200;

/// Those that divide the requests among all who are well.
const SHARING: [&str; 6] =
    ["random", "weighted_random", "round_robin", "weighted_failover", "smart_weighted_failover", "smart_ai"];

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Runs the check for every seed, on two threads.
fn each_seed(check: impl Fn(u64) + Sync) {
    let check = &check;
    thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || (0..SEEDS).filter(|seed| seed % 2 == half).for_each(check));
        }
    });
}

#[test]
fn while_one_of_two_works_no_request_fails() {
    each_seed(|seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut pool = pools::equals(2);
        for site in &mut pool {
            site.weight = f64::from(rng.random_range(1..=3));
            site.priority = rng.random_range(0..=1);
            site.premium = rng.random_bool(0.3);
        }
        let (first, second) = (pools::any_kind(&mut rng), pools::any_kind(&mut rng));
        pool[0] = pool[0].clone().trouble(5, 65, first);
        // Then the other one; without probes the first may not be back by that time.
        let probed = !seed.is_multiple_of(4);
        if probed {
            pool[1] = pool[1].clone().trouble(130, 190, second);
        }
        for strategy in NAMES {
            let mut setup = Setup::new(strategy, pool.clone(), seconds(200)).seed(seed);
            setup.probes = setup.probes.filter(|_| probed);
            let run = setup.run();
            assert_eq!(run.failures, 0, "{strategy}, seed {seed}: {first:?}, {second:?}, {:?}", run.given_up);
        }
    });
}

#[test]
fn smart_ai_spares_the_premium_ones_and_costs_less() {
    each_seed(|seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let premium = Site { premium: true, price: 10.0, ..Site::new("premium") };
        let noisy = |name: &str| Site { noise: 0.005, ..Site::new(name) };
        let mut pool = vec![noisy("cheap"), premium];
        if seed.is_multiple_of(2) {
            pool.push(noisy("other").trouble(100, 200, pools::any_kind(&mut rng)));
        }
        let setup = |strategy: &str| Setup::new(strategy, pool.clone(), seconds(400)).seed(seed);
        let (smart, weighted) = (setup("smart_ai").run(), setup("weighted_random").run());
        let [all, premium] = smart.while_cheap.map(|n| n as f64);
        assert!(all > 3_000.0, "seed {seed}: a cheap one is trusted most of the time, {all}");
        assert!(premium / all < 0.25, "seed {seed}: {:.3}", premium / all);
        assert_eq!((smart.failures, weighted.failures), (0, 0), "seed {seed}");
        assert!(smart.cost < weighted.cost, "seed {seed}: {:.2} {:.2}", smart.cost, weighted.cost);
    });
}

/// The outage of the first one of a pool.
const FROM: u64 = 10;
const TO: u64 = 70;

/// A pool of two or three whose first one fails always for a minute; it is also the fastest and
/// the preferred one, so that `failover` and `least_latency` have something to go back to.
fn outage(strategy: &str, seed: u64) -> Setup {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut pool = pools::equals(rng.random_range(2..=3));
    pool.iter_mut().skip(1).for_each(|site| site.priority = 1);
    let down = [Down::Errors, Down::Refuses, Down::Hangs][rng.random_range(0..3)];
    pool[0].median = Duration::from_millis(200);
    pool[0].weight = f64::from(rng.random_range(1..=3));
    pool[0] = pool[0].clone().trouble(FROM, TO, Kind::Outage(down));
    let mut setup = Setup::new(strategy, pool, seconds(TO + 150)).seed(seed);
    setup.rate = if seed.is_multiple_of(8) { 25.0 } else { 10.0 };
    setup
}

#[test]
fn who_always_fails_is_left_and_who_recovers_has_its_share_again_without_a_flood() {
    each_seed(|seed| {
        for strategy in NAMES {
            let setup = outage(strategy, seed);
            let (run, fair) = (setup.run(), setup.fair_shares()[0]);
            let about = format!("{strategy}, seed {seed}");
            assert_eq!(run.failures, 0, "{about}");
            left(&run, &about);
            let again = run.share(0, seconds(TO + 60), seconds(TO + 150)).unwrap();
            assert!(again >= 0.8 * fair, "{about}: {again:.3} of {fair:.3}");
            if SHARING.contains(&strategy) {
                not_flooded(&run, fair, &about);
            }
        }
    });
}

/// After its tenth failure the one that fails always gets under 3 % of the attempts.
fn left(run: &Run, about: &str) {
    let tenth = run.failed_at[0].get(9).filter(|at| **at + seconds(5) < seconds(TO));
    if let Some(tenth) = tenth {
        let share = run.share(0, *tenth, seconds(TO)).unwrap();
        assert!(share < 0.03, "{about}: {share:.3} after {tenth:?}");
    }
}

/// In its first ten seconds the recovered one gets no more than twice its fair share, counted
/// from its recovery and from the first request that it gets.
fn not_flooded(run: &Run, fair: f64, about: &str) {
    let first = run.picks.iter().find(|(at, site)| *site == 0 && *at >= seconds(TO)).unwrap().0;
    for from in [seconds(TO), first] {
        let share = run.share(0, from, from + seconds(10)).unwrap();
        assert!(share <= 2.0 * fair, "{about}: {share:.3} of {fair:.3}");
    }
}

#[test]
fn a_run_is_the_same_for_the_same_seed_and_the_table_shows_all() {
    let length = seconds(1_800);
    let mut table = Table::default();
    for strategy in NAMES {
        let setup = Setup::new(strategy, pools::market(length, 7), length).seed(7);
        let (one, other) = (setup.run(), setup.run());
        assert!(one.picks == other.picks, "{strategy}");
        table.add(&setup, &one);
    }
    let text = table.to_string();
    assert!(NAMES.iter().all(|name| text.contains(&format!("| `{name}` |"))), "{text}");
}
