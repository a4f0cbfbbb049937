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

mod prefill;
mod read;
mod requested;
mod skip;

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{
    Request, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
    request::Parts,
};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};
use tower_layer::Layer;
use tower_service::Service;

pub use self::{
    prefill::{Prefill, Prefilled},
    read::Unreadable,
    requested::{Requested, StreamOptions},
};
use crate::{
    body::Buffered,
    endpoint::Endpoint,
    gate::{REQUEST_ID, answer},
    render::{OpenAiErrors, Refusal, Render},
    upstream_time::UpstreamTime,
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
    S: Service<Request<Buffered>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    R: Render + Clone + Send + Sync + 'static,
    B: Body<Data: Send> + Send + 'static,
    B::Error: Send,
    ResBody: From<Bytes> + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut inner = self.inner.clone();
        // The service that was made ready is let go, with whatever place it holds: a slow client
        // must not keep it from others.
        drop(std::mem::replace(&mut self.inner, inner.clone()));
        let (bounds, render) = (self.bounds, self.render.clone());
        ResponseFuture(Box::pin(async move {
            let (mut head, body) = request.into_parts();
            match inspect(&mut head, body, bounds).await {
                Ok(body) => {
                    poll_fn(|cx| inner.poll_ready(cx)).await?;
                    inner.call(Request::from_parts(head, body)).await
                }
                Err(refusal) => Ok(answer(&render, refusal, head.headers.get(REQUEST_ID))),
            }
        }))
    }
}

/// The future of [`Inspect`].
pub struct ResponseFuture<T, E>(Pin<Box<dyn Future<Output = Result<T, E>> + Send>>);

impl<T, E> Future for ResponseFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T, E> fmt::Debug for ResponseFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

async fn inspect<B: Body>(head: &mut Parts, body: B, bounds: Bounds) -> Result<Buffered, Refusal> {
    if head.headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(bad_request("this gateway reads no compressed bodies; send the request without Content-Encoding"));
    }
    let bytes = read(head, body, bounds).await?;
    let mut requested = Requested::read(&bytes).map_err(|e| unreadable(&e))?;
    requested.endpoint = Endpoint::from_path(head.uri.path());
    head.extensions.insert(requested);
    Ok(Buffered::from(bytes))
}

/// Reads a body whole. One that comes in one piece, as most do, is not copied.
async fn read<B: Body>(head: &Parts, body: B, bounds: Bounds) -> Result<Bytes, Refusal> {
    let time = head.extensions.get::<UpstreamTime>();
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let least = announced.unwrap_or_default().max(body.size_hint().lower());
    if least > bounds.max_body as u64 {
        return Err(too_large(bounds.max_body));
    }
    let mut body = pin!(body);
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    let mut deadline = Instant::now() + bounds.max_silence;
    loop {
        // How fast the caller sends is its own affair.
        let paused = time.map(UpstreamTime::pause);
        let frame = timeout_at(deadline, body.frame()).await;
        drop(paused);
        let Ok(frame) = frame else {
            return Err(too_slow(bounds.max_silence));
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| bad_request("the request's body broke off before its end"))?;
        let Ok(mut data) = frame.into_data() else { continue };
        let more = data.remaining();
        if more == 0 {
            continue;
        }
        if whole.len() + pieces.len() + more > bounds.max_body {
            return Err(too_large(bounds.max_body));
        }
        if whole.is_empty() && pieces.is_empty() {
            whole = data.copy_to_bytes(more);
        } else {
            if pieces.is_empty() {
                // The announced length is believed only so far: no bytes have come for it yet.
                pieces.reserve(usize::try_from(least).unwrap_or(0).min(1 << 20).max(whole.len() + more));
                pieces.extend_from_slice(&whole);
                whole = Bytes::new();
            }
            pieces.put(data);
        }
        deadline = Instant::now() + bounds.max_silence;
    }
    Ok(if pieces.is_empty() { whole } else { pieces.freeze() })
}

fn bad_request(message: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
}

fn too_large(max: usize) -> Refusal {
    let message = format!("the request's body is larger than the {max} bytes that this gateway takes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message).code("request_too_large")
}

fn too_slow(max: Duration) -> Refusal {
    let message = format!("no byte of the request's body came for {} s; this gateway stopped waiting", max.as_secs());
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message).code("request_timeout")
}

fn unreadable(why: &Unreadable) -> Refusal {
    let refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", why.to_string());
    match why {
        Unreadable::NotAnObject(_) => refusal,
        Unreadable::Twice(key) => refusal.param(key.clone()),
        Unreadable::NoModel | Unreadable::BadModel => refusal.param("model"),
    }
}

#[cfg(test)]
mod tests;
