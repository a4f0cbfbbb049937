//! The leave to send one request, which gives a trial's slot back however the request ends.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Breaker, Outcome, Transition};

/// The leave to send one request through a [`Breaker`].
///
/// Dropped without a verdict it counts nothing, and the slot of a trial is free again.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts nothing"]
pub struct Permit {
    breaker: Arc<Breaker>,
    generation: u32,
    trial: bool,
    settled: bool,
}

impl Permit {
    pub(super) const fn new(breaker: Arc<Breaker>, generation: u32, trial: bool) -> Self {
        Self { breaker, generation, trial, settled: false }
    }

    /// Whether it is the one trial of a half-open breaker.
    #[must_use]
    pub const fn is_trial(&self) -> bool {
        self.trial
    }

    /// Tells the breaker what came of the request.
    pub fn settle(mut self, outcome: impl Into<Outcome>, now: Instant) -> Option<Transition> {
        self.settled = true;
        self.breaker.settle(self.generation, outcome.into(), now)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Without a trial there is nothing to give back, and the clock need not be asked.
        if self.trial && !self.settled {
            self.breaker.release(self.generation);
        }
    }
}
