//! The candidates of a strategy: never an ineligible backend, and at least one if any is eligible.

use std::{sync::Arc, time::Duration};

use berry_tower::{
    attempt::{Attempt, RetryEligibility},
    backend::{
        Backend, Catalog, Model, Provider, SmartAi,
        strategy::{NAMES, by_name},
    },
    classify::Class,
    endpoint::Endpoint,
    error::Unroutable,
    select::candidates::{Eligibility, SelectionContext, candidates, eligibility, explain},
};
use proptest::prelude::*;
use tokio::time::Instant;

#[derive(Clone, Debug)]
struct Case {
    strategy: usize,
    backends: Vec<State>,
    tags: Vec<&'static str>,
    allow_tried: bool,
}

#[derive(Clone, Debug)]
struct State {
    enabled: bool,
    provider_enabled: bool,
    tag: Option<&'static str>,
    outcomes: Vec<Class>,
    in_flight: u32,
    tried: Option<RetryEligibility>,
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![
        Just(Class::Success),
        Just(Class::Server),
        Just(Class::Auth),
        Just(Class::ClientError),
        Just(Class::RateLimited { retry_after: None }),
        Just(Class::RateLimited { retry_after: Some(Duration::from_secs(9)) }),
    ]
}

fn state() -> impl Strategy<Value = State> {
    let tag = prop::sample::select(vec![None, None, None, Some("a"), Some("b"), Some("premium")]);
    let tried = prop::sample::select(vec![
        None,
        None,
        None,
        Some(RetryEligibility::Never),
        Some(RetryEligibility::AfterCooldown),
        Some(RetryEligibility::AfterBackoff),
    ]);
    (prop::bool::weighted(0.9), prop::bool::weighted(0.9), tag, prop::collection::vec(class(), 0..8), 0..3_u32, tried)
        .prop_map(|(enabled, provider_enabled, tag, outcomes, in_flight, tried)| State {
            enabled,
            provider_enabled,
            tag,
            outcomes,
            in_flight,
            tried,
        })
}

fn case() -> impl Strategy<Value = Case> {
    let tags = prop::sample::subsequence(vec!["a", "b", "admin"], 0..=2);
    (0..NAMES.len(), prop::collection::vec(state(), 1..6), tags, any::<bool>())
        .prop_map(|(strategy, backends, tags, allow_tried)| Case { strategy, backends, tags, allow_tried })
}

fn catalog(case: &Case, now: Instant) -> Catalog {
    let backends = case.backends.iter().enumerate().map(|(i, state)| {
        let provider = Provider::new(format!("p{i}"), "http://127.0.0.1:9").unwrap();
        let provider = Arc::new(provider.with_enabled(state.provider_enabled));
        Backend::new(provider, "m").with_tags(state.tag).with_max_in_flight(2).with_enabled(state.enabled)
    });
    let strategy = by_name(NAMES[case.strategy], &SmartAi::default()).unwrap();
    let catalog = Catalog::new([Model::new("m", strategy, backends)]).unwrap();
    for (backend, state) in catalog.load().models()[0].backends().iter().zip(&case.backends) {
        for class in &state.outcomes {
            if let Ok(permit) = backend.state().breaker().try_acquire(now) {
                permit.settle(*class, now);
            }
            backend.state().record(*class, now);
        }
        (0..state.in_flight).for_each(|_| assert!(backend.state().try_enter(0)));
    }
    catalog
}

/// Returns a class after which a backend is eligible for retry as given.
fn class_for(eligibility: RetryEligibility) -> Class {
    match eligibility {
        RetryEligibility::Never => Class::Auth,
        RetryEligibility::AfterCooldown => Class::Server,
        _ => Class::RateLimited { retry_after: None },
    }
}

fn attempt(case: &Case, model: &Model) -> Attempt {
    let tried = model.backends().iter().zip(&case.backends).filter_map(|(b, state)| Some((b, state.tried?)));
    let attempt = tried.fold(Attempt::first(), |attempt, (backend, returns)| {
        attempt.record_backend(backend.id().clone());
        attempt.next(class_for(returns), false)
    });
    attempt.with_repeats(case.allow_tried)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn candidates_are_eligible_and_not_empty_if_any_backend_is(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _entered = runtime.enter();
        let now = Instant::now();
        let catalog = catalog(&case, now);
        let snapshot = catalog.load();
        let model = &snapshot.models()[0];
        let attempt = attempt(&case, model);
        let tags: Vec<Arc<str>> = case.tags.iter().map(|tag| Arc::from(*tag)).collect();
        let context = SelectionContext::default().with_endpoint(Endpoint::ChatCompletions).with_tags(&tags).with_attempt(&attempt);
        let all: Vec<Eligibility> = model.backends().iter().map(|b| eligibility(b, &b.state().view(now), &context)).collect();
        match candidates(model, &context, now) {
            Ok(chosen) => {
                prop_assert!(!chosen.list.is_empty());
                for candidate in &chosen.list {
                    let i = model.backends().iter().position(|b| Arc::ptr_eq(b, candidate.backend)).unwrap();
                    let state = &case.backends[i];
                    prop_assert!(all[i].is_eligible());
                    prop_assert!(state.enabled && state.provider_enabled, "disabled");
                    prop_assert!(state.in_flight < 2, "full");
                    prop_assert!(candidate.view.breaker_available(), "open");
                    prop_assert!(state.tried != Some(RetryEligibility::Never), "spent");
                    prop_assert!(state.tried.is_none() || case.allow_tried, "tried");
                    let waits = candidate.view.cooling.is_some();
                    prop_assert!(!waits || state.tried == Some(RetryEligibility::AfterBackoff) && candidate.view.cooling_default, "cooling");
                    let opens = |tag| tag == "premium" || case.tags.contains(&tag) || case.tags.contains(&"admin");
                    prop_assert!(state.tag.is_none_or(opens), "tag");
                }
                let sum: f64 = explain(model, &context, now).iter().map(|e| e.probability).sum();
                prop_assert!((sum - 1.0).abs() < 1e-9, "{sum}");
            }
            Err(why) => {
                prop_assert!(all.iter().all(|s| !s.is_eligible()), "a backend was available");
                let returns = all.iter().any(|s| matches!(s, Eligibility::RetryLater(_)));
                prop_assert_eq!(returns, matches!(why, Unroutable::OnlyTriedLeft { .. }));
            }
        }
    }
}
