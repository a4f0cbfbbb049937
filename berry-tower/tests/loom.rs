//! Every interleaving of a few threads on the circuit breaker, the retry budget and the progress of
//! a body:
//! `RUSTFLAGS="--cfg loom" cargo test -p berry-tower --features breaker,retry --release --test loom`.
#![cfg(loom)]

use std::{sync::Arc, time::Duration};

use berry_tower::breaker::{Breaker, BreakerPolicy, Outcome, Permit, State};
use loom::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use tokio::time::Instant;

const OPEN_FOR: Duration = Duration::from_secs(1);

fn breaker(failure_threshold: u32) -> Arc<Breaker> {
    Arc::new(Breaker::new(BreakerPolicy::new().with_failure_threshold(failure_threshold).with_open_for(OPEN_FOR)))
}

/// A breaker that opened just now, and what a request holds that had begun before.
fn opened() -> (Instant, Arc<Breaker>, Permit) {
    let breaker = breaker(1);
    let now = Instant::now();
    let late = breaker.try_acquire(now).unwrap();
    breaker.try_acquire(now).unwrap().settle(Outcome::Failure, now);
    assert!(breaker.try_acquire(now).is_err());
    (now, breaker, late)
}

fn closes_again(breaker: &Arc<Breaker>, now: Instant) {
    if let State::Closed { .. } = breaker.state(now) {
        return;
    }
    breaker.try_acquire(now).expect("a trial may be had").settle(Outcome::Success, now);
    assert_eq!(breaker.state(now), State::Closed { failures: 0 });
}

#[test]
fn one_trial_at_a_time() {
    loom::model(|| {
        let (now, breaker, _late) = opened();
        let later = now + OPEN_FOR;
        let under_way = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = [Outcome::Neutral, Outcome::Success]
            .into_iter()
            .map(|outcome| {
                let (breaker, under_way) = (breaker.clone(), under_way.clone());
                thread::spawn(move || {
                    let Ok(permit) = breaker.try_acquire(later) else { return };
                    if permit.is_trial() {
                        assert_eq!(under_way.fetch_add(1, Ordering::SeqCst), 0, "two trials at once");
                        under_way.fetch_sub(1, Ordering::SeqCst);
                    }
                    permit.settle(outcome, later);
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        closes_again(&breaker, later);
    });
}

#[test]
fn no_failure_is_lost_and_none_counts_twice() {
    for threshold in [2, 3] {
        loom::model(move || {
            let breaker = breaker(threshold);
            let now = Instant::now();
            let fail = |breaker: Arc<Breaker>| {
                move || {
                    let permit = breaker.try_acquire(now).expect("closed until the threshold");
                    permit.settle(Outcome::Failure, now);
                }
            };
            let other = thread::spawn(fail(breaker.clone()));
            fail(breaker.clone())();
            other.join().unwrap();
            match breaker.state(now) {
                State::Closed { failures: 2 } => assert_eq!(threshold, 3),
                State::Open { .. } => assert_eq!(threshold, 2),
                state => panic!("{state:?}"),
            }
            assert_eq!(breaker.transitions(), [0, 0, u64::from(threshold == 2)]);
        });
    }
}

#[test]
fn a_late_outcome_does_not_decide_a_trial() {
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Neutral] {
        loom::model(move || {
            let (now, breaker, late) = opened();
            let later = now + OPEN_FOR;
            let other = thread::spawn(move || late.settle(outcome, later));
            let trial = breaker.try_acquire(later).expect("its time is over");
            assert!(breaker.try_acquire(later).is_err());
            other.join().unwrap();
            assert_eq!(breaker.state(later), State::HalfOpen { trial: true });
            drop(trial);
            closes_again(&breaker, later);
        });
    }
}

#[test]
fn probes_trials_and_drops_leave_it_able_to_close() {
    loom::model(|| {
        let (now, breaker, _late) = opened();
        let later = now + OPEN_FOR;
        let prober = {
            let breaker = breaker.clone();
            thread::spawn(move || drop(breaker.probe_succeeded(now)))
        };
        let user = {
            let breaker = breaker.clone();
            thread::spawn(move || drop(breaker.try_acquire(later)))
        };
        let _ = breaker.try_acquire(now).map(|p| p.settle(Outcome::Failure, now));
        prober.join().unwrap();
        user.join().unwrap();
        closes_again(&breaker, later);
    });
}

#[cfg(feature = "retry")]
#[test]
fn budget_grants_last_retry_once() {
    use berry_tower::retry::Budget;

    loom::model(|| {
        let now = Instant::now();
        let budget = Arc::new(Budget::new(1.0, 0));
        budget.deposit(now);
        // One of the threads has read the clock a second later.
        let threads: Vec<_> = [now, now + Duration::from_secs(1)]
            .into_iter()
            .map(|now| {
                let budget = budget.clone();
                thread::spawn(move || usize::from(budget.withdraw(now)))
            })
            .collect();
        let granted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(granted, 1);
    });
}

#[test]
fn usage_is_read_as_it_was_written() {
    use berry_tower::progress::{CommitPoint, Grammar, Progress, Usage};

    loom::model(|| {
        let progress = Progress::new(CommitPoint::Output, Grammar::Chat);
        let writer = progress.clone();
        let writing = thread::spawn(move || {
            for n in 1..=2 {
                writer.set_usage(Some(Usage { input: n, output: n, cached: n, ..Usage::default() }));
            }
        });
        if let Some(Usage { input, output, cached, .. }) = progress.usage() {
            assert_eq!((output, cached), (input, input));
        }
        writing.join().unwrap();
        assert_eq!(progress.usage().map(|usage| usage.input), Some(2));
    });
}
