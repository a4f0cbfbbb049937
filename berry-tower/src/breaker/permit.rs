//! Permission to send one request.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Breaker, Outcome, Transition};
use crate::{
    caller::CallerId,
    classify::Class,
    evidence::{Claim, Weight},
};

/// Permission to send one request through a [`Breaker`].
///
/// A permit that is dropped without an outcome counts nothing, and the slot of a trial is free again.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts nothing"]
pub struct Permit {
    breaker: Arc<Breaker>,
    pub(super) generation: u32,
    /// The expiry of a trial, which identifies it.
    pub(super) trial: Option<u64>,
    pub(super) caller: Option<CallerId>,
    /// Whether the service is known to serve the request.
    is_served: bool,
}

impl Permit {
    pub(super) const fn new(
        breaker: Arc<Breaker>,
        generation: u32,
        trial: Option<u64>,
        caller: Option<CallerId>,
    ) -> Self {
        Self { breaker, generation, trial, caller, is_served: false }
    }

    /// Whether it is the one trial of a half-open breaker.
    #[must_use]
    pub const fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Notes that the request does well so far. A trial succeeds by this, though its response may
    /// take long; if it fails later, that is a failure of a closed breaker. Other permits stay as
    /// they are.
    pub fn prove(&mut self, now: Instant) -> Option<Transition> {
        self.serve(now);
        self.pass(now)
    }

    /// Ends a trial well, before it is known whether the service serves the request.
    pub(super) fn pass(&mut self, now: Instant) -> Option<Transition> {
        self.trial?;
        let settled = self.breaker.settle(self, Outcome::Success, Weight::Alone, now);
        self.trial = None;
        if settled.was_in_time {
            self.generation = settled.after.generation;
        }
        settled.transition
    }

    /// Records once that the service serves the request.
    fn serve(&mut self, now: Instant) {
        if let Some(caller) = self.caller
            && !std::mem::replace(&mut self.is_served, true)
        {
            self.breaker.record_served(caller, now);
        }
    }

    /// Tells the breaker the outcome of the request.
    pub fn settle(self, outcome: impl Into<Outcome>, now: Instant) -> Option<Transition> {
        self.settle_with(outcome.into(), Weight::Alone, now)
    }

    pub(super) fn settle_with(mut self, outcome: Outcome, weight: Weight, now: Instant) -> Option<Transition> {
        if outcome == Outcome::Success {
            self.serve(now);
        }
        let transition = self.breaker.settle(&self, outcome, weight, now).transition;
        // Nothing is left to give back.
        self.trial = None;
        transition
    }

    /// Whether a failure of this request may be its own fault, since its caller is one of several.
    pub(super) fn is_doubtful(&self, now: Instant) -> bool {
        self.caller.is_some_and(|caller| self.breaker.is_one_of_several(caller, now))
    }

    /// The address of the breaker, which identifies the backend.
    pub(super) fn backend(&self) -> usize {
        address(&self.breaker)
    }
}

/// The address of a breaker, which identifies a backend.
pub(crate) fn address(breaker: &Arc<Breaker>) -> usize {
    Arc::as_ptr(breaker).addr()
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Without a trial there is nothing to give back, and the clock need not be asked.
        if self.trial.is_some() {
            self.breaker.settle(self, Outcome::Neutral, Weight::Alone, Instant::now());
        }
    }
}

/// A failure whose weight is not known yet. Until then a trial keeps its slot.
#[derive(Debug)]
pub(super) struct Doubtful {
    pub(super) permit: Permit,
    pub(super) class: Class,
}

impl Claim for Doubtful {
    fn decide(&self, weight: Weight) {
        // The drop of the permit finds that the slot has been given back already.
        self.permit.breaker.settle(&self.permit, self.class.into(), weight, Instant::now());
    }
}
