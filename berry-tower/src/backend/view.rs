//! The state of a backend at one moment, copied once for all decisions.

use std::time::Duration;

use super::confidence;
use crate::health::Stage;

/// The state of a backend at one moment.
///
/// The default is the state of a new backend.
///
/// ```
/// use berry_tower::backend::{BackendState, Tuning, View};
/// use tokio::time::Instant;
///
/// let view = BackendState::new(Tuning::default()).view(Instant::now());
/// assert_eq!(view, View::default());
/// assert!(view.is_healthy() && view.is_free());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The stage of its recovery.
    pub stage: Stage,
    /// Whether it is unhealthy and may take a trial: its interval is over and no trial is under way.
    pub due_for_trial: bool,
    /// Whether no trial is under way.
    pub trial_free: bool,
    /// The rest of its cool-down.
    pub cooling: Option<Duration>,
    /// Whether the cool-down is the default one, after a 429 without `Retry-After`. Within one request
    /// the back-off takes its place.
    pub cooling_default: bool,
    /// The wait until its circuit breaker lets a request through; `None` when it would now. A hint.
    pub breaker_reopens_in: Option<Duration>,
    /// The number of requests in flight.
    pub in_flight: u32,
    /// The moving average of the time to the first byte; `None` when it was not measured within the
    /// recovery interval.
    pub latency: Option<Duration>,
    /// The confidence now.
    pub confidence: f64,
}

impl Default for View {
    fn default() -> Self {
        Self {
            stage: Stage::Healthy,
            due_for_trial: false,
            trial_free: true,
            cooling: None,
            cooling_default: false,
            breaker_reopens_in: None,
            in_flight: 0,
            latency: None,
            confidence: super::tuning::SmartAi::default().initial_confidence,
        }
    }
}

impl View {
    /// Whether it is healthy or recovering.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        !matches!(self.stage, Stage::Unhealthy)
    }

    /// Whether its circuit breaker would let a request through now. A hint.
    #[must_use]
    pub const fn breaker_available(&self) -> bool {
        self.breaker_reopens_in.is_none()
    }

    /// Whether neither its circuit breaker nor a cool-down keeps requests away.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.breaker_available() && self.cooling.is_none()
    }

    /// Returns the wait until requests may go to it: for the circuit breaker or the cool-down, whichever
    /// is longer.
    #[must_use]
    pub fn free_in(&self) -> Duration {
        self.cooling.max(self.breaker_reopens_in).unwrap_or_default()
    }

    /// Whether it has `most` requests in flight; 0 is no bound.
    #[must_use]
    pub const fn is_full(&self, most: u32) -> bool {
        most != 0 && self.in_flight >= most
    }

    /// Whether a chat probe is useful: it is not fully healthy, or its circuit breaker is not closed.
    #[must_use]
    pub const fn wants_chat_probe(&self) -> bool {
        !matches!(self.stage, Stage::Healthy) || !self.breaker_available()
    }

    /// Returns the share of its weight that its confidence leaves.
    #[must_use]
    pub const fn trust(&self) -> f64 {
        confidence::trust(self.confidence)
    }

    /// Whether `smart_ai` counts on it: the confidence is at least 0.6.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.confidence >= confidence::TRUSTED
    }
}
