//! All strategies: picks, probabilities and weights are consistent.

use std::{sync::Arc, thread, time::Duration};

use berry_tower::backend::{
    SmartAi, Stage, View,
    strategy::{Candidate, RoundRobin, Strategy, by_name},
};
use rand::RngExt;

use crate::pools::{Pool, all_strategies, backend, candidates, pool, rng};

/// Returns how often each candidate is picked in `times` picks.
fn frequencies(strategy: &dyn Strategy, candidates: &[Candidate<'_>], times: usize, seed: u64) -> Vec<f64> {
    let mut rng = rng(seed);
    let mut counts = vec![0.0; candidates.len()];
    for _ in 0..times {
        counts[strategy.pick(candidates, &mut || rng.random())] += 1.0;
    }
    counts
}

/// Returns the value that the χ² statistic exceeds once in about three million tests, by the
/// approximation of Wilson and Hilferty.
fn critical(degrees: f64) -> f64 {
    let spread = 2.0 / (9.0 * degrees);
    degrees * (1.0 - spread + 5.0 * spread.sqrt()).powi(3)
}

/// Returns whether counts fit probabilities by a χ² test. Rare outcomes form one cell.
fn fits(counts: &[f64], probabilities: &[f64]) -> bool {
    let times: f64 = counts.iter().sum();
    let (mut rare, mut cells) = ((0.0, 0.0), Vec::new());
    for (&seen, &p) in counts.iter().zip(probabilities) {
        if p == 0.0 && seen > 0.0 {
            return false;
        }
        if p * times < 5.0 {
            rare = (rare.0 + seen, rare.1 + p * times);
        } else {
            cells.push((seen, p * times));
        }
    }
    if rare.1 >= 5.0 {
        cells.push(rare);
    } else if rare.0 > 30.0 {
        return false;
    }
    let statistic: f64 = cells.iter().map(|(seen, due)| (seen - due).powi(2) / due).sum();
    cells.len() < 2 || statistic < critical(cells.len() as f64 - 1.0)
}

#[test]
fn picks_follow_the_reported_probabilities() {
    for seed in 0..60 {
        let pool = pool(&mut rng(seed));
        let candidates = candidates(&pool);
        for strategy in all_strategies() {
            let stated = strategy.probabilities(&candidates);
            let sum: f64 = stated.iter().sum();
            assert!((sum - 1.0).abs() < 1e-9, "{} sums up to {sum}", strategy.name());
            let seen = frequencies(&*strategy, &candidates, 3_000, seed + 1_000);
            assert!(fits(&seen, &stated), "{} on pool {seed}: {seen:?} for {stated:?}", strategy.name());
        }
    }
}

#[test]
fn chi_squared_test_detects_wrong_probabilities() {
    assert!(fits(&[1_000.0, 2_000.0], &[1.0 / 3.0, 2.0 / 3.0]));
    assert!(!fits(&[1_000.0, 2_000.0], &[0.4, 0.6]));
    assert!(!fits(&[2_999.0, 1.0], &[1.0, 0.0]));
}

#[test]
fn double_weight_gets_double_picks() {
    let pool: Pool = [1.0, 2.0].map(|w| (Arc::new(backend("m").with_weight(w)), View::default())).into();
    for name in ["weighted_random", "failover", "weighted_failover", "smart_weighted_failover"] {
        let strategy = by_name(name, &SmartAi::default()).unwrap();
        let seen = frequencies(&*strategy, &candidates(&pool), 30_000, 7);
        assert!(fits(&seen, &[1.0 / 3.0, 2.0 / 3.0]), "{name}: {seen:?}");
    }
}

#[test]
fn probabilities_follow_the_effective_weights() {
    for seed in 0..100 {
        let pool = pool(&mut rng(seed));
        let candidates = candidates(&pool);
        for name in ["weighted_random", "smart_weighted_failover"] {
            let strategy = by_name(name, &SmartAi::default()).unwrap();
            let weights: Vec<f64> = candidates.iter().map(|c| strategy.effective_weight(c)).collect();
            let total: f64 = weights.iter().sum();
            for (p, w) in strategy.probabilities(&candidates).into_iter().zip(weights) {
                assert!((p - w / total).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn round_robin_is_exact_under_concurrency() {
    for n in 1..=7 {
        let pool: Pool = (0..n).map(|i| (Arc::new(backend(&format!("m{i}"))), View::default())).collect();
        let strategy = RoundRobin::default();
        let counts = thread::scope(|scope| {
            let run = || frequencies(&strategy, &candidates(&pool), 250 * n, 0);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap())
                .fold(vec![0.0; n], |sum, counts| sum.into_iter().zip(counts).map(|(a, b)| a + b).collect())
        });
        assert_eq!(counts, vec![1_000.0; n]);
    }
}

#[test]
fn retry_does_not_advance_round_robin() {
    let pool: Pool = (0..2).map(|i| (Arc::new(backend(&format!("m{i}"))), View::default())).collect();
    let (both, rest) = (candidates(&pool), candidates(&pool)[1..].to_vec());
    let strategy = RoundRobin::default();
    let firsts: Vec<usize> = (0..4)
        .map(|_| {
            let first = strategy.pick(&both, &mut || 0.0);
            strategy.pick(&rest, &mut || 0.0);
            first
        })
        .collect();
    assert_eq!(firsts, [0, 1, 0, 1]);
}

#[test]
fn least_latency_measures_each_backend_then_picks_the_fastest() {
    let view = |latency: Option<u64>, trial_free, in_flight| View {
        latency: latency.map(Duration::from_millis),
        trial_free,
        in_flight,
        ..View::default()
    };
    let strategy = by_name("least_latency", &SmartAi::default()).unwrap();
    let shares = |views: &[View]| {
        let pool: Pool = views.iter().map(|view| (Arc::new(backend("m")), *view)).collect();
        strategy.probabilities(&candidates(&pool))
    };
    assert_eq!(
        shares(&[view(Some(10), true, 0), view(None, true, 3)]),
        [0.0, 1.0],
        "an unmeasured backend comes first"
    );
    assert_eq!(shares(&[view(Some(10), true, 9), view(None, false, 0)]), [1.0, 0.0], "one measurement at a time");
    assert_eq!(
        shares(&[view(Some(10), true, 2), view(Some(10), true, 1)]),
        [0.0, 1.0],
        "ties are broken by requests in flight"
    );
    assert_eq!(shares(&[view(None, false, 2), view(None, false, 1)]), [0.0, 1.0]);
    assert_eq!(shares(&[view(Some(20), true, 0), view(Some(10), true, 5)]), [0.0, 1.0]);
}

#[test]
fn weighted_failover_uses_unhealthy_backends_only_as_a_last_resort() {
    let strategy = by_name("weighted_failover", &SmartAi::default()).unwrap();
    let down = View { stage: Stage::Unhealthy, ..View::default() };
    let due = View { due_for_trial: true, ..down };
    let back = View { stage: Stage::Returning, ..View::default() };
    let shares = |views: [View; 2]| {
        let pool: Pool =
            views.into_iter().map(|v| (Arc::new(backend("m").with_weight(2.0).with_priority(1)), v)).collect();
        strategy.probabilities(&candidates(&pool))
    };
    assert_eq!(shares([back, down]), [1.0, 0.0]);
    assert_eq!(shares([down, down]), [0.5, 0.5]);
    assert_eq!(shares([back, due]), [0.5, 0.5], "a due trial makes the backend eligible");
}

#[test]
fn extreme_weights_do_not_panic() {
    for weights in [[0.0, 0.0], [f64::NAN, 1.0], [f64::INFINITY, f64::INFINITY], [-1.0, f64::MIN_POSITIVE]] {
        let pool: Pool = weights.map(|w| (Arc::new(backend("m").with_weight(w)), View::default())).into();
        for strategy in all_strategies() {
            let shares = strategy.probabilities(&candidates(&pool));
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{} {weights:?} {shares:?}", strategy.name());
            let seen = frequencies(&*strategy, &candidates(&pool), 1_000, 3);
            assert!(fits(&seen, &shares), "{} {weights:?} {seen:?} {shares:?}", strategy.name());
        }
    }
}
