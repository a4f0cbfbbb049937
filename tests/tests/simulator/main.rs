//! Properties of the strategies over simulated pools with failures, checked for many seeds.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{thread, time::Duration};

use berry_tests::sim::{Down, Kind, Run, Setup, Site, Table, pools};
use berry_tower::backend::strategy::NAMES;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const SEEDS: u64 = 200;

/// The strategies that share requests among all healthy backends.
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
fn no_request_fails_while_one_of_two_backends_works() {
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
        // Then the other site fails. Without probes the first may not have recovered by then.
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
fn smart_ai_avoids_premium_backends_and_costs_less() {
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
        assert!(all > 3_000.0, "seed {seed}: a cheap site is trusted most of the time, {all}");
        assert!(premium / all < 0.25, "seed {seed}: {:.3}", premium / all);
        assert_eq!((smart.failures, weighted.failures), (0, 0), "seed {seed}");
        assert!(smart.cost < weighted.cost, "seed {seed}: {:.2} {:.2}", smart.cost, weighted.cost);
    });
}

/// The start and end of the outage, in seconds.
const OUTAGE_START: u64 = 10;
const OUTAGE_END: u64 = 70;

/// Returns a pool of two or three sites. The first site is down for a minute. It is also the fastest
/// and has the best priority, so that `failover` and `least_latency` return to it.
fn outage(strategy: &str, seed: u64) -> Setup {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut pool = pools::equals(rng.random_range(2..=3));
    pool.iter_mut().skip(1).for_each(|site| site.priority = 1);
    let down = [Down::Errors, Down::Refuses, Down::Hangs][rng.random_range(0..3)];
    pool[0].median = Duration::from_millis(200);
    pool[0].weight = f64::from(rng.random_range(1..=3));
    pool[0] = pool[0].clone().trouble(OUTAGE_START, OUTAGE_END, Kind::Outage(down));
    let mut setup = Setup::new(strategy, pool, seconds(OUTAGE_END + 150)).seed(seed);
    setup.rate = if seed.is_multiple_of(8) { 25.0 } else { 10.0 };
    setup
}

#[test]
fn failing_backend_loses_traffic_and_regains_its_share_gradually() {
    each_seed(|seed| {
        for strategy in NAMES {
            let setup = outage(strategy, seed);
            let (run, fair) = (setup.run(), setup.fair_shares()[0]);
            let context = format!("{strategy}, seed {seed}");
            assert_eq!(run.failures, 0, "{context}");
            assert_loses_traffic(&run, &context);
            let regained = run.share(0, seconds(OUTAGE_END + 60), seconds(OUTAGE_END + 150)).unwrap();
            assert!(regained >= 0.8 * fair, "{context}: {regained:.3} of {fair:.3}");
            if SHARING.contains(&strategy) {
                assert_not_flooded(&run, fair, &context);
            }
        }
    });
}

/// After its tenth failure the site gets less than 3 % of the attempts.
fn assert_loses_traffic(run: &Run, context: &str) {
    let tenth = run.failed_at[0].get(9).filter(|at| **at + seconds(5) < seconds(OUTAGE_END));
    if let Some(tenth) = tenth {
        let share = run.share(0, *tenth, seconds(OUTAGE_END)).unwrap();
        assert!(share < 0.03, "{context}: {share:.3} after {tenth:?}");
    }
}

/// The recovered site gets at most twice its fair share during ten seconds, counted from its recovery
/// and from its first request.
fn assert_not_flooded(run: &Run, fair: f64, context: &str) {
    let first = run.picks.iter().find(|(at, site)| *site == 0 && *at >= seconds(OUTAGE_END)).unwrap().0;
    for from in [seconds(OUTAGE_END), first] {
        let share = run.share(0, from, from + seconds(10)).unwrap();
        assert!(share <= 2.0 * fair, "{context}: {share:.3} of {fair:.3}");
    }
}

#[test]
fn same_seed_repeats_a_run_and_the_table_lists_every_strategy() {
    let length = seconds(1_800);
    let mut table = Table::default();
    for strategy in NAMES {
        let setup = Setup::new(strategy, pools::market(length, 7), length).seed(7);
        let (first, second) = (setup.run(), setup.run());
        assert!(first.picks == second.picks, "{strategy}");
        table.add(&setup, &first);
    }
    let text = table.to_string();
    assert!(NAMES.iter().all(|name| text.contains(&format!("| `{name}` |"))), "{text}");
}
