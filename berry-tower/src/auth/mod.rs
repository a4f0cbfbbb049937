//! Lets known callers in: `Auth` needs nothing, puts the caller's identity into the request's
//! extensions, and refuses with 401 whoever has no good token.
//!
//! The token's headers are taken out of the request, so that nothing behind this layer can send
//! them on. All bad tokens are refused in the same words: missing, unknown, disabled or expired.
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
//!         let who = request.extensions().get::<&str>().unwrap();
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(*who))))
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
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, StatusCode, header::WWW_AUTHENTICATE};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub use self::{
    api_keys::{ApiKey, ApiKeys},
    authenticate::{Authenticate, Rejection, bearer},
};
use crate::{
    body::ResponseBody,
    gate::Gate,
    render::{OpenAiErrors, Refusal, Render},
};

/// Applies [`Auth`].
#[derive(Clone, Copy, Debug)]
pub struct AuthLayer<A, R = OpenAiErrors> {
    authenticate: A,
    render: R,
}

impl<A> AuthLayer<A> {
    /// Lets in whom `authenticate` knows.
    pub const fn new(authenticate: A) -> Self {
        Self { authenticate, render: OpenAiErrors }
    }
}

impl<A, R> AuthLayer<A, R> {
    /// Gives refusals another shape.
    pub fn render<T>(self, render: T) -> AuthLayer<A, T> {
        AuthLayer { authenticate: self.authenticate, render }
    }
}

impl<S, A: Clone, R: Clone> Layer<S> for AuthLayer<A, R> {
    type Service = Auth<S, A, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Auth { inner, authenticate: self.authenticate.clone(), render: self.render.clone() }
    }
}

/// Lets known callers in and puts their identity into the request; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Auth<S, A, R = OpenAiErrors> {
    inner: S,
    authenticate: A,
    render: R,
}

impl<S, A> Auth<S, A> {
    /// Lets in whom `authenticate` knows.
    pub const fn new(inner: S, authenticate: A) -> Self {
        Self { inner, authenticate, render: OpenAiErrors }
    }
}

impl<S, A, R> Auth<S, A, R> {
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

impl<S, A, R, B, ResBody> Service<Request<B>> for Auth<S, A, R>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    A: Authenticate + Clone + Send + Sync + 'static,
    R: Render + Clone + Send + 'static,
    B: Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        ResponseFuture(match self.authenticate.authenticate_now(request.headers()) {
            Some(Ok(identity)) => {
                accept(&mut request, &self.authenticate, identity);
                Gate::Pass(self.inner.call(request))
            }
            Some(Err(rejection)) => Gate::refuse(&self.render, refusal(rejection), &request),
            None => {
                let fresh = self.inner.clone();
                // The service that was made ready is let go: it could hold a place in a queue
                // for as long as the look-up takes. The clone is made ready when it is needed.
                drop(std::mem::replace(&mut self.inner, fresh.clone()));
                Gate::Deferred(Box::pin(look_up(fresh, self.authenticate.clone(), self.render.clone(), request)))
            }
        })
    }
}

async fn look_up<S, A, R, B>(
    mut inner: S,
    authenticate: A,
    render: R,
    request: Request<B>,
) -> Result<Gate<S::Future, S::Error>, S::Error>
where
    S: Service<Request<B>>,
    A: Authenticate,
    R: Render,
{
    // In parts, so that the body need not be `Sync` to be kept across the wait.
    let (head, body) = request.into_parts();
    let answer = authenticate.authenticate(&head.headers).await;
    let mut request = Request::from_parts(head, body);
    Ok(match answer {
        Ok(identity) => {
            accept(&mut request, &authenticate, identity);
            poll_fn(|cx| inner.poll_ready(cx)).await?;
            Gate::Pass(inner.call(request))
        }
        Err(rejection) => Gate::refuse(&render, refusal(rejection), &request),
    })
}

fn accept<A: Authenticate, B>(request: &mut Request<B>, authenticate: &A, identity: A::Identity) {
    for name in authenticate.secret_headers() {
        request.headers_mut().remove(name);
    }
    request.extensions_mut().insert(identity);
}

fn refusal(rejection: Rejection) -> Refusal {
    match rejection {
        Rejection::InvalidToken => Refusal::new(
            StatusCode::UNAUTHORIZED,
            "invalid_request_error",
            "this gateway needs a valid API key: send it as `Authorization: Bearer <key>`",
        )
        .code("invalid_api_key")
        .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        Rejection::Other(refusal) => *refusal,
    }
}

/// The future of [`Auth`].
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
