//! The `smart_ai` strategy over a pool whose backends fail and recover.

use std::{sync::Arc, time::Duration};

use berry_tower::{
    backend::{
        Backend, ProbeOutcome, SmartAi, View,
        strategy::{Candidate, SmartAiStrategy, Strategy},
    },
    classify::Class,
};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::pools::{backend, candidates, pool, rng};

fn strategy() -> SmartAiStrategy {
    SmartAiStrategy::new(&SmartAi::default())
}

fn shares(pool: &[Arc<Backend>], now: Instant) -> Vec<f64> {
    let candidates: Vec<_> = pool.iter().map(|b| Candidate::new(b, b.state().view(now))).collect();
    strategy().probabilities(&candidates)
}

fn three_backends() -> Vec<Arc<Backend>> {
    (0..3).map(|i| Arc::new(backend(&format!("m{i}")))).collect()
}

/// Returns a pool whose backends all have full confidence.
fn trusted_pool() -> (Vec<Arc<Backend>>, Instant) {
    let pool = three_backends();
    let now = Instant::now();
    for backend in pool.iter().cycle().take(12) {
        backend.state().record(Class::Success, now);
    }
    (pool, now)
}

#[test]
fn equal_backends_have_equal_shares() {
    let (pool, now) = trusted_pool();
    for p in shares(&pool, now) {
        assert!((p - 1.0 / 3.0).abs() < 1e-12);
    }
}

#[test]
fn exploration_goes_to_the_other_backends() {
    let (pool, now) = trusted_pool();
    pool[0].state().record(Class::Server, now);
    pool[1].state().record(Class::Server, now);
    let shares = shares(&pool, now);
    assert!((shares[2] - 0.8).abs() < 1e-12 && (shares[0] - 0.1).abs() < 1e-12, "{shares:?}");
}

#[test]
fn failing_backend_reaches_minimum_confidence_within_ten_requests() {
    for class in [Class::Auth, Class::Model, Class::Server, Class::Timeout, Class::Network] {
        let (pool, now) = trusted_pool();
        for _ in 0..10 {
            pool[0].state().record(class, now);
        }
        let floor = SmartAi::default().min_confidence;
        assert!(pool[0].state().view(now).confidence <= floor, "{class:?}");
        assert!(shares(&pool, now)[0] < 0.002, "{class:?}");
    }
}

#[test]
fn backend_regains_its_share_by_successes() {
    let (pool, now) = trusted_pool();
    for _ in 0..10 {
        pool[0].state().record(Class::Server, now);
    }
    let mut last = shares(&pool, now)[0];
    for _ in 0..10 {
        pool[0].state().record(Class::Success, now);
        let share = shares(&pool, now)[0];
        assert!(share >= last - 1e-12, "a success never lowers the share");
        last = share;
    }
    assert!((last - 1.0 / 3.0).abs() < 1e-12);
}

#[test]
fn successful_chat_probe_restores_a_small_share() {
    let (pool, now) = trusted_pool();
    for _ in 0..10 {
        pool[0].state().record(Class::Server, now);
    }
    pool[0].state().probed(ProbeOutcome::Chatted, now);
    let share = shares(&pool, now)[0];
    assert!((0.01..0.05).contains(&share), "{share}");
}

#[test]
fn effective_weight_follows_confidence() {
    let strategy = strategy();
    let weight = |confidence: f64, tags: &[&str]| {
        let backend = Arc::new(backend("m").with_weight(10.0).with_tags(tags.iter().copied()));
        strategy.effective_weight(&Candidate::new(&backend, View { confidence, ..View::default() }))
    };
    for (confidence, plain) in [(1.0, 11.0), (0.9, 9.0), (0.8, 8.0), (0.7, 5.6), (0.5, 2.5), (0.29, 0.5)] {
        assert!((weight(confidence, &[]) - plain).abs() < 1e-9, "{confidence}");
    }
    assert_eq!(weight(1.0, &["premium"]), 10.0);
}

#[test]
fn idle_confidence_decays_and_outcomes_apply_to_the_decayed_value() {
    let (pool, now) = trusted_pool();
    let live = pool[0].state();
    let later = now + Duration::from_secs(100 * 3_600);
    assert_eq!(live.view(later).confidence, 0.85);
    live.record(Class::Server, later);
    assert_eq!(live.view(later).confidence, 0.65);
    live.record_connectivity(false, later);
    assert_eq!(live.view(later).confidence, 0.325);
}

proptest! {
    #[test]
    fn premium_gets_at_most_the_exploration_share_while_a_cheap_backend_is_trusted(seed: u64) {
        let pool = pool(&mut rng(seed));
        let cheap = pool.iter().any(|(b, v)| !b.is_premium() && v.confidence >= 0.6);
        let shares = strategy().probabilities(&candidates(&pool));
        let premium: f64 = pool.iter().zip(shares).filter(|((b, _), _)| b.is_premium()).map(|(_, p)| p).sum();
        prop_assert!(!cheap || premium <= 0.2 + 1e-9, "{premium}");
    }

    #[test]
    fn picks_the_best_backend_when_no_cheap_one_is_trusted(seed: u64) {
        let mut pool = pool(&mut rng(seed));
        pool.iter_mut().filter(|(b, _)| !b.is_premium()).for_each(|(_, view)| view.confidence *= 0.5);
        let (strategy, all) = (strategy(), candidates(&pool));
        let weights: Vec<f64> = all.iter().map(|c| strategy.effective_weight(c)).collect();
        let highest = weights.iter().copied().fold(0.0, f64::max);
        let shares = strategy.probabilities(&all);
        let best: f64 = shares.iter().zip(&weights).filter(|(_, w)| **w == highest).map(|(p, _)| p).sum();
        prop_assert!(best >= 0.8 - 1e-9, "{best}");
    }
}
