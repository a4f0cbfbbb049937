//! A backend's state at one moment, copied once, for all who decide by it.

use std::time::Duration;

use super::confidence;
use crate::health::Stage;

/// A backend's state at one moment.
///
/// The default is that of a backend that nobody has asked yet.
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
    /// How far it has come back since it was unhealthy.
    pub stage: Stage,
    /// Whether it is unhealthy and a request may find out whether it still is: its interval is
    /// over and no trial is under way.
    pub due_for_trial: bool,
    /// Whether no trial is under way.
    pub trial_free: bool,
    /// Until it may be asked again, when it asked to be left alone.
    pub cooling: Option<Duration>,
    /// Whether nobody asked for the cool-down in force: it is the one after a 429 without
    /// `Retry-After`, and inside one request the back-off takes its place.
    pub cooling_default: bool,
    /// Until its circuit breaker lets a request through; `None` when it would now. A hint.
    pub breaker_reopens_in: Option<Duration>,
    /// Requests under way.
    pub in_flight: u32,
    /// The moving average of the time to the first byte; `None` when it was never measured, or
    /// not within the recovery interval.
    pub latency: Option<Duration>,
    /// The confidence as read now.
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
    /// Whether it is healthy, or on its way back to that.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        !matches!(self.stage, Stage::Unhealthy)
    }

    /// Whether its circuit breaker would let a request through. A hint.
    #[must_use]
    pub const fn breaker_available(&self) -> bool {
        self.breaker_reopens_in.is_none()
    }

    /// Whether neither its circuit breaker nor a cool-down bars it.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.breaker_available() && self.cooling.is_none()
    }

    /// Until it may be asked again: the later of the breaker's time and the cool-down.
    #[must_use]
    pub fn free_in(&self) -> Duration {
        self.cooling.max(self.breaker_reopens_in).unwrap_or_default()
    }

    /// Whether it may take `most` requests at once and has that many; 0 is no bound.
    #[must_use]
    pub const fn is_full(&self, most: u32) -> bool {
        most != 0 && self.in_flight >= most
    }

    /// Whether a chat probe would tell something: it is not wholly healthy, or its breaker is open.
    #[must_use]
    pub const fn wants_chat_probe(&self) -> bool {
        !matches!(self.stage, Stage::Healthy) || !self.breaker_available()
    }

    /// The part of its weight that its confidence leaves it.
    #[must_use]
    pub const fn trust(&self) -> f64 {
        confidence::trust(self.confidence)
    }
}
