//! One attempt of a request, as Retry announces it and Select fills it in.

use std::{
    fmt::{self, Display},
    iter::successors,
    sync::{Arc, OnceLock},
};

use crate::classify::Class;

/// What tells backends apart: the provider's id and the provider's name of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId {
    /// The provider's id.
    pub provider: Arc<str>,
    /// The model, as the provider calls it.
    pub model: Arc<str>,
}

impl Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.model)
    }
}

/// Which backend answered; on responses, put by Select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBy(pub BackendId);

/// Whether a backend that was tried may be tried again in the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryEligibility {
    /// Not in this request: it refused the key, lacks the model, or was silent.
    Never,
    /// After the wait that its cool-down asks for.
    AfterCooldown,
    /// After the request's own back-off, which stands in for a cool-down that nobody asked for.
    AfterBackoff,
}

impl RetryEligibility {
    /// How a backend may come back after an attempt on it ended with this class; `silent` says
    /// that a deadline passed before the backend had sent a byte.
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

/// A request's attempt: its number, which of the model's fallbacks it is for, and who was tried
/// before. Retry puts it into the request's extensions; a selection writes down whom it picked, so
/// that Retry knows even when a layer between them gave up first.
///
/// ```
/// use berry_tower::{attempt::{Attempt, BackendId, RetryEligibility}, classify::Class};
///
/// let first = Attempt::first();
/// first.record_backend(BackendId { provider: "a".into(), model: "m".into() });
/// let second = first.next(Class::Server, false);
/// assert_eq!(second.number(), 2);
/// assert_eq!(second.tried().next().unwrap().returns, RetryEligibility::AfterCooldown);
/// assert_eq!(second.tried().count(), 1);
/// assert!(!second.allow_tried());
/// ```
#[derive(Clone, Debug)]
pub struct Attempt {
    number: u32,
    fallback_index: u32,
    allow_tried: bool,
    slot: Arc<OnceLock<BackendId>>,
    before: Option<Arc<Tried>>,
}

/// A backend that an earlier attempt of the request has asked.
#[derive(Debug)]
pub struct Tried {
    /// Who it was; nobody when no selection stands behind Retry.
    pub backend: Option<BackendId>,
    /// Whether it may be asked again.
    pub returns: RetryEligibility,
    /// What the attempt ended with.
    pub class: Class,
    /// Which of the model's fallbacks it was for; 0 is the model itself.
    pub fallback_index: u32,
    before: Option<Arc<Tried>>,
}

impl Attempt {
    /// A request's first attempt.
    #[must_use]
    pub fn first() -> Self {
        Self { number: 1, fallback_index: 0, allow_tried: false, slot: Arc::default(), before: None }
    }

    /// The attempt after this one has failed with `class`; `silent` as in [`RetryEligibility::after`].
    #[must_use]
    pub fn next(&self, class: Class, silent: bool) -> Self {
        let (backend, before) = (self.slot.get().cloned(), self.before.clone());
        let tried = Tried {
            backend,
            returns: RetryEligibility::after(class, silent),
            class,
            fallback_index: self.fallback_index,
            before,
        };
        Self {
            number: self.number + 1,
            fallback_index: self.fallback_index,
            allow_tried: false,
            slot: Arc::default(),
            before: Some(Arc::new(tried)),
        }
    }

    /// The same attempt anew, when it came to nothing: nobody was asked.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { slot: Arc::default(), ..self.clone() }
    }

    /// The same attempt, with backends that were tried before allowed or not.
    #[must_use]
    pub fn allowing_tried(&self, allow: bool) -> Self {
        Self { allow_tried: allow, ..self.again() }
    }

    /// The same attempt for the model's next fallback.
    #[must_use]
    pub fn next_fallback(&self) -> Self {
        Self { fallback_index: self.fallback_index + 1, allow_tried: false, ..self.again() }
    }

    /// 1 for the first; counts over all legs.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// 0 for the model asked for, k for its k-th fallback.
    #[must_use]
    pub const fn fallback_index(&self) -> u32 {
        self.fallback_index
    }

    /// Whether a backend that was tried before may be picked.
    #[must_use]
    pub const fn allow_tried(&self) -> bool {
        self.allow_tried
    }

    /// Writes down whom this attempt asks; only the first call counts.
    pub fn record_backend(&self, backend: BackendId) {
        let _ = self.slot.set(backend);
    }

    /// Whom this attempt has asked.
    #[must_use]
    pub fn backend(&self) -> Option<&BackendId> {
        self.slot.get()
    }

    /// Who was asked by earlier attempts, the latest first.
    pub fn tried(&self) -> impl Iterator<Item = &Tried> {
        successors(self.before.as_deref(), |t| t.before.as_deref())
    }
}
