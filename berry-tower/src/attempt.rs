//! The attempts of a request: [`Retry`](crate::retry) creates an [`Attempt`] for each, and
//! [`Select`](crate::select) records the backend that it picks.

use std::{iter::successors, sync::Arc};

pub use crate::backend_id::BackendId;
use crate::{classify::Class, evidence::AttemptRecord};

/// The backend that served a response; an extension of responses, inserted by
/// [`Select`](crate::select).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBy(pub BackendId);

/// Whether a backend that was tried may be tried again in the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryEligibility {
    /// Not in this request: the backend refused the key, lacks the model, was silent, or stalled.
    Never,
    /// After the backend's cool-down has ended.
    AfterCooldown,
    /// After the request's own back-off, which replaces a default cool-down.
    AfterBackoff,
}

impl RetryEligibility {
    /// Returns the eligibility of a backend after an attempt on it ended with `class`. `silent`
    /// says that a deadline passed before the backend had sent a byte.
    ///
    /// ```
    /// use berry_tower::{attempt::RetryEligibility, classify::Class};
    ///
    /// assert_eq!(RetryEligibility::after(Class::Server, false), RetryEligibility::AfterCooldown);
    /// assert_eq!(RetryEligibility::after(Class::Timeout, true), RetryEligibility::Never);
    /// ```
    #[must_use]
    pub const fn after(class: Class, silent: bool) -> Self {
        match class {
            Class::Auth | Class::Model | Class::EndpointNotServed => Self::Never,
            Class::Timeout if silent => Self::Never,
            Class::RateLimited { retry_after: None } => Self::AfterBackoff,
            _ => Self::AfterCooldown,
        }
    }
}

/// An attempt of a request: its number, the fallback that it is for, and the backends that earlier
/// attempts have tried.
///
/// [`Retry`](crate::retry) inserts it into the request's extensions. A selection records the
/// backend that it picked, so that Retry knows it even when a layer between them failed first.
///
/// ```
/// use berry_tower::{attempt::{Attempt, BackendId, RetryEligibility}, classify::Class};
///
/// let first = Attempt::first();
/// first.record_backend(BackendId { provider: "a".into(), model: "m".into() });
/// let second = first.next(Class::Server, false);
/// assert_eq!(second.number(), 2);
/// assert_eq!(second.tried().next().unwrap().eligibility, RetryEligibility::AfterCooldown);
/// assert_eq!(second.tried().count(), 1);
/// assert!(!second.allows_repeats());
/// ```
#[derive(Clone, Debug)]
pub struct Attempt {
    number: u32,
    fallback_index: u32,
    allows_repeats: bool,
    is_callers_fallback: bool,
    record: Arc<AttemptRecord>,
    before: Option<Arc<Tried>>,
}

/// An earlier attempt of the request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tried {
    /// The backend that was tried; `None` without a selection behind Retry.
    pub backend: Option<BackendId>,
    /// Whether the backend may be tried again.
    pub eligibility: RetryEligibility,
    /// How the attempt ended.
    pub class: Class,
    /// The fallback that the attempt was for; 0 is the model itself.
    pub fallback_index: u32,
    /// Whether the attempt had sent output to the client before it failed.
    pub interrupted: bool,
    before: Option<Arc<Self>>,
}

impl Attempt {
    /// Returns the first attempt of a request.
    #[must_use]
    pub fn first() -> Self {
        Self {
            number: 1,
            fallback_index: 0,
            allows_repeats: false,
            is_callers_fallback: false,
            record: Arc::default(),
            before: None,
        }
    }

    /// Returns the attempt after this one has failed with `class`; for `silent` see
    /// [`RetryEligibility::after`].
    #[must_use]
    pub fn next(&self, class: Class, silent: bool) -> Self {
        self.after(RetryEligibility::after(class, silent), class, false)
    }

    /// Returns the attempt that resumes the stream of this one, which broke off with `class` after
    /// its output had started.
    ///
    /// A backend that stalled does not get the request again; one whose stream was cut does, once.
    #[must_use]
    pub fn resume(&self, class: Class) -> Self {
        let backend = self.backend();
        let interrupted_before = self.tried().any(|tried| tried.interrupted && tried.backend.as_ref() == backend);
        let eligibility = match class {
            Class::Timeout => RetryEligibility::Never,
            _ if interrupted_before => RetryEligibility::Never,
            class => RetryEligibility::after(class, false),
        };
        self.after(eligibility, class, true)
    }

    fn after(&self, eligibility: RetryEligibility, class: Class, interrupted: bool) -> Self {
        let (backend, before) = (self.backend().cloned(), self.before.clone());
        let fallback_index = self.fallback_index;
        let tried = Tried { backend, eligibility, class, fallback_index, interrupted, before };
        Self {
            number: self.number.saturating_add(1),
            fallback_index,
            allows_repeats: false,
            is_callers_fallback: self.is_callers_fallback,
            record: Arc::new(self.record.successor()),
            before: Some(Arc::new(tried)),
        }
    }

    /// What this attempt and the others of its request tell each other.
    #[cfg(feature = "breaker")]
    pub(crate) const fn record(&self) -> &Arc<AttemptRecord> {
        &self.record
    }

    /// Returns the same attempt with no backend recorded, for when no backend was called.
    #[must_use]
    pub fn fresh_slot(&self) -> Self {
        Self { record: Arc::new(self.record.sibling()), ..self.clone() }
    }

    /// Returns the same attempt, with backends that were tried before allowed or not.
    #[must_use]
    pub fn with_repeats(&self, allowed: bool) -> Self {
        Self { allows_repeats: allowed, ..self.fresh_slot() }
    }

    /// Returns the same attempt for the next fallback of the model.
    #[must_use]
    pub fn next_fallback(&self) -> Self {
        let fallback_index = self.fallback_index.saturating_add(1);
        Self { fallback_index, allows_repeats: false, ..self.fresh_slot() }
    }

    /// Says that the request itself, and not the state of a backend, led to the fallback that this
    /// attempt is for, and to those after it.
    #[must_use]
    pub const fn by_caller(mut self) -> Self {
        self.is_callers_fallback = true;
        self
    }

    /// Whether the request itself led to the fallback that this attempt is for: it was too long, or had
    /// a part that no backend of an earlier model could express.
    #[must_use]
    pub const fn is_callers_fallback(&self) -> bool {
        self.is_callers_fallback
    }

    /// The number of this attempt, from 1, counted over all fallbacks.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// 0 for the model that the request names, k for its k-th fallback.
    #[must_use]
    pub const fn fallback_index(&self) -> u32 {
        self.fallback_index
    }

    /// Whether a backend that was tried before may be picked.
    #[must_use]
    pub const fn allows_repeats(&self) -> bool {
        self.allows_repeats
    }

    /// Records the backend of this attempt. Only the first call has an effect.
    pub fn record_backend(&self, backend: BackendId) {
        let _ = self.record.backend.set(backend);
    }

    /// The backend of this attempt, once one was picked.
    #[must_use]
    pub fn backend(&self) -> Option<&BackendId> {
        self.record.backend.get()
    }

    /// Whether an earlier attempt was on the backend of this one.
    #[must_use]
    pub fn is_repeat(&self) -> bool {
        self.backend().is_some_and(|backend| self.tried().any(|tried| tried.backend.as_ref() == Some(backend)))
    }

    /// The earlier attempts, the latest first.
    pub fn tried(&self) -> impl Iterator<Item = &Tried> {
        successors(self.before.as_deref(), |tried| tried.before.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(attempt: &Attempt, name: &str) {
        attempt.record_backend(BackendId { provider: name.into(), model: "m".into() });
    }

    fn eligibility(attempt: &Attempt) -> RetryEligibility {
        attempt.tried().next().unwrap().eligibility
    }

    #[test]
    fn bars_backend_that_stalled_from_resuming() {
        let first = Attempt::first();
        on(&first, "a");
        assert_eq!(eligibility(&first.resume(Class::Timeout)), RetryEligibility::Never);
    }

    #[test]
    fn lets_backend_resume_its_own_cut_stream_once() {
        let first = Attempt::first();
        on(&first, "a");
        let second = first.resume(Class::Network);
        assert_eq!(eligibility(&second), RetryEligibility::AfterCooldown);
        on(&second, "a");
        assert_eq!(eligibility(&second.resume(Class::Network)), RetryEligibility::Never);
    }

    #[test]
    fn failure_before_output_does_not_count_as_interruption() {
        let first = Attempt::first();
        on(&first, "a");
        let second = first.next(Class::Network, false);
        on(&second, "a");
        assert_eq!(eligibility(&second.resume(Class::Network)), RetryEligibility::AfterCooldown);
    }
}
