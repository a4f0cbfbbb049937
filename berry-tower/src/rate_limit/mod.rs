//! Limits how many requests a caller may make.
//!
//! * Needs: whatever its [`Limit`] reads from the request's head, as a rule the identity that
//!   [`Auth`](crate::auth) put into the extensions.
//! * Adds: [`RateLimitHeaders`] to the responses. Of two stacked limits the tighter one is reported.
//! * Rejects: with 429 and `Retry-After`. The reason, a [`LimitKind`], is in the response's extensions.
//! * Does not: count tokens or bytes, queue requests, or share its state between processes; a
//!   [`Limit`] over a shared store can.
//!
//! The layer refuses at once and never queues. Its state is shared by all clones of the service. A
//! request in flight is counted until the body of its response has ended, or until the future fails
//! or is dropped.
//!
//! ```
//! use berry_tower::rate_limit::{LimitKind, Limits, PerKey, RateLimitLayer, Window};
//! use bytes::Bytes;
//! use http::{Request, Response, request::Parts};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let limits = Limits::new().per_minute(1).per_hour(30);
//! let mut service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new(PerKey::new(limits, |head: &Parts| head.headers.get("x-tenant").cloned())))
//!     .service(service_fn(|_: Request<()>| async {
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
//!     }));
//! let request = || Request::get("/").header("x-tenant", "acme").body(()).unwrap();
//!
//! let passed = service.ready().await.unwrap().call(request()).await.unwrap();
//! assert_eq!(passed.status(), 200);
//! assert_eq!(passed.headers()["x-ratelimit-remaining-requests"], "0");
//!
//! let refused = service.ready().await.unwrap().call(request()).await.unwrap();
//! assert_eq!(refused.status(), 429);
//! assert_eq!(refused.headers()["retry-after"], "60");
//! assert_eq!(refused.extensions().get(), Some(&LimitKind::Window(Window::MINUTE)));
//! # }
//! ```

mod headers;
mod keyed;
mod limits;
mod quota;

use std::{
    any::Any,
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body::Body;
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use self::quota::Slot;
pub use self::{
    headers::RateLimitHeaders,
    keyed::{PerKey, QuotaFromRequest},
    limits::{Limits, QuotaUsage, Window, WindowLimit, WindowUsage},
    quota::Quota,
};
pub use crate::gate::{Deferred, Immediate};
use crate::{
    body::{End, Guard, GuardedBody, ResponseBody},
    error::{BoxError, MissingLayer},
    gate::{AnyMode, Gate, Mode, not_immediate, now},
    render::{ApiErrors, Refusal, Render, RequestSummary},
};

/// Decides whether a request is within the limits of its caller.
///
/// [`QuotaFromRequest`] and [`PerKey`] are the two local implementations. Implement it for a limit
/// that is kept in a store shared by several processes. Two kinds of closure are limits, too:
/// `Fn(&Parts) -> Result<Allowance, Exceeded>`, and a closure that returns a future of that result.
///
/// ```
/// use berry_tower::rate_limit::{Allowance, Exceeded, Limit, LimitKind, Window, WindowUsage};
/// use http::request::Parts;
/// use std::time::Duration;
///
/// # struct Client;
/// # impl Client { async fn incr(&self, _: &str) -> u32 { 1 } }
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
/// The type parameter says whether the future may wait. An implementation of `Limit<Immediate>`
/// promises that its future is ready at the first poll; a request for which it is not is refused
/// with a 500. In return [`RateLimit`] needs no `Clone` of the inner service and allocates nothing.
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
    usage: Option<WindowUsage>,
    permit: Permit,
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

    fn with_slot(mut self, slot: Slot) -> Self {
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
pub struct Exceeded(Reason);

#[derive(Clone, Debug)]
enum Reason {
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

/// [`Layer`] that applies [`RateLimit`].
///
/// `M` is the mode of the limit: [`Immediate`] or [`Deferred`].
#[derive(Clone, Debug)]
pub struct RateLimitLayer<L, R = ApiErrors, M = Immediate> {
    limit: L,
    render: R,
    headers: Option<Arc<RateLimitHeaders>>,
    mode: PhantomData<fn() -> M>,
}

impl<L, M> RateLimitLayer<L, ApiErrors, M> {
    /// Keeps callers within `limit`.
    pub fn new(limit: L) -> Self
    where
        L: Limit<M>,
    {
        Self { limit, render: ApiErrors, headers: Some(Arc::default()), mode: PhantomData }
    }
}

impl<L, R, M> RateLimitLayer<L, R, M> {
    /// Sets the shape of refusals.
    pub fn render<T>(self, render: T) -> RateLimitLayer<L, T, M> {
        RateLimitLayer { limit: self.limit, render, headers: self.headers, mode: PhantomData }
    }

    /// Sets the response headers that report the limit; `None` reports nothing.
    #[must_use]
    pub fn headers(self, headers: impl Into<Option<RateLimitHeaders>>) -> Self {
        Self { headers: headers.into().map(Arc::new), ..self }
    }

    /// Lets the layer wrap a service that suits either mode.
    #[cfg(feature = "edge")]
    pub(crate) fn any_mode(self) -> RateLimitLayer<L, R, AnyMode<M>> {
        RateLimitLayer { limit: self.limit, render: self.render, headers: self.headers, mode: PhantomData }
    }
}

impl<S, L: Clone, R: Clone, M> Layer<S> for RateLimitLayer<L, R, M> {
    type Service = RateLimit<S, L, R, M>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { limit, render, headers, mode } = self;
        RateLimit { inner, limit: limit.clone(), render: render.clone(), headers: headers.clone(), mode: *mode }
    }
}

/// Limits how many requests a caller may make; see the [module](self).
#[derive(Clone, Debug)]
pub struct RateLimit<S, L, R = ApiErrors, M = Immediate> {
    inner: S,
    limit: L,
    render: R,
    headers: Option<Arc<RateLimitHeaders>>,
    mode: PhantomData<fn() -> M>,
}

impl<S, L, M> RateLimit<S, L, ApiErrors, M> {
    /// Wraps `inner` and keeps callers within `limit`.
    pub fn new(inner: S, limit: L) -> Self
    where
        L: Limit<M>,
    {
        Self { inner, limit, render: ApiErrors, headers: Some(Arc::default()), mode: PhantomData }
    }
}

impl<S, L, R, M> RateLimit<S, L, R, M> {
    /// Returns a reference to the inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn call_now<N, B>(&mut self, request: Request<B>) -> Gate<Counted<S::Future>, S::Error>
    where
        S: Service<Request<B>>,
        L: Limit<N>,
        R: Render,
    {
        let (head, body) = request.into_parts();
        let outcome = now(self.limit.acquire(&head)).unwrap_or_else(|| Err(not_immediate("the rate limit").into()));
        let request = Request::from_parts(head, body);
        admit(&mut self.inner, &self.render, self.headers.as_ref(), outcome, request)
    }

    fn call_later<N, B>(&mut self, request: Request<B>) -> Gate<Counted<S::Future>, S::Error>
    where
        S: Service<Request<B>> + Clone + Send + 'static,
        L: Limit<N> + Clone + Send + Sync + 'static,
        R: Render + Clone + Send + 'static,
        B: Send + 'static,
    {
        let mut inner = self.inner.clone();
        // The service that was made ready is dropped: it could hold a permit for as long as the
        // limit takes to decide. The clone is made ready when it is needed.
        self.inner = inner.clone();
        let (limit, render, headers) = (self.limit.clone(), self.render.clone(), self.headers.clone());
        // In parts, so that the body need not be `Sync` to be held across the wait.
        let (head, body) = request.into_parts();
        Gate::Deferred(Box::pin(async move {
            let outcome = limit.acquire(&head).await;
            if outcome.is_ok() {
                poll_fn(|cx| inner.poll_ready(cx)).await?;
            }
            Ok(admit(&mut inner, &render, headers.as_ref(), outcome, Request::from_parts(head, body)))
        }))
    }
}

/// Calls the inner service and keeps the allowance with it, or refuses the request.
fn admit<S, R, B>(
    inner: &mut S,
    render: &R,
    headers: Option<&Arc<RateLimitHeaders>>,
    outcome: Result<Allowance, Exceeded>,
    request: Request<B>,
) -> Gate<Counted<S::Future>, S::Error>
where
    S: Service<Request<B>>,
    R: Render,
{
    match outcome {
        Ok(allowance) => {
            // Without anything to report there is no need to keep the headers' names.
            let headers = headers.filter(|_| allowance.usage.is_some()).cloned();
            Gate::Pass(Counted { future: inner.call(request), allowance, headers })
        }
        Err(exceeded) => Gate::Refused(Some(refuse(render, headers, exceeded, &RequestSummary::from(&request)))),
    }
}

fn refuse<R: Render>(
    render: &R,
    headers: Option<&Arc<RateLimitHeaders>>,
    exceeded: Exceeded,
    request: &RequestSummary,
) -> Response<Bytes> {
    let (kind, retry_after, usage) = match exceeded.0 {
        Reason::Limit { kind, retry_after, usage } => (kind, retry_after, usage),
        Reason::MissingKey => {
            let missing = MissingLayer("the layer that adds the rate limit's key to requests");
            let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", missing.to_string());
            return render.render(refusal.code("internal_error"), request);
        }
        Reason::Refused(refusal) => return render.render(*refusal, request),
    };
    let message = match (kind, usage) {
        (LimitKind::Concurrency, _) => "too many requests at the same time; wait for one to end".to_owned(),
        (LimitKind::Window(window), Some(WindowUsage { limit, .. })) => {
            format!("rate limit of {limit} requests per {window} reached")
        }
        (LimitKind::Window(window), None) => format!("rate limit per {window} reached"),
    };
    let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "requests", message)
        .code("rate_limit_exceeded")
        .retry_after(retry_after);
    let mut response = render.render(refusal, request);
    if let Some(headers) = headers {
        headers.write(usage, response.headers_mut());
    }
    response.extensions_mut().insert(kind);
    response
}

impl<S, L, R, B, ResBody> Service<Request<B>> for RateLimit<S, L, R, Immediate>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    L: Limit<Immediate>,
    R: Render,
    ResBody: Body<Error: Into<BoxError>>,
{
    type Response = Response<ResponseBody<GuardedBody<ResBody, Permit>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture(self.call_now::<Immediate, _>(request))
    }
}

impl<S, L, R, B, ResBody> Service<Request<B>> for RateLimit<S, L, R, Deferred>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
    L: Limit<Deferred> + Clone + Send + Sync + 'static,
    R: Render + Clone + Send + 'static,
    B: Send + 'static,
    ResBody: Body<Error: Into<BoxError>>,
{
    type Response = Response<ResponseBody<GuardedBody<ResBody, Permit>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture(self.call_later::<Deferred, _>(request))
    }
}

impl<S, L, R, M, B, ResBody> Service<Request<B>> for RateLimit<S, L, R, AnyMode<M>>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
    L: Limit<M> + Clone + Send + Sync + 'static,
    R: Render + Clone + Send + 'static,
    M: Mode,
    B: Send + 'static,
    ResBody: Body<Error: Into<BoxError>>,
{
    type Response = Response<ResponseBody<GuardedBody<ResBody, Permit>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture(if M::IS_IMMEDIATE { self.call_now::<M, _>(request) } else { self.call_later::<M, _>(request) })
    }
}

/// Response future of [`RateLimit`].
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F, E>(#[pin] Gate<Counted<F>, E>);

impl<F, B, E> Future for ResponseFuture<F, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<GuardedBody<B, Permit>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

/// The inner service's future and what the limit granted.
#[pin_project]
#[derive(Debug)]
struct Counted<F> {
    #[pin]
    future: F,
    allowance: Allowance,
    headers: Option<Arc<RateLimitHeaders>>,
}

impl<F, B, E> Future for Counted<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<GuardedBody<B, Permit>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        // Taken now, so that a failed request gives its place back before the caller sees the error.
        let Allowance { usage, permit } = std::mem::take(this.allowance);
        Poll::Ready(result.map(|mut response| {
            // The refusal of a limit behind this one keeps that limit's headers.
            if let Some(headers) = this.headers
                && response.extensions().get::<LimitKind>().is_none()
            {
                headers.write(usage, response.headers_mut());
            }
            response.map(|body| GuardedBody::new(body, permit))
        }))
    }
}

#[cfg(test)]
mod tests;
