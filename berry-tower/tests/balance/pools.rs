//! Random pools of backends.

use std::{sync::Arc, time::Duration};

use berry_tower::backend::{
    Backend, Provider, SmartAi, Stage, View,
    strategy::{Candidate, NAMES, Strategy, by_name},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

pub(crate) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub(crate) fn all_strategies() -> impl Iterator<Item = Arc<dyn Strategy>> {
    NAMES.into_iter().map(|name| by_name(name, &SmartAi::default()).expect("a known strategy"))
}

/// Backends with the state in which each is presented to a strategy.
pub(crate) type Pool = Vec<(Arc<Backend>, View)>;

pub(crate) fn candidates(pool: &Pool) -> Vec<Candidate<'_>> {
    pool.iter().map(|(backend, view)| Candidate::new(backend, *view)).collect()
}

pub(crate) fn backend(model: &str) -> Backend {
    Backend::new(Arc::new(Provider::new("p", "http://127.0.0.1:1").expect("a URL")), model)
}

/// Returns up to six backends in random states. Each property has few values, so that ties occur.
pub(crate) fn pool(rng: &mut StdRng) -> Pool {
    let n = rng.random_range(1..=6);
    (0..n).map(|i| (Arc::new(any_backend(i, rng)), any_view(rng))).collect()
}

fn one_of<T: Copy>(rng: &mut StdRng, all: &[T]) -> T {
    all[rng.random_range(0..all.len())]
}

fn any_backend(i: usize, rng: &mut StdRng) -> Backend {
    let tags: &[&str] = if rng.random_bool(0.3) { &["premium"] } else { &[] };
    let weight = one_of(rng, &[0.01, 0.5, 1.0, 1.0, 2.0, 100.0]);
    backend(&format!("m{i}"))
        .with_weight(weight)
        .with_priority(one_of(rng, &[0, 0, 1, 10]))
        .with_tags(tags.iter().copied())
}

fn any_view(rng: &mut StdRng) -> View {
    let stage = one_of(rng, &[Stage::Unhealthy, Stage::Returning, Stage::Steadying, Stage::Healthy, Stage::Healthy]);
    let latency = one_of(rng, &[None, Some(80), Some(80), Some(200)]);
    View {
        stage,
        due_for_trial: stage == Stage::Unhealthy && rng.random_bool(0.3),
        trial_free: rng.random_bool(0.7),
        in_flight: one_of(rng, &[0, 0, 1, 7]),
        latency: latency.map(Duration::from_millis),
        confidence: one_of(rng, &[0.05, 0.3, 0.59, 0.6, 0.8, 0.95, 1.0, 1.0]),
        ..View::default()
    }
}
