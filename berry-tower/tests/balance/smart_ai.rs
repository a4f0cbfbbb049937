//! SmartAI over a pool whose backends fail and recover.

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

fn odds(pool: &[Arc<Backend>], now: Instant) -> Vec<f64> {
    let candidates: Vec<_> = pool.iter().map(|b| Candidate::new(b, b.state().view(now))).collect();
    strategy().probabilities(&candidates)
}

fn three() -> Vec<Arc<Backend>> {
    (0..3).map(|i| Arc::new(backend(&format!("m{i}")))).collect()
}

/// A pool in which all have earned full confidence.
fn steady() -> (Vec<Arc<Backend>>, Instant) {
    let pool = three();
    let now = Instant::now();
    for backend in pool.iter().cycle().take(12) {
        backend.state().record(Class::Success, now);
    }
    (pool, now)
}

#[test]
fn equals_share_alike() {
    let (pool, now) = steady();
    for p in odds(&pool, now) {
        assert!((p - 1.0 / 3.0).abs() < 1e-12);
    }
}

#[test]
fn exploration_tries_the_others_alone() {
    let (pool, now) = steady();
    pool[0].state().record(Class::Server, now);
    pool[1].state().record(Class::Server, now);
    let odds = odds(&pool, now);
    assert!((odds[2] - 0.8).abs() < 1e-12 && (odds[0] - 0.1).abs() < 1e-12, "{odds:?}");
}

#[test]
fn one_that_always_fails_falls_to_its_floor_within_ten_requests() {
    for class in [Class::Auth, Class::Model, Class::Server, Class::Timeout, Class::Network] {
        let (pool, now) = steady();
        for _ in 0..10 {
            pool[0].state().record(class, now);
        }
        let floor = SmartAi::default().min_confidence;
        assert!(pool[0].state().view(now).confidence <= floor, "{class:?}");
        assert!(odds(&pool, now)[0] < 0.002, "{class:?}");
    }
}

#[test]
fn it_regains_its_share_by_its_successes() {
    let (pool, now) = steady();
    for _ in 0..10 {
        pool[0].state().record(Class::Server, now);
    }
    let mut last = odds(&pool, now)[0];
    for _ in 0..10 {
        pool[0].state().record(Class::Success, now);
        let share = odds(&pool, now)[0];
        assert!(share >= last - 1e-12, "a success never costs anything");
        last = share;
    }
    assert!((last - 1.0 / 3.0).abs() < 1e-12);
}

#[test]
fn a_chat_probe_gives_it_a_new_start_without_a_flood() {
    let (pool, now) = steady();
    for _ in 0..10 {
        pool[0].state().record(Class::Server, now);
    }
    pool[0].state().probed(ProbeOutcome::Chatted, now);
    let share = odds(&pool, now)[0];
    assert!((0.01..0.05).contains(&share), "{share}");
}

#[test]
fn the_weight_is_made_as_the_handbook_says() {
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
fn an_idle_backend_drifts_to_the_middle_and_an_outcome_starts_from_there() {
    let (pool, now) = steady();
    let live = pool[0].state();
    let later = now + Duration::from_secs(100 * 3_600);
    assert_eq!(live.view(later).confidence, 0.85);
    live.record(Class::Server, later);
    assert_eq!(live.view(later).confidence, 0.65);
    live.connectivity(false, later);
    assert_eq!(live.view(later).confidence, 0.325);
}

proptest! {
    #[test]
    fn premium_gets_no_more_than_the_exploration_while_a_cheap_one_is_trusted(seed: u64) {
        let pool = pool(&mut rng(seed));
        let cheap = pool.iter().any(|(b, v)| !b.is_premium() && v.confidence >= 0.6);
        let odds = strategy().probabilities(&candidates(&pool));
        let premium: f64 = pool.iter().zip(odds).filter(|((b, _), _)| b.is_premium()).map(|(_, p)| p).sum();
        prop_assert!(!cheap || premium <= 0.2 + 1e-9, "{premium}");
    }

    #[test]
    fn without_a_trusted_cheap_one_the_best_of_all_is_taken(seed: u64) {
        let mut pool = pool(&mut rng(seed));
        pool.iter_mut().filter(|(b, _)| !b.is_premium()).for_each(|(_, view)| view.confidence *= 0.5);
        let (strategy, all) = (strategy(), candidates(&pool));
        let weights: Vec<f64> = all.iter().map(|c| strategy.effective_weight(c)).collect();
        let highest = weights.iter().copied().fold(0.0, f64::max);
        let odds = strategy.probabilities(&all);
        let best: f64 = odds.iter().zip(&weights).filter(|(_, w)| **w == highest).map(|(p, _)| p).sum();
        prop_assert!(best >= 0.8 - 1e-9, "{best}");
    }
}
