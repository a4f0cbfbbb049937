//! Whether and when a failed attempt is followed by another.

use std::time::Duration;

use super::failed_attempt::FailedAttempt;
use crate::classify::Class;

/// What follows a failed attempt.
///
/// Every decision is valid after every failure. [`Retry`](super::Retry) carries it out as far as
/// the backends, the [`Budget`](super::Budget) and the total timeout allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Gives up. The last response or error is passed on.
    Stop,
    /// Retries at once, on a backend that this request has not tried. When only tried backends are
    /// left, or there is only the one service, this is `RetryAfter` the time that they ask for.
    RetryNow,
    /// Waits, then retries; backends that were tried are allowed. The retry is paid from the
    /// budget. A wait that would pass the total timeout is not started: the request goes on as
    /// after `Fallback`.
    RetryAfter(Duration),
    /// Continues with the next fallback of the model. Without a selection behind Retry there is no
    /// fallback, and this is `Stop`.
    Fallback,
}

/// Decides whether and when a failed attempt is followed by another. Which backend gets it is for
/// [`Select`](crate::select) to choose.
///
/// It is asked only about failures that another attempt may mend
/// ([`Class::fails_over`] and [`Class::TooLong`]).
///
/// ```
/// use berry_tower::{classify::{Class, RequestFacts}, retry::{Decision, FailedAttempt, RetryPolicy}};
/// use std::time::Duration;
///
/// // A closure is a policy: three attempts, with a linear back-off.
/// let policy = |failed: &FailedAttempt<'_>| match failed.attempts() {
///     n @ 1..=2 => Decision::RetryAfter(Duration::from_millis(100) * n),
///     _ => Decision::Stop,
/// };
///
/// let request = RequestFacts::default();
/// let failed = FailedAttempt::new(&request, Class::Server).with_attempts(2);
/// assert_eq!(policy.decide(&failed), Decision::RetryAfter(Duration::from_millis(200)));
/// ```
pub trait RetryPolicy {
    /// Returns what follows `failed`.
    fn decide(&self, failed: &FailedAttempt<'_>) -> Decision;

    /// Returns why [`decide`](Self::decide) did not retry, for the log.
    fn stop_reason(&self, _failed: &FailedAttempt<'_>) -> &'static str {
        "retry policy"
    }
}

impl<F> RetryPolicy for F
where
    F: Fn(&FailedAttempt<'_>) -> Decision,
{
    fn decide(&self, failed: &FailedAttempt<'_>) -> Decision {
        self(failed)
    }
}

/// The default policy: fails over at once, and returns to tried backends with exponential back-off
/// and full jitter, but never after a long wait.
///
/// The jitter is the "full jitter" of the AWS Architecture Blog's *Exponential Backoff and Jitter*
/// (2015): uniform between zero and the exponential step.
///
/// ```
/// use berry_tower::{classify::{Class, RequestFacts}, retry::{BackoffPolicy, Decision, FailedAttempt, RetryPolicy}};
///
/// let policy = BackoffPolicy::new().with_max_retries(1);
/// let request = RequestFacts::default();
/// let failed = |class| FailedAttempt::new(&request, class).with_selection(false);
/// assert_eq!(policy.decide(&failed(Class::Server)), Decision::RetryNow);
/// assert_eq!(policy.decide(&failed(Class::Server).with_attempts(2)), Decision::Fallback);
/// assert_eq!(policy.decide(&failed(Class::ClientError)), Decision::Stop);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    max_retries: u32,
    max_same_backend_retries: u32,
    backoff: Duration,
    max_backoff: Duration,
    max_wait: Duration,
}

impl BackoffPolicy {
    /// Returns the policy with three retries, two of them on tried backends, a back-off of 250 ms
    /// doubling to 4 s, and no wait over 10 s.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_retries: 3,
            max_same_backend_retries: 2,
            backoff: Duration::from_millis(250),
            max_backoff: Duration::from_secs(4),
            max_wait: Duration::from_secs(10),
        }
    }

    /// Sets the number of attempts after the first, on one model; 0 means no retry.
    #[must_use]
    pub const fn with_max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Sets how many of the retries may be on backends that the request has tried before.
    #[must_use]
    pub const fn with_max_same_backend_retries(mut self, retries: u32) -> Self {
        self.max_same_backend_retries = retries;
        self
    }

    /// Sets the first step of the back-off; each further step doubles it. Zero means no back-off.
    #[must_use]
    pub const fn with_backoff(mut self, first: Duration) -> Self {
        self.backoff = first;
        self
    }

    /// Sets the longest step of the back-off.
    #[must_use]
    pub const fn with_max_backoff(mut self, longest: Duration) -> Self {
        self.max_backoff = longest;
        self
    }

    /// Sets the longest wait. When a longer one is due the request goes on to the next fallback.
    #[must_use]
    pub const fn with_max_wait(mut self, longest: Duration) -> Self {
        self.max_wait = longest;
        self
    }

    const fn has_attempts_left(&self, failed: &FailedAttempt<'_>) -> bool {
        failed.attempts() <= self.max_retries
            && (!failed.only_tried_left() || failed.repeats() < self.max_same_backend_retries)
    }

    fn wait(&self, failed: &FailedAttempt<'_>) -> Duration {
        match failed.retry_after() {
            Some(wait) if !wait.is_zero() => wait,
            _ => {
                let doubled = self.backoff.saturating_mul(1 << failed.repeats().min(16));
                let seconds = doubled.min(self.max_backoff).as_secs_f64() * failed.jitter().clamp(0.0, 1.0);
                Duration::try_from_secs_f64(seconds).unwrap_or(self.max_backoff)
            }
        }
    }
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl RetryPolicy for BackoffPolicy {
    fn decide(&self, failed: &FailedAttempt<'_>) -> Decision {
        match failed.class() {
            Class::TooLong => return Decision::Fallback,
            class if !class.fails_over() => return Decision::Stop,
            // The one service will not change its mind about these within a request.
            Class::Auth | Class::Model | Class::EndpointNotServed if !failed.has_selection() => return Decision::Stop,
            _ => {}
        }
        if !self.has_attempts_left(failed) {
            return Decision::Fallback;
        }
        if !failed.only_tried_left() {
            return Decision::RetryNow;
        }
        let wait = self.wait(failed);
        if wait > self.max_wait || failed.remaining().is_some_and(|remaining| wait >= remaining) {
            return Decision::Fallback;
        }
        Decision::RetryAfter(wait)
    }

    fn stop_reason(&self, failed: &FailedAttempt<'_>) -> &'static str {
        match failed.class() {
            Class::TooLong => "too long",
            _ if !self.has_attempts_left(failed) => "attempts spent",
            _ => "wait too long",
        }
    }
}

/// Retries idempotent requests as another policy decides, and no others.
///
/// Idempotent methods are GET, HEAD, OPTIONS, TRACE, PUT and DELETE (RFC 9110, section 9.2.2).
///
/// ```
/// use berry_tower::{classify::{Class, RequestFacts}, retry::{BackoffPolicy, Decision, FailedAttempt, IdempotentPolicy, RetryPolicy}};
/// use http::{Method, Uri};
///
/// let policy = IdempotentPolicy::new(BackoffPolicy::new());
/// let decide = |method| {
///     let request = RequestFacts::new(method, Uri::from_static("/orders"));
///     policy.decide(&FailedAttempt::new(&request, Class::Server))
/// };
/// assert!(matches!(decide(Method::GET), Decision::RetryAfter(_)));
/// assert_eq!(decide(Method::POST), Decision::Stop);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdempotentPolicy<P = BackoffPolicy> {
    inner: P,
}

impl<P> IdempotentPolicy<P> {
    /// Returns a policy that asks `inner` about idempotent requests.
    pub const fn new(inner: P) -> Self {
        Self { inner }
    }
}

impl<P: RetryPolicy> RetryPolicy for IdempotentPolicy<P> {
    fn decide(&self, failed: &FailedAttempt<'_>) -> Decision {
        if failed.request().method().is_idempotent() { self.inner.decide(failed) } else { Decision::Stop }
    }

    fn stop_reason(&self, failed: &FailedAttempt<'_>) -> &'static str {
        if failed.request().method().is_idempotent() { self.inner.stop_reason(failed) } else { "not idempotent" }
    }
}

#[cfg(test)]
mod tests;
