//! Lets a client that is still sending see an early response: reads the rest of the request body
//! before the response ends.
//!
//! When a server closes the connection of a client that is still sending, the client gets a reset
//! and loses the response: a 401 looks like a broken network. [`Drain`] passes the response on at
//! once, except for its last byte; reads and discards the rest of the request, by default at most
//! 40 MiB and 2 s; then passes the last byte on, after which the connection can be used again. The
//! head of an empty response waits.
//!
//! ```
//! use berry_tower::drain::DrainLayer;
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::{BodyExt, Full};
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(DrainLayer::new())
//!     .service(service_fn(|_unread: Request<_>| async {
//!         let mut refusal = Response::new(Full::new(Bytes::from("no")));
//!         *refusal.status_mut() = StatusCode::UNAUTHORIZED;
//!         Ok::<_, Infallible>(refusal)
//!     }));
//! let request = Request::new(Full::new(Bytes::from("a long story")));
//! let refused = service.oneshot(request).await.unwrap();
//! assert_eq!(refused.status(), 401);
//! assert_eq!(refused.into_body().collect().await.unwrap().to_bytes(), "no");
//! # }
//! ```
//!
//! # Needs, adds, rejects
//!
//! * Needs to be outside of every layer that refuses requests. Needs the timer of the Tokio runtime
//!   when a request body is left unread.
//! * Adds nothing, rejects nothing, and fails with the errors of the inner service.
//!
//! # Limits
//!
//! Nothing is read for HTTP/2, which can end a single stream, nor from a client that waits for
//! `100 Continue` and was not asked to send yet.

mod body;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response, Version, header::EXPECT};
use http_body::Body;
use pin_project::pin_project;
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;

pub use self::body::{RequestBody, ResponseBody};
use self::body::{Rest, Unread};
use crate::body::is_at_end;

/// [`Layer`] that applies [`Drain`].
#[derive(Clone, Copy, Debug)]
pub struct DrainLayer {
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    bytes: u64,
    time: Duration,
}

impl Bounds {
    const DEFAULT: Self = Self { bytes: 40 << 20, time: Duration::from_secs(2) };
}

impl DrainLayer {
    /// Returns a layer that reads at most 40 MiB, for at most 2 s.
    #[must_use]
    pub const fn new() -> Self {
        Self { bounds: Bounds::DEFAULT }
    }

    /// Sets the most bytes that are read after the response. It should exceed the largest body that
    /// the server accepts. With zero only bodies that have ended are waited for.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// Sets the longest time that is spent reading. [`Duration::MAX`] means no limit; with zero
    /// nothing is read.
    #[must_use]
    pub const fn max_time(mut self, time: Duration) -> Self {
        self.bounds.time = time;
        self
    }
}

impl Default for DrainLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for DrainLayer {
    type Service = Drain<S>;

    fn layer(&self, inner: S) -> Drain<S> {
        Drain { inner, bounds: self.bounds }
    }
}

/// Reads the rest of a request that was answered early; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Drain<S> {
    inner: S,
    bounds: Bounds,
}

impl<S> Drain<S> {
    /// Wraps `inner` with the bounds of [`DrainLayer::new`].
    pub const fn new(inner: S) -> Self {
        Self { inner, bounds: Bounds::DEFAULT }
    }

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

impl<S, B, ResBody> Service<Request<B>> for Drain<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<ResBody>>,
    B: Body,
    ResBody: Body,
{
    type Response = Response<ResponseBody<ResBody, B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let awaits_continue =
            request.headers().get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let (head, body) = request.into_parts();
        let may_stay_unread = body.is_end_stream() || head.version > Version::HTTP_11;
        let (body, unread) = if may_stay_unread {
            (RequestBody::plain(body), None)
        } else {
            let (sender, unread) = oneshot::channel();
            (RequestBody::returned(body, awaits_continue, sender), Some(unread))
        };
        ResponseFuture {
            inner: self.inner.call(Request::from_parts(head, body)),
            unread: Unread { body: unread, bounds: self.bounds },
            empty: None,
        }
    }
}

/// The future of [`Drain`].
#[pin_project]
pub struct ResponseFuture<F, ResBody, B> {
    #[pin]
    inner: F,
    unread: Unread<B>,
    /// An empty response has no byte to hold back, so its head waits for the rest of the request.
    empty: Option<Box<(Response<ResBody>, Rest<B>)>>,
}

impl<F, ResBody, B, E> Future for ResponseFuture<F, ResBody, B>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    ResBody: Body,
    B: Body,
{
    type Output = Result<Response<ResponseBody<ResBody, B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.empty.is_none() {
            let response = ready!(this.inner.poll(cx))?;
            let rest = if is_at_end(response.body()) { this.unread.take_rest() } else { None };
            let Some(rest) = rest else {
                let unread = this.unread.take();
                return Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, unread))));
            };
            *this.empty = Some(Box::new((response, rest)));
        }
        if let Some(empty) = this.empty {
            ready!(empty.1.poll(cx));
        }
        match this.empty.take().map(|empty| *empty) {
            Some((response, _)) => Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, this.unread.take())))),
            None => Poll::Pending,
        }
    }
}

impl<F, ResBody, B> fmt::Debug for ResponseFuture<F, ResBody, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
