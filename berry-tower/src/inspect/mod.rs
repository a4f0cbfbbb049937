//! Reads a request once: `Inspect` needs nothing, turns any body into [`Buffered`], puts
//! [`Requested`] into the request's extensions, and refuses bodies that are too large (413), too
//! slow (408), or no JSON object with a `model` (400).
//!
//! The type is the proof: `ModelPermission`, `Retry`, `Select` and the client are services for
//! `Request<Buffered>` alone, so a stack without this layer does not compile.
//!
//! Only `model`, `stream`, `stream_options` and `n` are looked at, and the body passes on byte for
//! byte. The inner service is not kept ready while a client sends its body: it is made ready again
//! when the request is whole. The runtime must be Tokio, with its timer.
//!
//! ```
//! use berry_tower::{body::Buffered, inspect::{InspectLayer, Requested}};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(InspectLayer::new().max_body(1 << 20))
//!     .service(service_fn(|request: Request<Buffered>| async move {
//!         let requested = request.extensions().get::<Requested>().unwrap();
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(requested.model.to_string()))))
//!     }));
//!
//! let good = Request::new(Full::new(Bytes::from(r#"{"model":"fast"}"#)));
//! assert_eq!(service.clone().oneshot(good).await.unwrap().status(), 200);
//!
//! let twice = Request::new(Full::new(Bytes::from(r#"{"model":"cheap","model":"dear"}"#)));
//! assert_eq!(service.oneshot(twice).await.unwrap().status(), 400);
//! # }
//! ```

mod collect;
mod future;
mod prefill;
mod read;
mod requested;
mod skip;

use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

pub use self::{
    future::ResponseFuture,
    prefill::{Prefill, Prefilled},
    read::Unreadable,
    requested::{Requested, StreamOptions},
};
use crate::{
    body::Buffered,
    render::{OpenAiErrors, Refusal, Render},
};

/// The largest body that is read unless told otherwise: 32 MiB.
pub const MAX_BODY: usize = 32 << 20;
/// The longest wait for the next byte of a body unless told otherwise: 30 s.
pub const MAX_SILENCE: Duration = Duration::from_secs(30);

/// Applies [`Inspect`].
#[derive(Clone, Copy, Debug)]
pub struct InspectLayer<R = OpenAiErrors> {
    bounds: Bounds,
    render: R,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    max_body: usize,
    max_silence: Duration,
}

impl InspectLayer {
    /// Reads bodies of at most [`MAX_BODY`] bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { bounds: Bounds { max_body: MAX_BODY, max_silence: MAX_SILENCE }, render: OpenAiErrors }
    }
}

impl Default for InspectLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> InspectLayer<R> {
    /// The largest body that is read, in bytes.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.bounds.max_body = bytes;
        self
    }

    /// The longest wait for the next byte of a body.
    #[must_use]
    pub fn max_silence(mut self, time: Duration) -> Self {
        self.bounds.max_silence = time;
        self
    }

    /// Gives refusals another shape.
    pub fn render<T>(self, render: T) -> InspectLayer<T> {
        InspectLayer { bounds: self.bounds, render }
    }
}

impl<S, R: Clone> Layer<S> for InspectLayer<R> {
    type Service = Inspect<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Inspect { inner, bounds: self.bounds, render: self.render.clone() }
    }
}

/// Reads a request once, and what it asks for; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Inspect<S, R = OpenAiErrors> {
    inner: S,
    bounds: Bounds,
    render: R,
}

impl<S> Inspect<S> {
    /// Reads bodies of at most [`MAX_BODY`] bytes.
    pub fn new(inner: S) -> Self {
        InspectLayer::new().layer(inner)
    }
}

impl<S, R> Inspect<S, R> {
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

impl<S, R, B, ResBody> Service<Request<B>> for Inspect<S, R>
where
    S: Service<Request<Buffered>, Response = Response<ResBody>> + Clone,
    R: Render + Clone,
    B: Body,
    ResBody: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        // The service that was made ready is let go, with whatever place it holds: a slow client
        // must not keep it from others.
        drop(std::mem::replace(&mut self.inner, inner.clone()));
        ResponseFuture::new(inner, request, self.bounds, self.render.clone())
    }
}

fn bad_request(message: &'static str) -> Box<Refusal> {
    Box::new(Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message))
}

fn too_large(max: usize) -> Box<Refusal> {
    let message = format!("the request's body is larger than the {max} bytes that this gateway takes");
    let refusal = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message);
    Box::new(refusal.code("request_too_large"))
}

fn too_slow(max: Duration) -> Box<Refusal> {
    let message = format!("no byte of the request's body came for {} s; this gateway stopped waiting", max.as_secs());
    Box::new(Refusal::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message).code("request_timeout"))
}

fn unreadable(why: &Unreadable) -> Box<Refusal> {
    let refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", why.to_string());
    Box::new(match why {
        Unreadable::NotAnObject(_) => refusal,
        Unreadable::Twice(key) => refusal.param(key.clone()),
        Unreadable::NoModel | Unreadable::BadModel => refusal.param("model"),
    })
}

#[cfg(test)]
mod tests;
