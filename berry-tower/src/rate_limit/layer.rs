//! The layer and its service.

use std::{
    future::poll_fn,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    future::{Counted, ResponseFuture},
    headers::RateLimitHeaders,
    limit::{Allowance, Exceeded, Limit, LimitKind, Permit, Reason},
    limits::WindowUsage,
};
use crate::{
    body::{GuardedBody, ResponseBody},
    error::{BoxError, MissingLayer},
    gate::{AnyMode, Deferred, Gate, Immediate, Mode, not_immediate, now},
    render::{ApiErrors, Refusal, Render, RequestSummary},
};

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

/// Limits how many requests a caller may make; see the [module](super).
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
            let requests = if limit == 1 { "request" } else { "requests" };
            format!("rate limit of {limit} {requests} per {window} reached")
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
