//! Whom a strategy is offered: never one that may not be asked, and always somebody if there is one.

use std::{sync::Arc, time::Duration};

use berry_tower::{
    attempt::{Attempt, RetryEligibility},
    backend::{Backend, Catalog, Model, Provider, SmartAi},
    classify::Class,
    endpoint::Endpoint,
    error::Unroutable,
    select::{
        candidates::{Ask, Standing, candidates, explain, standing},
        strategy::{NAMES, by_name},
    },
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
        let mut provider = Provider::new(format!("p{i}"), "http://127.0.0.1:9").unwrap();
        provider.enabled = state.provider_enabled;
        let mut backend = Backend::new(Arc::new(provider), "m").tags(state.tag).max_in_flight(2);
        backend.enabled = state.enabled;
        backend
    });
    let strategy = by_name(NAMES[case.strategy], &SmartAi::default()).unwrap();
    let catalog = Catalog::new([Model::new("m", strategy, backends)]);
    for (backend, state) in catalog.load().models()[0].backends.iter().zip(&case.backends) {
        for class in &state.outcomes {
            if let Ok(permit) = backend.state.breaker().try_acquire(now) {
                permit.settle(*class, now);
            }
            backend.state.record(*class, now);
        }
        (0..state.in_flight).for_each(|_| assert!(backend.state.try_enter(0)));
    }
    catalog
}

/// A class after which a backend may come back in this way.
fn ending_in(returns: RetryEligibility) -> Class {
    match returns {
        RetryEligibility::Never => Class::Auth,
        RetryEligibility::AfterCooldown => Class::Server,
        _ => Class::RateLimited { retry_after: None },
    }
}

fn attempt(case: &Case, model: &Model) -> Attempt {
    let tried = model.backends.iter().zip(&case.backends).filter_map(|(b, state)| Some((b, state.tried?)));
    let attempt = tried.fold(Attempt::first(), |attempt, (backend, returns)| {
        attempt.record_backend(backend.id.clone());
        attempt.next(ending_in(returns), false)
    });
    attempt.with_repeats(case.allow_tried)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn who_may_not_be_asked_is_never_offered_and_somebody_is_if_there_is_one(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _entered = runtime.enter();
        let now = Instant::now();
        let catalog = catalog(&case, now);
        let snapshot = catalog.load();
        let model = &snapshot.models()[0];
        let attempt = attempt(&case, model);
        let tags: Vec<Arc<str>> = case.tags.iter().map(|tag| Arc::from(*tag)).collect();
        let ask = Ask { endpoint: Some(Endpoint::ChatCompletions), tags: &tags, attempt: Some(&attempt), ..Ask::default() };
        let standings: Vec<Standing> = model.backends.iter().map(|b| standing(b, &b.state.view(now), &ask)).collect();
        match candidates(model, &ask, now) {
            Ok(chosen) => {
                prop_assert!(!chosen.list.is_empty());
                for candidate in &chosen.list {
                    let i = model.backends.iter().position(|b| Arc::ptr_eq(b, candidate.backend)).unwrap();
                    let state = &case.backends[i];
                    prop_assert!(standings[i].is_in());
                    prop_assert!(state.enabled && state.provider_enabled, "disabled");
                    prop_assert!(state.in_flight < 2, "full");
                    prop_assert!(candidate.view.breaker_available(), "open");
                    prop_assert!(state.tried != Some(RetryEligibility::Never), "spent");
                    prop_assert!(state.tried.is_none() || case.allow_tried, "tried");
                    let waits = candidate.view.cooling.is_some();
                    prop_assert!(!waits || state.tried == Some(RetryEligibility::AfterBackoff) && candidate.view.cooling_default, "cooling");
                    let opens = |tag| tag == "premium" || case.tags.contains(&tag) || case.tags.contains(&"admin");
                    prop_assert!(state.tag.is_none_or(opens), "not the user's");
                }
                let odds: f64 = explain(model, &ask, now).iter().map(|e| e.probability).sum();
                prop_assert!((odds - 1.0).abs() < 1e-9, "{odds}");
            }
            Err(why) => {
                prop_assert!(standings.iter().all(|s| !s.is_in()), "somebody could have been asked");
                let returns = standings.iter().any(|s| matches!(s, Standing::Tried(_)));
                prop_assert_eq!(returns, matches!(why, Unroutable::OnlyTriedLeft { .. }));
            }
        }
    }
}
