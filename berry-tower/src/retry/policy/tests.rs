use super::*;
use crate::classify::RequestFacts;

fn decide(retry_after: u64, repeats: u32, remaining: Option<u64>, jitter: f64) -> Decision {
    let request = RequestFacts::default();
    let failed = FailedAttempt::new(&request, Class::Server)
        .with_selection(true)
        .with_attempts(1 + repeats)
        .with_repeats(repeats)
        .with_retry_after(Some(Duration::from_secs(retry_after)))
        .with_remaining(remaining.map(Duration::from_secs))
        .with_jitter(jitter);
    BackoffPolicy::new().decide(&failed)
}

#[test]
fn does_not_wait_long() {
    assert_eq!(decide(2, 0, None, 0.0), Decision::RetryAfter(Duration::from_secs(2)));
    assert_eq!(decide(11, 0, None, 0.0), Decision::Fallback);
    assert_eq!(decide(3, 0, Some(2), 0.0), Decision::Fallback);
    assert_eq!(decide(2, 2, None, 0.0), Decision::Fallback, "both repeats are spent");
}

#[test]
fn backs_off_with_full_jitter_below_the_step() {
    for (repeats, step) in [(0, 250), (1, 500)] {
        assert_eq!(decide(0, repeats, None, 0.0), Decision::RetryAfter(Duration::ZERO));
        assert_eq!(decide(0, repeats, None, 0.5), Decision::RetryAfter(Duration::from_millis(step / 2)));
    }
}

#[test]
fn extreme_values_do_not_overflow() {
    let request = RequestFacts::default();
    let policy = BackoffPolicy::new()
        .with_max_retries(u32::MAX)
        .with_max_same_backend_retries(u32::MAX)
        .with_backoff(Duration::MAX)
        .with_max_backoff(Duration::MAX)
        .with_max_wait(Duration::MAX);
    for jitter in [0.0, 0.999, 1.0, f64::INFINITY] {
        let failed = FailedAttempt::new(&request, Class::Server)
            .with_attempts(u32::MAX)
            .with_repeats(u32::MAX - 1)
            .with_jitter(jitter);
        assert!(matches!(policy.decide(&failed), Decision::RetryAfter(_)));
    }
}

#[test]
fn names_the_reason_for_not_retrying() {
    let request = RequestFacts::default();
    let policy = BackoffPolicy::new();
    let failed = FailedAttempt::new(&request, Class::Server).with_selection(true);
    assert_eq!(policy.stop_reason(&FailedAttempt::new(&request, Class::TooLong)), "too long");
    assert_eq!(policy.stop_reason(&failed.clone().with_attempts(4)), "attempts spent");
    assert_eq!(policy.stop_reason(&failed.with_retry_after(Some(Duration::from_secs(60)))), "wait too long");
}
