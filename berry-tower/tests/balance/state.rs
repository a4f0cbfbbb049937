//! The state of a backend: cool-downs, health, latency, and counters under concurrency.

use std::{sync::Arc, thread, time::Duration};

use berry_tower::{
    backend::{BackendState, ProbeOutcome, SmartAi, Stage, Tuning, View},
    classify::Class,
};
use proptest::prelude::*;
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(120);

fn new_state() -> (BackendState, Instant) {
    let state = BackendState::new(Tuning::default());
    (state, Instant::now())
}

fn after(start: Instant, seconds: f64) -> Instant {
    start + Duration::from_secs_f64(seconds)
}

/// Compares a duration with seconds. The state keeps milliseconds.
fn near(a: Duration, b: f64) -> bool {
    (a.as_secs_f64() - b).abs() <= 0.002
}

proptest! {
    #[test]
    fn longer_cool_down_wins(limits in prop::collection::vec((0u32..60, prop::option::of(0u32..2_000)), 1..8)) {
        let (state, start) = new_state();
        let mut at = 0.0;
        let (mut requested, mut default) = (0.0f64, 0.0f64);
        for (gap, retry_after) in limits {
            at += f64::from(gap);
            let retry_after = retry_after.map(|s| Duration::from_secs(s.into()));
            state.record(Class::RateLimited { retry_after }, after(start, at));
            match retry_after {
                Some(wait) => requested = requested.max(at + wait.as_secs_f64().min(600.0)),
                None => default = default.max(at + 5.0),
            }
            let view = state.view(after(start, at));
            let left = requested.max(default) - at;
            prop_assert!(near(view.cooling.unwrap_or_default(), left), "{view:?} {left}");
            prop_assert_eq!(view.cooling_default, requested <= at && default > at);
            prop_assert_eq!(view.stage, Stage::Healthy, "a rate limit does not change the health");
        }
        prop_assert_eq!(state.view(after(start, at + 600.1)).cooling, None);
    }

    #[test]
    fn neutral_outcomes_change_only_counters(outcomes in prop::collection::vec(0usize..8, 0..30)) {
        let all = [Class::ClientError, Class::TooLong, Class::EndpointNotServed, Class::Cancelled, Class::Success, Class::Server,
            Class::Timeout, Class::RateLimited { retry_after: None }];
        let (with, start) = new_state();
        let (without, _) = new_state();
        for (i, &outcome) in outcomes.iter().enumerate() {
            let now = after(start, i as f64);
            with.record(all[outcome], now);
            if !all[outcome].is_neutral() {
                without.record(all[outcome], now);
            }
        }
        let now = after(start, 30.0);
        let (with, without) = (with.snapshot(now), without.snapshot(now));
        prop_assert_eq!(View { cooling: None, ..with.view }, View { cooling: None, ..without.view });
        prop_assert_eq!(with.consecutive_failures, without.consecutive_failures);
        prop_assert_eq!(with.consecutive_successes, without.consecutive_successes);
        prop_assert_eq!(with.requests(), outcomes.len() as u64);
    }

    #[test]
    fn confidence_stays_within_its_bounds(outcomes in prop::collection::vec((0usize..7, 0u32..200_000), 0..60)) {
        let all = [Class::Success, Class::Auth, Class::Model, Class::Server, Class::Timeout, Class::Network,
            Class::RateLimited { retry_after: None }];
        let (state, start) = new_state();
        let mut now = start;
        for (outcome, gap) in outcomes {
            now += Duration::from_secs(gap.into());
            state.record(all[outcome], now);
            let c = state.view(now).confidence;
            prop_assert!((SmartAi::default().min_confidence..=1.0).contains(&c), "{c}");
        }
    }
}

#[test]
fn failure_makes_unhealthy_and_a_trial_is_due_after_the_interval() {
    let (state, start) = new_state();
    let change = state.record(Class::Network, start).unwrap();
    assert_eq!((change.from, change.to), (Stage::Healthy, Stage::Unhealthy));
    assert_eq!(state.record(Class::Network, start), None, "only changes are reported");
    assert!(!state.view(start + INTERVAL - Duration::from_secs(1)).due_for_trial);

    let due = start + INTERVAL + Duration::from_millis(1);
    assert!(state.view(due).due_for_trial);
    let trial = state.try_trial(due).unwrap();
    assert!(!state.view(due).due_for_trial && state.try_trial(due).is_none(), "one trial at a time");
    state.record(Class::Timeout, due);
    state.end_trial(trial);
    assert!(!state.view(due).due_for_trial, "a failure restarts the interval");
    assert!(state.view(due + INTERVAL + Duration::from_millis(1)).due_for_trial);
    assert!(state.record(Class::Success, due).is_some());
    assert_eq!(state.view(due).stage, Stage::Returning);
}

#[test]
fn probe_outcomes_change_the_stage() {
    let (state, now) = new_state();
    state.record(Class::Server, now);
    assert_eq!(state.probed(ProbeOutcome::Listed { decides: false }, now), None);
    assert_eq!(state.view(now).stage, Stage::Unhealthy, "the chat probe decides");
    assert_eq!(state.probed(ProbeOutcome::Failed(Class::ClientError), now), None);
    assert!(state.probed(ProbeOutcome::Listed { decides: true }, now).is_some());
    assert_eq!(state.view(now).stage, Stage::Returning);
    for _ in 0..5 {
        state.probed(ProbeOutcome::Chatted, now);
    }
    assert_eq!(state.view(now).stage, Stage::Healthy);

    let requests = state.snapshot(now).requests();
    let limited = Class::RateLimited { retry_after: Some(Duration::from_secs(9)) };
    assert_eq!(state.probed(ProbeOutcome::Failed(limited), now), None);
    assert!(state.view(now).cooling.is_some() && state.view(now).is_healthy());
    assert_eq!(state.probed(ProbeOutcome::Failed(Class::Timeout), now).unwrap().to, Stage::Unhealthy);
    assert_eq!(state.snapshot(now).requests(), requests, "probes do not count as requests");
}

#[test]
fn only_a_chat_probe_half_opens_an_open_breaker() {
    let (state, now) = new_state();
    for _ in 0..5 {
        state.breaker().try_acquire(now).unwrap().settle(Class::Server, now);
    }
    assert!(state.view(now).wants_chat_probe() && !state.view(now).is_free());
    state.probed(ProbeOutcome::Failed(Class::Server), now);
    state.probed(ProbeOutcome::Listed { decides: true }, now);
    assert!(!state.view(now).breaker_available());
    state.probed(ProbeOutcome::Chatted, now);
    assert!(state.view(now).breaker_available());
    assert_eq!(state.snapshot(now).circuit.name(), "half_open");
}

#[test]
fn latency_is_a_moving_average_that_expires() {
    let (state, now) = new_state();
    assert_eq!(state.view(now).latency, None);
    state.record_first_byte(Duration::from_millis(100), now);
    state.record_first_byte(Duration::from_millis(200), now);
    assert!(near(state.view(now).latency.unwrap(), 0.130));
    let later = now + INTERVAL + Duration::from_millis(5);
    assert_eq!(state.view(later).latency, None);
    assert!(state.snapshot(later).average_latency.is_some());
    state.record_first_byte(Duration::from_millis(40), later);
    assert!(near(state.view(later).latency.unwrap(), 0.040), "an expired average is discarded");
}

#[test]
fn retuning_keeps_the_state() {
    let (state, now) = new_state();
    state.record(Class::Server, now);
    let before = state.snapshot(now);
    let smart_ai = SmartAi { initial_confidence: 0.3, ..SmartAi::default() };
    state.retune(Tuning { smart_ai: smart_ai.clone(), ..Tuning::default() });
    assert_eq!(state.snapshot(now), before);

    let fresh = BackendState::new(Tuning::default());
    fresh.retune(Tuning { smart_ai, ..Tuning::default() });
    assert_eq!(fresh.view(now).confidence, 0.3, "an unused backend takes the new initial confidence");
}

#[test]
fn concurrent_updates_lose_no_count() {
    const EACH: u64 = 2_000;
    let (state, now) = new_state();
    let state = Arc::new(state);
    thread::scope(|scope| {
        for class in [Class::Server, Class::Server, Class::Network, Class::ClientError] {
            let state = &state;
            scope.spawn(move || (0..EACH).for_each(|_| _ = state.record(class, now)));
        }
    });
    let snapshot = state.snapshot(now);
    assert_eq!(snapshot.outcomes[Class::Server.index()], 2 * EACH);
    assert_eq!(snapshot.outcomes[Class::Network.index()], EACH);
    assert_eq!(snapshot.outcomes[Class::ClientError.index()], EACH);
    assert_eq!((snapshot.requests(), snapshot.errors()), (4 * EACH, 3 * EACH));
    assert_eq!(snapshot.consecutive_failures, 3 * EACH);
}

#[test]
fn concurrent_requests_never_exceed_max_in_flight() {
    const MAX: u32 = 3;
    let (state, now) = new_state();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    if state.try_enter(MAX) {
                        assert!(state.view(now).in_flight <= MAX);
                        state.leave();
                    }
                }
            });
        }
    });
    assert_eq!(state.view(now).in_flight, 0);
    state.leave();
    assert!((0..MAX).all(|_| state.try_enter(MAX)) && !state.try_enter(MAX));
    assert!(state.view(now).is_full(MAX) && !state.view(now).is_full(0));
}

#[test]
fn concurrent_confidence_updates_are_not_lost() {
    let smart_ai = SmartAi { initial_confidence: 0.0, min_confidence: 0.0, ..SmartAi::default() };
    let mut tuning = Tuning { smart_ai, ..Tuning::default() };
    tuning.smart_ai.adjustments.success_boost = 1.0 / 16_384.0;
    let state = BackendState::new(tuning);
    let now = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2_000).for_each(|_| _ = state.record(Class::Success, now)));
        }
    });
    assert!((state.view(now).confidence - 8_000.0 / 16_384.0).abs() < 1e-4);
}
