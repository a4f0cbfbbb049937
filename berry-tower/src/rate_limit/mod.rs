//! Keeps callers within their limits: `RateLimit` reads a caller's key or quota from the request's
//! head (as a rule the identity that `Auth` put there), tells the client what is left in
//! `x-ratelimit-*` headers, and refuses with 429 and `Retry-After` who asks for more.
//!
//! It rejects at once and never waits; its state is shared by all clones of the service. A place
//! taken for a request under way is given back when the response's body has ended, or when the
//! future fails or is dropped. A refusal carries its reason, [`LimitKind`], in its extensions.
//!
//! ```
//! use berry_tower::rate_limit::{PerKey, LimitKind, Limits, RateLimitLayer};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let limits = Limits::new().per_minute(1).per_hour(30);
//! let mut service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new(PerKey::new(limits, |head| head.headers.get("x-tenant").cloned())))
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
//! assert_eq!(refused.extensions().get(), Some(&LimitKind::Minute));
//! # }
//! ```

mod keyed;
mod limits;
mod windows;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, request::Parts};
use http_body::Body;
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub use self::{
    keyed::{PerKey, QuotaFromRequest},
    limits::{Limits, Snapshot, Usage, Window, go_duration},
    windows::Quota,
};
use crate::{
    body::{End, Guard, GuardedBody, ResponseBody},
    error::{BoxError, MissingLayer},
    gate::{Gate, REQUEST_ID},
    render::{OpenAiErrors, Refusal, Render},
};

/// Decides whether a request is within its caller's limits.
///
/// [`QuotaFromRequest`] and [`PerKey`] are the two that most applications want; one's own may find its
/// [`Quota`] anywhere and return what [`Quota::take`] says. A closure will do, too.
pub trait Limit {
    /// Spends one request, or says which limit is reached.
    ///
    /// # Errors
    ///
    /// A limit is reached.
    fn check(&self, head: &Parts) -> Result<Allowance, Exceeded>;
}

impl<F> Limit for F
where
    F: Fn(&Parts) -> Result<Allowance, Exceeded>,
{
    fn check(&self, head: &Parts) -> Result<Allowance, Exceeded> {
        self(head)
    }
}

/// A request is within its limits.
#[derive(Debug, Default)]
pub struct Allowance {
    /// The tightest window, for the response's headers.
    pub usage: Option<Usage>,
    /// The place among the requests under way, kept until the response's body ends.
    pub held: Option<Slot>,
}

impl Allowance {
    /// No limit applies.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { usage: None, held: None }
    }
}

/// A request is not within its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// A limit is reached.
    Limit {
        /// Which one.
        limited: LimitKind,
        /// Until a request may pass.
        retry_after: Duration,
        /// The window for the response's headers.
        usage: Option<Usage>,
    },
    /// There is no key, and one is required.
    NoKey,
}

/// Which limit a request was refused for: an extension of the refusal, for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// The limit per minute.
    Minute,
    /// The limit per hour.
    Hour,
    /// The limit per day.
    Day,
    /// The limit of requests at the same time.
    Concurrency,
}

impl LimitKind {
    /// `minute`, `hour`, `day` or `concurrency`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Concurrency => "concurrency",
        }
    }
}

impl From<Window> for LimitKind {
    fn from(window: Window) -> Self {
        match window {
            Window::Minute => Self::Minute,
            Window::Hour => Self::Hour,
            Window::Day => Self::Day,
        }
    }
}

/// A place among a caller's requests under way; dropping it gives the place back.
#[derive(Debug)]
pub struct Slot(Arc<Quota>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Keeps a [`Slot`] until a body has ended.
#[derive(Debug)]
pub struct HeldSlot(Option<Slot>);

impl Guard for HeldSlot {
    fn ended(&mut self, _end: End<'_>) {
        self.0 = None;
    }
}

/// Applies [`RateLimit`].
#[derive(Clone, Copy, Debug)]
pub struct RateLimitLayer<L, R = OpenAiErrors> {
    limit: L,
    render: R,
}

impl<L> RateLimitLayer<L> {
    /// Keeps callers within `limit`.
    pub const fn new(limit: L) -> Self {
        Self { limit, render: OpenAiErrors }
    }
}

impl<L, R> RateLimitLayer<L, R> {
    /// Gives refusals another shape.
    pub fn render<T>(self, render: T) -> RateLimitLayer<L, T> {
        RateLimitLayer { limit: self.limit, render }
    }
}

impl<S, L: Clone, R: Clone> Layer<S> for RateLimitLayer<L, R> {
    type Service = RateLimit<S, L, R>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, limit: self.limit.clone(), render: self.render.clone() }
    }
}

/// Keeps callers within their limits; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct RateLimit<S, L, R = OpenAiErrors> {
    inner: S,
    limit: L,
    render: R,
}

impl<S, L> RateLimit<S, L> {
    /// Keeps callers within `limit`.
    pub const fn new(inner: S, limit: L) -> Self {
        Self { inner, limit, render: OpenAiErrors }
    }
}

impl<S, L, R> RateLimit<S, L, R> {
    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, L, R, B, ResBody> Service<Request<B>> for RateLimit<S, L, R>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    L: Limit,
    R: Render,
    ResBody: Body<Error: Into<BoxError>>,
{
    type Response = Response<ResponseBody<GuardedBody<ResBody, HeldSlot>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        ResponseFuture(match self.limit.check(&head) {
            Ok(allowance) => {
                Gate::Pass(Counted { future: self.inner.call(Request::from_parts(head, body)), allowance })
            }
            Err(exceeded) => Gate::Refused(Some(refuse(&self.render, exceeded, &head.headers))),
        })
    }
}

fn refuse<R: Render>(render: &R, exceeded: Exceeded, headers: &HeaderMap) -> Response<Bytes> {
    let id = headers.get(REQUEST_ID);
    let Exceeded::Limit { limited, retry_after, usage } = exceeded else {
        let missing = MissingLayer("the layer that gives requests their rate limit's key");
        let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", missing.to_string());
        return render.render(refusal.code("internal_error"), id);
    };
    let message = match (limited, usage) {
        (LimitKind::Concurrency, _) => {
            "you have as many requests under way as this gateway allows you; wait for one to end".to_owned()
        }
        (_, Some(Usage { window, limit, .. })) => {
            format!("you have reached your limit of {limit} requests per {} on this gateway", window.name())
        }
        (_, None) => format!("you have reached your limit per {} on this gateway", limited.name()),
    };
    let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "requests", message)
        .code("rate_limit_exceeded")
        .retry_after(retry_after);
    let mut response = render.render(refusal, id);
    tell(usage, response.headers_mut());
    response.extensions_mut().insert(limited);
    response
}

fn tell(usage: Option<Usage>, headers: &mut HeaderMap) {
    let Some(Usage { limit, remaining, reset, .. }) = usage else { return };
    let mut digits = itoa::Buffer::new();
    let mut insert = |name, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    insert("x-ratelimit-limit-requests", digits.format(limit));
    insert("x-ratelimit-remaining-requests", digits.format(remaining));
    insert("x-ratelimit-reset-requests", &go_duration(reset));
}

/// The future of [`RateLimit`].
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F, E>(#[pin] Gate<Counted<F>, E>);

impl<F, B, E> Future for ResponseFuture<F, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<GuardedBody<B, HeldSlot>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

/// The inner service's future with what the limiter granted.
#[pin_project]
#[derive(Debug)]
struct Counted<F> {
    #[pin]
    future: F,
    allowance: Allowance,
}

impl<F, B, E> Future for Counted<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<GuardedBody<B, HeldSlot>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        // Taken now, so that a failed request returns its slot before the caller sees the error.
        let Allowance { usage, held } = std::mem::take(this.allowance);
        Poll::Ready(result.map(|mut response| {
            tell(usage, response.headers_mut());
            response.map(|body| GuardedBody::new(body, HeldSlot(held)))
        }))
    }
}

#[cfg(test)]
mod tests;
