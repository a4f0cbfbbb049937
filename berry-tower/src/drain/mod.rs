//! Lets a client see an early answer: `Drain` needs nothing, refuses nothing, and reads on what is
//! left of a request's body when the answer has been given before all of it was read.
//!
//! A client that is still sending when the server closes the connection gets a reset, and the
//! answer is lost: a 401 looks like a broken network. So the answer goes out at once but for its
//! last byte; the rest of the request is read and thrown away, at most 40 MiB and 2 s unless told
//! otherwise; then the last byte follows, and the connection can be used again. An empty answer
//! waits whole. Put this layer outermost; it must stand outside whatever refuses requests.
//!
//! Nothing is read on for HTTP/2, which can end one stream alone, nor from a client that waits for
//! `100 Continue` and has not been asked to send yet.
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

mod body;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Version, header::EXPECT};
use http_body::Body;
use pin_project::pin_project;
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;

pub use self::body::{RequestBody, ResponseBody};
use self::body::{Rest, Unread};

/// Applies [`Drain`].
#[derive(Clone, Copy, Debug)]
pub struct DrainLayer {
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    bytes: u64,
    time: Duration,
}

impl DrainLayer {
    /// Reads on at most 40 MiB and 2 s.
    #[must_use]
    pub const fn new() -> Self {
        Self { bounds: Bounds { bytes: 40 << 20, time: Duration::from_secs(2) } }
    }

    /// How many bytes are read on; the largest body that is taken and some more is a good number.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// How long is read on.
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

/// Reads on what is left of a request when it has been answered; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Drain<S> {
    inner: S,
    bounds: Bounds,
}

impl<S> Drain<S> {
    /// Reads on at most 40 MiB and 2 s.
    pub const fn new(inner: S) -> Self {
        Self { inner, bounds: DrainLayer::new().bounds }
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
    B: Body + Unpin,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<ResBody, B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let waits = request.headers().get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let (head, body) = request.into_parts();
        let can_be_cut = body.is_end_stream() || head.version > Version::HTTP_11;
        let (body, unread) = if can_be_cut {
            (RequestBody::plain(body), None)
        } else {
            let (back, unread) = oneshot::channel();
            (RequestBody::new(body, waits, back), Some(unread))
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
    /// An answer without a byte to hold back waits for the rest of the request itself.
    empty: Option<(Response<ResBody>, Rest<B>)>,
}

impl<F, ResBody, B, E> Future for ResponseFuture<F, ResBody, B>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    ResBody: Body<Data = Bytes>,
    B: Body + Unpin,
{
    type Output = Result<Response<ResponseBody<ResBody, B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.empty.is_none() {
            let response = ready!(this.inner.poll(cx))?;
            let rest = if response.body().is_end_stream() { this.unread.take() } else { None };
            let Some(rest) = rest else {
                let unread = this.unread.give();
                return Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, unread))));
            };
            *this.empty = Some((response, rest));
        }
        if let Some((_, rest)) = this.empty {
            ready!(rest.poll(cx));
        }
        match this.empty.take() {
            Some((response, _)) => Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, this.unread.give())))),
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
