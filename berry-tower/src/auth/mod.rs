//! Identifies callers and rejects unknown ones.
//!
//! * Needs: a token in the headers, or whatever the [`Authenticate`] reads.
//! * Adds: the caller's identity to the request's extensions. The headers that hold the token are
//!   removed, so that it cannot travel on.
//! * Rejects: with 401, in the same words for a missing, unknown, disabled or expired token.
//! * Does not: issue tokens, decide what a caller may do, or limit failed attempts.
//!
//! ```
//! use berry_tower::auth::{ApiKey, ApiKeys, AuthLayer};
//! use bytes::Bytes;
//! use http::{Request, Response, header::AUTHORIZATION};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(AuthLayer::new(ApiKeys::new([ApiKey::from_token("a-good-long-token", "alice")])))
//!     .service(service_fn(|request: Request<()>| async move {
//!         assert!(!request.headers().contains_key(AUTHORIZATION));
//!         let user = request.extensions().get::<&str>().unwrap();
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(*user))))
//!     }));
//!
//! let good = Request::get("/").header(AUTHORIZATION, "Bearer a-good-long-token").body(()).unwrap();
//! assert_eq!(service.clone().oneshot(good).await.unwrap().status(), 200);
//!
//! let refused = service.oneshot(Request::new(())).await.unwrap();
//! assert_eq!(refused.status(), 401);
//! assert_eq!(refused.headers()["www-authenticate"], "Bearer");
//! # }
//! ```

mod api_keys;
mod authenticate;

use std::{
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, StatusCode, header::WWW_AUTHENTICATE, request::Parts};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub use self::{
    api_keys::{ApiKey, ApiKeys},
    authenticate::{Authenticate, Rejection, bearer},
};
pub use crate::gate::{Deferred, Immediate};
use crate::{
    body::ResponseBody,
    gate::{AnyMode, Gate, Mode, not_immediate, now},
    render::{ApiErrors, Refusal, Render},
};

/// [`Layer`] that applies [`Auth`].
///
/// `M` is the mode of the authenticator: [`Immediate`] or [`Deferred`].
#[derive(Clone, Copy, Debug)]
pub struct AuthLayer<A, R = ApiErrors, M = Immediate> {
    authenticate: A,
    render: R,
    mode: PhantomData<fn() -> M>,
}

impl<A, M> AuthLayer<A, ApiErrors, M> {
    /// Identifies callers by `authenticate`.
    pub const fn new(authenticate: A) -> Self
    where
        A: Authenticate<M>,
    {
        Self { authenticate, render: ApiErrors, mode: PhantomData }
    }
}

impl<A, R, M> AuthLayer<A, R, M> {
    /// Sets the shape of refusals.
    pub fn render<T>(self, render: T) -> AuthLayer<A, T, M> {
        AuthLayer { authenticate: self.authenticate, render, mode: PhantomData }
    }

    /// Lets the layer wrap a service that suits either mode.
    #[cfg(feature = "edge")]
    pub(crate) fn any_mode(self) -> AuthLayer<A, R, AnyMode<M>> {
        AuthLayer { authenticate: self.authenticate, render: self.render, mode: PhantomData }
    }
}

impl<S, A: Clone, R: Clone, M> Layer<S> for AuthLayer<A, R, M> {
    type Service = Auth<S, A, R, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Auth { inner, authenticate: self.authenticate.clone(), render: self.render.clone(), mode: PhantomData }
    }
}

/// Identifies callers and rejects unknown ones; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Auth<S, A, R = ApiErrors, M = Immediate> {
    inner: S,
    authenticate: A,
    render: R,
    mode: PhantomData<fn() -> M>,
}

impl<S, A, M> Auth<S, A, ApiErrors, M> {
    /// Wraps `inner` and identifies callers by `authenticate`.
    pub const fn new(inner: S, authenticate: A) -> Self
    where
        A: Authenticate<M>,
    {
        Self { inner, authenticate, render: ApiErrors, mode: PhantomData }
    }
}

impl<S, A, R, M> Auth<S, A, R, M> {
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

    fn call_now<N, B>(&mut self, request: Request<B>) -> Gate<S::Future, S::Error>
    where
        S: Service<Request<B>>,
        A: Authenticate<N>,
        R: Render,
    {
        let (head, body) = request.into_parts();
        let outcome = now(self.authenticate.authenticate(&head));
        let outcome = outcome.unwrap_or_else(|| Err(not_immediate("the authenticator").into()));
        admit::<N, _, _, _, _>(&mut self.inner, &self.authenticate, &self.render, outcome, head, body)
    }

    fn call_later<N, B>(&mut self, request: Request<B>) -> Gate<S::Future, S::Error>
    where
        S: Service<Request<B>> + Clone + Send + 'static,
        A: Authenticate<N> + Clone + Send + Sync + 'static,
        R: Render + Clone + Send + 'static,
        B: Send + 'static,
    {
        let mut inner = self.inner.clone();
        // The service that was made ready is dropped: it could hold a permit for as long as the
        // look-up takes. The clone is made ready when it is needed.
        self.inner = inner.clone();
        let (authenticate, render) = (self.authenticate.clone(), self.render.clone());
        // In parts, so that the body need not be `Sync` to be held across the wait.
        let (head, body) = request.into_parts();
        Gate::Deferred(Box::pin(async move {
            let outcome = authenticate.authenticate(&head).await;
            if outcome.is_ok() {
                poll_fn(|cx| inner.poll_ready(cx)).await?;
            }
            Ok(admit::<N, _, _, _, _>(&mut inner, &authenticate, &render, outcome, head, body))
        }))
    }
}

/// Calls the inner service with the caller's identity, or refuses the request.
fn admit<N, S, A, R, B>(
    inner: &mut S,
    authenticate: &A,
    render: &R,
    outcome: Result<A::Identity, Rejection>,
    mut head: Parts,
    body: B,
) -> Gate<S::Future, S::Error>
where
    S: Service<Request<B>>,
    A: Authenticate<N>,
    R: Render,
{
    match outcome {
        Ok(identity) => {
            for name in authenticate.secret_headers() {
                head.headers.remove(name);
            }
            head.extensions.insert(identity);
            Gate::Pass(inner.call(Request::from_parts(head, body)))
        }
        Err(rejection) => Gate::refuse(render, refusal(rejection), &head),
    }
}

fn refusal(rejection: Rejection) -> Refusal {
    match rejection {
        Rejection::InvalidToken => Refusal::new(
            StatusCode::UNAUTHORIZED,
            "invalid_request_error",
            "missing or invalid API key; send it as `Authorization: Bearer <key>`",
        )
        .code("invalid_api_key")
        .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        Rejection::Refused(refusal) => *refusal,
    }
}

impl<S, A, R, B, ResBody> Service<Request<B>> for Auth<S, A, R, Immediate>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    A: Authenticate<Immediate>,
    R: Render,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture(self.call_now::<Immediate, _>(request))
    }
}

impl<S, A, R, B, ResBody> Service<Request<B>> for Auth<S, A, R, Deferred>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
    A: Authenticate<Deferred> + Clone + Send + Sync + 'static,
    R: Render + Clone + Send + 'static,
    B: Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture(self.call_later::<Deferred, _>(request))
    }
}

impl<S, A, R, M, B, ResBody> Service<Request<B>> for Auth<S, A, R, AnyMode<M>>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
    A: Authenticate<M> + Clone + Send + Sync + 'static,
    R: Render + Clone + Send + 'static,
    M: Mode,
    B: Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture(if M::IS_IMMEDIATE { self.call_now::<M, _>(request) } else { self.call_later::<M, _>(request) })
    }
}

/// Response future of [`Auth`].
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F, E>(#[pin] Gate<F, E>);

impl<F, B, E> Future for ResponseFuture<F, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

#[cfg(test)]
mod tests;
