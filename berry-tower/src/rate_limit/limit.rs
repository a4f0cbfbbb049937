//! The decision about a request: the trait, its permission, and its refusal.

use std::{any::Any, fmt, time::Duration};

use http::request::Parts;

use super::{
    limits::{Window, WindowUsage},
    quota::Slot,
};
use crate::{
    body::{End, Guard},
    gate::{Deferred, Immediate},
    render::Refusal,
};

/// Decides whether a request is within the limits of its caller.
///
/// [`QuotaFromRequest`](super::QuotaFromRequest) and [`PerKey`](super::PerKey) are the two local implementations. Implement it for a limit
/// that is kept in a store shared by several processes. Two kinds of closure are limits, too:
/// `Fn(&Parts) -> Result<Allowance, Exceeded>`, and a closure that returns a future of that result,
/// which cannot borrow from the head: read what is needed first, then return an `async move` block.
///
/// ```
/// use berry_tower::rate_limit::{Allowance, Exceeded, Limit, LimitKind, Window, WindowUsage};
/// use http::request::Parts;
/// use std::time::Duration;
///
/// # #[derive(Clone)] struct Client;
/// # impl Client { async fn incr(&self, _: &str) -> u32 { 1 } }
/// #[derive(Clone)]
/// struct SharedCounter(Client);
///
/// impl Limit for SharedCounter {
///     async fn acquire(&self, head: &Parts) -> Result<Allowance, Exceeded> {
///         let used = self.0.incr(head.uri.path()).await;
///         let usage = WindowUsage::new(Window::HOUR, 100, 100_u32.saturating_sub(used), Duration::from_secs(3_600));
///         if used > 100 {
///             let exceeded = Exceeded::new(LimitKind::Window(Window::HOUR), usage.reset);
///             return Err(exceeded.with_usage(usage));
///         }
///         Ok(Allowance::new(usage))
///     }
/// }
/// ```
///
/// [`RateLimitLayer`](super::RateLimitLayer) clones it for each service that it makes: shared counters go into an `Arc` inside.
///
/// The type parameter says whether the future may wait. An implementation of `Limit<Immediate>`
/// promises that its future is ready at the first poll; a request for which it is not is refused
/// with a 500. In return [`RateLimit`](super::RateLimit) needs no `Clone` of the inner service and allocates nothing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a rate limit",
    note = "use `PerKey` or `QuotaFromRequest`, implement `Limit`, or pass a closure `|head: &http::request::Parts| -> Result<Allowance, Exceeded>`"
)]
pub trait Limit<M = Deferred> {
    /// Uses one request of the limits, or returns the limit that is reached.
    fn acquire(&self, head: &Parts) -> impl Future<Output = Result<Allowance, Exceeded>> + Send;
}

impl<F> Limit<Immediate> for F
where
    F: Fn(&Parts) -> Result<Allowance, Exceeded>,
{
    fn acquire(&self, head: &Parts) -> impl Future<Output = Result<Allowance, Exceeded>> + Send {
        std::future::ready(self(head))
    }
}

impl<F, T> Limit<Deferred> for F
where
    F: Fn(&Parts) -> T,
    T: Future<Output = Result<Allowance, Exceeded>> + Send,
{
    fn acquire(&self, head: &Parts) -> impl Future<Output = Result<Allowance, Exceeded>> + Send {
        self(head)
    }
}

/// The permission of a request that is within its limits. The default is that no limit applies.
#[derive(Debug, Default)]
pub struct Allowance {
    pub(super) usage: Option<WindowUsage>,
    pub(super) permit: Permit,
}

impl Allowance {
    /// Creates an allowance that reports a window in the response's headers.
    pub fn new(usage: impl Into<Option<WindowUsage>>) -> Self {
        Self { usage: usage.into(), permit: Permit::default() }
    }

    /// Keeps `guard` until the body of the response has ended, or the request has failed. A limit of
    /// requests in flight can give its place back when the guard is dropped.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Send + Sync + 'static) -> Self {
        self.permit.guard = Some(Box::new(guard));
        self
    }

    pub(super) fn with_slot(mut self, slot: Slot) -> Self {
        self.permit.slot = Some(slot);
        self
    }

    /// Returns the window that is reported in the response's headers.
    #[must_use]
    pub const fn usage(&self) -> Option<WindowUsage> {
        self.usage
    }
}

/// The reason why a request is not within its limits.
#[derive(Clone, Debug)]
pub struct Exceeded(pub(super) Reason);

#[derive(Clone, Debug)]
pub(super) enum Reason {
    Limit { kind: LimitKind, retry_after: Duration, usage: Option<WindowUsage> },
    MissingKey,
    Refused(Box<Refusal>),
}

impl Exceeded {
    /// Creates the error for a limit that is reached; a request may pass after `retry_after`.
    #[must_use]
    pub const fn new(kind: LimitKind, retry_after: Duration) -> Self {
        Self(Reason::Limit { kind, retry_after, usage: None })
    }

    /// Creates the error for a request without a key where one is required; it is a 500, since a
    /// layer that adds the key must be missing.
    #[must_use]
    pub const fn missing_key() -> Self {
        Self(Reason::MissingKey)
    }

    /// Sets the window that is reported in the response's headers.
    #[must_use]
    pub fn with_usage(mut self, window: impl Into<Option<WindowUsage>>) -> Self {
        if let Reason::Limit { usage, .. } = &mut self.0 {
            *usage = window.into();
        }
        self
    }

    /// Returns the kind of limit that is reached, if one is.
    #[must_use]
    pub const fn kind(&self) -> Option<LimitKind> {
        match &self.0 {
            Reason::Limit { kind, .. } => Some(*kind),
            Reason::MissingKey | Reason::Refused(_) => None,
        }
    }

    /// Returns the time until a request may pass, if a limit is reached.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match &self.0 {
            Reason::Limit { retry_after, .. } => Some(*retry_after),
            Reason::MissingKey | Reason::Refused(_) => None,
        }
    }

    /// Returns the window that is reported in the response's headers.
    #[must_use]
    pub const fn usage(&self) -> Option<WindowUsage> {
        match &self.0 {
            Reason::Limit { usage, .. } => *usage,
            Reason::MissingKey | Reason::Refused(_) => None,
        }
    }
}

/// Another refusal, sent as it is, for example a 503 when the store of the limits does not answer.
impl From<Refusal> for Exceeded {
    fn from(refusal: Refusal) -> Self {
        Self(Reason::Refused(Box::new(refusal)))
    }
}

/// The kind of limit that a request has exceeded, in the extensions of the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitKind {
    /// The limit of requests in a window of time.
    Window(Window),
    /// The limit of requests in flight.
    Concurrency,
}

impl LimitKind {
    /// Returns the [name of the window](Window::name), or `concurrency`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Window(window) => window.name(),
            Self::Concurrency => "concurrency",
        }
    }
}

/// Holds the place of a request in flight until the body of its response has ended.
#[derive(Default)]
pub struct Permit {
    slot: Option<Slot>,
    guard: Option<Box<dyn Any + Send + Sync>>,
}

impl Guard for Permit {
    fn ended(&mut self, _end: End<'_>) {
        *self = Self::default();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
