//! When a breaker opens, and for how long.

use std::time::Duration;

use super::state::Limits;

/// When a breaker opens, and for how long.
///
/// ```
/// use berry_tower::breaker::{BreakerPolicy, SuccessRate};
/// use std::time::Duration;
///
/// let minute = Duration::from_secs(60);
/// let policy = BreakerPolicy::new()
///     .with_failure_threshold(3)
///     .with_open_for(Duration::from_secs(10))
///     .with_backoff(2.0, minute)
///     .with_success_rate(SuccessRate::new(0.5, minute, 20));
/// assert_eq!(policy.failure_threshold(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerPolicy {
    failure_threshold: u32,
    open_for: Duration,
    trial_timeout: Duration,
    backoff: f64,
    max_open_for: Duration,
    success_rate: Option<SuccessRate>,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            open_for: Duration::from_secs(60),
            trial_timeout: Duration::from_secs(30),
            backoff: 1.0,
            max_open_for: Duration::MAX,
            success_rate: None,
        }
    }
}

impl BreakerPolicy {
    /// Returns the default policy: five failures in a row, open for a minute, trials of at most 30
    /// seconds, no back-off and no success rate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many failures in a row open the breaker. 0 counts as 1; a number above one million
    /// never opens it.
    #[must_use]
    pub const fn with_failure_threshold(mut self, failures: u32) -> Self {
        self.failure_threshold = failures;
        self
    }

    /// Sets how long an open breaker refuses requests. After [`Duration::ZERO`] it is half-open at
    /// once; after [`Duration::MAX`] only a successful probe ends the open time.
    #[must_use]
    pub const fn with_open_for(mut self, open_for: Duration) -> Self {
        self.open_for = open_for;
        self
    }

    /// Sets how long a trial that has not shown its outcome keeps others out. Then the next request
    /// is a trial as well, and the first of the two to end decides. [`Duration::ZERO`] counts as one
    /// millisecond; with [`Duration::MAX`] a trial never expires.
    #[must_use]
    pub const fn with_trial_timeout(mut self, timeout: Duration) -> Self {
        self.trial_timeout = timeout;
        self
    }

    /// Multiplies the open time by `factor` for each trial in a row that fails, up to `max_open_for`.
    /// A factor that is no number, or below 1, counts as 1.
    #[must_use]
    pub const fn with_backoff(mut self, factor: f64, max_open_for: Duration) -> Self {
        // A comparison with NaN is false.
        self.backoff = if factor > 1.0 { factor } else { 1.0 };
        self.max_open_for = max_open_for;
        self
    }

    /// Opens the breaker also when the share of successes falls below a rate; `None` switches that off.
    #[must_use]
    pub fn with_success_rate(mut self, rate: impl Into<Option<SuccessRate>>) -> Self {
        self.success_rate = rate.into();
        self
    }

    /// The failures in a row that open the breaker.
    #[must_use]
    pub const fn failure_threshold(&self) -> u32 {
        self.failure_threshold
    }

    /// How long an open breaker refuses requests, before any back-off.
    #[must_use]
    pub const fn open_for(&self) -> Duration {
        self.open_for
    }

    /// How long a trial keeps others out.
    #[must_use]
    pub const fn trial_timeout(&self) -> Duration {
        self.trial_timeout
    }

    /// The success rate below which the breaker opens.
    #[must_use]
    pub const fn success_rate(&self) -> Option<SuccessRate> {
        self.success_rate
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            failure_threshold: self.failure_threshold,
            open_for: millis(self.open_for),
            trial_timeout: millis(self.trial_timeout),
            backoff: self.backoff,
            max_open_for: millis(self.max_open_for),
        }
    }
}

/// The share of successes below which a breaker opens.
///
/// It is counted over a sliding window that moves in steps of a tenth of its length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRate {
    rate: f64,
    window: Duration,
    min_requests: u32,
}

impl SuccessRate {
    /// Returns a rate between 0 and 1 over the last `window`, which counts from `min_requests`
    /// successes and failures on. A window below 10 milliseconds counts as 10 milliseconds.
    #[must_use]
    pub const fn new(rate: f64, window: Duration, min_requests: u32) -> Self {
        Self { rate, window, min_requests }
    }

    /// The share of successes, between 0 and 1.
    #[must_use]
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// The length of the window.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// The number of successes and failures from which the rate counts.
    #[must_use]
    pub const fn min_requests(&self) -> u32 {
        self.min_requests
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
