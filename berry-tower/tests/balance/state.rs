//! The state of a backend: cool-downs, health, latency, and counts under threads.

use std::{sync::Arc, thread, time::Duration};

use berry_tower::{
    backend::{BackendState, ProbeOutcome, SmartAi, Stage, Tuning, View},
    classify::Class,
};
use proptest::prelude::*;
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(120);

fn live() -> (BackendState, Instant) {
    let live = BackendState::new(Tuning::default());
    (live, Instant::now())
}

fn after(start: Instant, seconds: f64) -> Instant {
    start + Duration::from_secs_f64(seconds)
}

/// Times are cut to milliseconds.
fn near(a: Duration, b: f64) -> bool {
    (a.as_secs_f64() - b).abs() <= 0.002
}

proptest! {
    #[test]
    fn the_later_cool_down_wins(limits in prop::collection::vec((0u32..60, prop::option::of(0u32..2_000)), 1..8)) {
        let (live, start) = live();
        let mut at = 0.0;
        let (mut asked, mut default) = (0.0f64, 0.0f64);
        for (gap, retry_after) in limits {
            at += f64::from(gap);
            let retry_after = retry_after.map(|s| Duration::from_secs(s.into()));
            live.record(Class::RateLimited { retry_after }, after(start, at));
            match retry_after {
                Some(wait) => asked = asked.max(at + wait.as_secs_f64().min(600.0)),
                None => default = default.max(at + 5.0),
            }
            let view = live.view(after(start, at));
            let left = asked.max(default) - at;
            prop_assert!(near(view.cooling.unwrap_or_default(), left), "{view:?} {left}");
            prop_assert_eq!(view.cooling_default, asked <= at && default > at);
            prop_assert_eq!(view.stage, Stage::Healthy, "slow is not ill");
        }
        prop_assert_eq!(live.view(after(start, at + 600.1)).cooling, None);
    }

    #[test]
    fn neutral_outcomes_change_nothing_but_counters(outcomes in prop::collection::vec(0usize..8, 0..30)) {
        let all = [Class::ClientError, Class::TooLong, Class::EndpointNotServed, Class::Cancelled, Class::Success, Class::Server,
            Class::Timeout, Class::RateLimited { retry_after: None }];
        let (with, start) = live();
        let (without, _) = live();
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
        let (live, start) = live();
        let mut now = start;
        for (outcome, gap) in outcomes {
            now += Duration::from_secs(gap.into());
            live.record(all[outcome], now);
            let c = live.view(now).confidence;
            prop_assert!((SmartAi::default().min_confidence..=1.0).contains(&c), "{c}");
        }
    }
}

#[test]
fn a_failure_is_told_and_a_trial_is_due_after_the_interval() {
    let (live, start) = live();
    let change = live.record(Class::Network, start).unwrap();
    assert_eq!((change.from, change.to), (Stage::Healthy, Stage::Unhealthy));
    assert_eq!(live.record(Class::Network, start), None, "only changes are told");
    assert!(!live.view(start + INTERVAL - Duration::from_secs(1)).due_for_trial);

    let due = start + INTERVAL + Duration::from_millis(1);
    assert!(live.view(due).due_for_trial);
    let trial = live.try_trial(due).unwrap();
    assert!(!live.view(due).due_for_trial && live.try_trial(due).is_none(), "one at a time");
    live.record(Class::Timeout, due);
    live.end_trial(trial);
    assert!(!live.view(due).due_for_trial, "a failure starts the interval anew");
    assert!(live.view(due + INTERVAL + Duration::from_millis(1)).due_for_trial);
    assert!(live.record(Class::Success, due).is_some());
    assert_eq!(live.view(due).stage, Stage::Returning);
}

#[test]
fn probes_bring_a_backend_back_by_what_they_prove() {
    let (live, now) = live();
    live.record(Class::Server, now);
    assert_eq!(live.probed(ProbeOutcome::Listed { decides: false }, now), None);
    assert_eq!(live.view(now).stage, Stage::Unhealthy, "the chat has yet to tell");
    assert_eq!(live.probed(ProbeOutcome::Failed(Class::ClientError), now), None);
    assert!(live.probed(ProbeOutcome::Listed { decides: true }, now).is_some());
    assert_eq!(live.view(now).stage, Stage::Returning);
    for _ in 0..5 {
        live.probed(ProbeOutcome::Chatted, now);
    }
    assert_eq!(live.view(now).stage, Stage::Healthy);

    let requests = live.snapshot(now).requests();
    let asked = Class::RateLimited { retry_after: Some(Duration::from_secs(9)) };
    assert_eq!(live.probed(ProbeOutcome::Failed(asked), now), None);
    assert!(live.view(now).cooling.is_some() && live.view(now).is_healthy());
    assert_eq!(live.probed(ProbeOutcome::Failed(Class::Timeout), now).unwrap().to, Stage::Unhealthy);
    assert_eq!(live.snapshot(now).requests(), requests, "probes are in no user's count");
}

#[test]
fn only_a_chat_probe_shortens_an_open_breaker() {
    let (live, now) = live();
    for _ in 0..5 {
        live.breaker().try_acquire(now).unwrap().settle(Class::Server, now);
    }
    assert!(live.view(now).wants_chat_probe() && !live.view(now).is_free());
    live.probed(ProbeOutcome::Failed(Class::Server), now);
    live.probed(ProbeOutcome::Listed { decides: true }, now);
    assert!(!live.view(now).breaker_available());
    live.probed(ProbeOutcome::Chatted, now);
    assert!(live.view(now).breaker_available());
    assert_eq!(live.snapshot(now).circuit.name(), "half_open");
}

#[test]
fn latency_is_a_moving_average_that_grows_stale() {
    let (live, now) = live();
    assert_eq!(live.view(now).latency, None);
    live.first_byte(Duration::from_millis(100), now);
    live.first_byte(Duration::from_millis(200), now);
    assert!(near(live.view(now).latency.unwrap(), 0.130));
    let later = now + INTERVAL + Duration::from_millis(5);
    assert_eq!(live.view(later).latency, None);
    assert!(live.snapshot(later).average_latency.is_some());
    live.first_byte(Duration::from_millis(40), later);
    assert!(near(live.view(later).latency.unwrap(), 0.040), "what is stale is forgotten");
}

#[test]
fn new_numbers_leave_the_state_as_it_is() {
    let (live, now) = live();
    live.record(Class::Server, now);
    let before = live.snapshot(now);
    let smart_ai = SmartAi { initial_confidence: 0.3, ..SmartAi::default() };
    live.retune(Tuning { smart_ai: smart_ai.clone(), ..Tuning::default() });
    assert_eq!(live.snapshot(now), before);

    let fresh = BackendState::new(Tuning::default());
    fresh.retune(Tuning { smart_ai, ..Tuning::default() });
    assert_eq!(fresh.view(now).confidence, 0.3, "one that nobody has asked starts by the new ones");
}

#[test]
fn threads_lose_no_count() {
    const EACH: u64 = 2_000;
    let (live, now) = live();
    let live = Arc::new(live);
    thread::scope(|scope| {
        for class in [Class::Server, Class::Server, Class::Network, Class::ClientError] {
            let live = &live;
            scope.spawn(move || (0..EACH).for_each(|_| _ = live.record(class, now)));
        }
    });
    let snapshot = live.snapshot(now);
    assert_eq!(snapshot.outcomes[Class::Server.index()], 2 * EACH);
    assert_eq!(snapshot.outcomes[Class::Network.index()], EACH);
    assert_eq!(snapshot.outcomes[Class::ClientError.index()], EACH);
    assert_eq!((snapshot.requests(), snapshot.errors()), (4 * EACH, 3 * EACH));
    assert_eq!(snapshot.consecutive_failures, 3 * EACH);
}

#[test]
fn threads_never_exceed_the_most_in_flight() {
    const MOST: u32 = 3;
    let (live, now) = live();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    if live.try_enter(MOST) {
                        assert!(live.view(now).in_flight <= MOST);
                        live.leave();
                    }
                }
            });
        }
    });
    assert_eq!(live.view(now).in_flight, 0);
    live.leave();
    assert!((0..MOST).all(|_| live.try_enter(MOST)) && !live.try_enter(MOST));
    assert!(live.view(now).is_full(MOST) && !live.view(now).is_full(0));
}

#[test]
fn confidence_adds_up_under_threads() {
    let smart_ai = SmartAi { initial_confidence: 0.0, min_confidence: 0.0, ..SmartAi::default() };
    let mut tuning = Tuning { smart_ai, ..Tuning::default() };
    tuning.smart_ai.adjustments.success_boost = 1.0 / 16_384.0;
    let live = BackendState::new(tuning);
    let now = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2_000).for_each(|_| _ = live.record(Class::Success, now)));
        }
    });
    assert!((live.view(now).confidence - 8_000.0 / 16_384.0).abs() < 1e-4);
}
