//! What a policy knows of a failed attempt.

use std::time::Duration;

use http::StatusCode;

use crate::classify::{Class, RequestFacts};

/// A failed attempt, as a [`RetryPolicy`](super::RetryPolicy) sees it.
///
/// ```
/// use berry_tower::{classify::{Class, RequestFacts}, retry::FailedAttempt};
///
/// let request = RequestFacts::default();
/// let failed = FailedAttempt::new(&request, Class::Server).with_attempts(2);
/// assert_eq!((failed.attempts(), failed.repeats()), (2, 0));
/// ```
#[derive(Clone, Debug)]
pub struct FailedAttempt<'a> {
    request: &'a RequestFacts,
    class: Class,
    status: Option<StatusCode>,
    attempts: u32,
    repeats: u32,
    retry_after: Option<Duration>,
    remaining: Option<Duration>,
    jitter: f64,
    has_selection: bool,
    only_tried_left: bool,
}

impl<'a> FailedAttempt<'a> {
    /// Returns the first attempt of `request` on its only service, failed with `class`, without a
    /// deadline.
    ///
    /// A rate limit's wait becomes [`retry_after`](Self::retry_after).
    #[must_use]
    pub const fn new(request: &'a RequestFacts, class: Class) -> Self {
        let retry_after = match class {
            Class::RateLimited { retry_after } => retry_after,
            _ => None,
        };
        Self {
            request,
            class,
            status: None,
            attempts: 1,
            repeats: 0,
            retry_after,
            remaining: None,
            jitter: 0.0,
            has_selection: false,
            only_tried_left: true,
        }
    }

    /// Sets the status of the response that failed.
    #[must_use]
    pub const fn with_status(mut self, status: Option<StatusCode>) -> Self {
        self.status = status;
        self
    }

    /// Sets the number of attempts on the model so far.
    #[must_use]
    pub const fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets how many of the attempts were on backends that had been tried before.
    #[must_use]
    pub const fn with_repeats(mut self, repeats: u32) -> Self {
        self.repeats = repeats;
        self
    }

    /// Sets the time until the soonest tried backend may be asked again.
    #[must_use]
    pub const fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// Sets the time that is left before the total timeout.
    #[must_use]
    pub const fn with_remaining(mut self, remaining: Option<Duration>) -> Self {
        self.remaining = remaining;
        self
    }

    /// Sets the random number, at least 0 and below 1.
    #[must_use]
    pub const fn with_jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// Says that a selection stands behind Retry, and whether it has only backends left that the
    /// request has tried.
    #[must_use]
    pub const fn with_selection(mut self, only_tried_left: bool) -> Self {
        self.has_selection = true;
        self.only_tried_left = only_tried_left;
        self
    }

    /// The facts of the request.
    #[must_use]
    pub const fn request(&self) -> &'a RequestFacts {
        self.request
    }

    /// How the attempt failed.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }

    /// The status of the response, if the attempt was answered with one.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// The number of attempts so far, on the model or the fallback that the request is at.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How many of the [`attempts`](Self::attempts) were on backends that had been tried before.
    /// Without a selection this is every attempt after the first.
    #[must_use]
    pub const fn repeats(&self) -> u32 {
        self.repeats
    }

    /// The time until a tried backend accepts requests again: the soonest one when
    /// [`only_tried_left`](Self::only_tried_left), else the one that failed just now. `None` when
    /// no backend asked for a wait.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The time that is left before the total timeout; `None` without one.
    #[must_use]
    pub const fn remaining(&self) -> Option<Duration> {
        self.remaining
    }

    /// A random number, uniform over [0, 1), for a back-off with jitter.
    #[must_use]
    pub const fn jitter(&self) -> f64 {
        self.jitter
    }

    /// Whether a selection stands behind Retry, which knows several backends and fallbacks.
    #[must_use]
    pub const fn has_selection(&self) -> bool {
        self.has_selection
    }

    /// Whether every backend that may still be asked was tried by this request. Without a selection
    /// this is always so.
    ///
    /// With a selection, this is false right after the failure. When the selection then finds no
    /// backend that was not tried, the policy is asked again, and this is true.
    #[must_use]
    pub const fn only_tried_left(&self) -> bool {
        self.only_tried_left
    }
}
