//! Reads the whole body of a request, within limits, before the inner service is called.
//!
//! [`Collect`] turns any body into [`Buffered`], so that layers behind it can send the request
//! again. Together with [`Retry`](crate::retry) it serves any HTTP API.
//!
//! The inner service is not kept ready while the client sends its body: it is made ready again
//! when the body is complete. The runtime must be Tokio, with its timer enabled.
//!
//! ```
//! use berry_tower::{body::Buffered, collect::CollectLayer};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(CollectLayer::new().max_body(16))
//!     .service(service_fn(|request: Request<Buffered>| async move {
//!         Ok::<_, Infallible>(Response::new(Full::new(request.into_body().into_bytes())))
//!     }));
//!
//! let small = Request::new(Full::<Bytes>::from("small"));
//! assert_eq!(service.clone().oneshot(small).await.unwrap().status(), 200);
//!
//! let large = Request::new(Full::<Bytes>::from("larger than 16 bytes"));
//! assert_eq!(service.oneshot(large).await.unwrap().status(), 413);
//! # }
//! ```
//!
//! With the feature `decompress`, bodies with the `Content-Encoding` gzip, deflate, br or zstd are
//! decoded; the limit of a body's size holds before and after. Other codings are rejected with 415.
//!
//! Needs: nothing. Adds: a body of type [`Buffered`]. Rejects with 400 (incomplete or not decodable),
//! 408 (too slow), 413 (too large, also by the limit of a layer outside), 415 (unsupported coding) and
//! 503 (over the budget).
//!
//! Does not: read the body's content, keep trailers, write a body to disk, or limit the body of a response.

mod coding;
#[cfg(feature = "decompress")]
mod decode;
mod error;
mod future;
mod lease;
mod pace;
mod read_body;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Extensions, Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

pub use self::future::ResponseFuture;
use crate::{
    body::{Buffered, ByteBudget, ResponseBody},
    caller::CallerId,
    error::BoxError,
    render::{ApiErrors, Render},
};

/// The default limit of a body's size: 32 MiB.
pub const MAX_BODY: usize = 32 << 20;
/// The default limit of the wait for the next byte of a body: 30 s.
pub const MAX_SILENCE: Duration = Duration::from_secs(30);
/// The default limit of the time for a whole body: 10 min.
pub const MAX_TIME: Duration = Duration::from_secs(600);
/// The default least rate of a body: 1,024 bytes per second, measured over 30 s.
pub const MIN_RATE: u64 = 1024;

/// The limits of one body.
#[derive(Clone, Copy, Debug)]
struct Limits {
    max_body: usize,
    max_silence: Option<Duration>,
    max_time: Option<Duration>,
    min_rate: u64,
}

type FindCaller = dyn Fn(&Extensions) -> Option<CallerId> + Send + Sync;

/// The budget of all bodies, and the function that finds the owner of one.
#[derive(Clone, Default)]
struct Budget {
    bytes: Option<ByteBudget>,
    caller: Option<Arc<FindCaller>>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Budget").field(&self.bytes).finish()
    }
}

/// [`Layer`] that applies [`Collect`].
#[derive(Clone, Debug)]
pub struct CollectLayer<R = ApiErrors> {
    limits: Limits,
    budget: Budget,
    render: R,
}

impl CollectLayer {
    /// Creates a layer with the limits [`MAX_BODY`], [`MAX_SILENCE`], [`MAX_TIME`] and [`MIN_RATE`].
    #[must_use]
    pub const fn new() -> Self {
        let limits =
            Limits { max_body: MAX_BODY, max_silence: Some(MAX_SILENCE), max_time: Some(MAX_TIME), min_rate: MIN_RATE };
        Self { limits, budget: Budget { bytes: None, caller: None }, render: ApiErrors }
    }
}

impl Default for CollectLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> CollectLayer<R> {
    /// Sets the limit of a body's size in bytes. A larger body is rejected with 413.
    #[must_use]
    pub const fn max_body(mut self, bytes: usize) -> Self {
        self.limits.max_body = bytes;
        self
    }

    /// Sets the limit of the wait for the next byte; `None` and [`Duration::MAX`] mean no limit.
    /// After a longer wait the request is rejected with 408.
    #[must_use]
    pub fn max_silence(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.limits.max_silence = time.into();
        self
    }

    /// Sets the limit of the time for a whole body; `None` and [`Duration::MAX`] mean no limit.
    /// A body that takes longer is rejected with 408.
    #[must_use]
    pub fn max_time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.limits.max_time = time.into();
        self
    }

    /// Sets the least rate in bytes per second, measured over intervals of 30 s; 0 means no limit.
    /// A slower body is rejected with 408.
    #[must_use]
    pub const fn min_rate(mut self, bytes_per_second: u64) -> Self {
        self.limits.min_rate = bytes_per_second;
        self
    }

    /// Counts all bytes that are collected, and not yet sent, against a budget that other layers may
    /// share. Without room in the budget a request is rejected with 503.
    #[must_use]
    pub fn budget(mut self, budget: ByteBudget) -> Self {
        self.budget.bytes = Some(budget);
        self
    }

    /// Sets the function that finds the caller of a request in its extensions. The bodies of one caller
    /// that are longer than 64 KiB, or of unknown length, then take a [share](ByteBudget#shares) of the
    /// budget, so that no caller takes all of it. By default the budget is not divided.
    #[must_use]
    pub fn caller(mut self, caller: impl Fn(&Extensions) -> Option<CallerId> + Send + Sync + 'static) -> Self {
        self.budget.caller = Some(Arc::new(caller));
        self
    }

    /// Divides the budget by `caller` unless that is set already.
    #[cfg(feature = "gateway")]
    pub(crate) fn default_caller(mut self, caller: &Arc<FindCaller>) -> Self {
        self.budget.caller.get_or_insert_with(|| caller.clone());
        self
    }

    /// Renders rejections with `render`.
    pub fn render<T>(self, render: T) -> CollectLayer<T> {
        CollectLayer { limits: self.limits, budget: self.budget, render }
    }
}

impl<S, R: Clone> Layer<S> for CollectLayer<R> {
    type Service = Collect<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Collect { inner, limits: self.limits, budget: self.budget.clone(), render: self.render.clone() }
    }
}

/// Reads the whole body of a request; see the [module](self).
#[derive(Clone, Debug)]
pub struct Collect<S, R = ApiErrors> {
    inner: S,
    limits: Limits,
    budget: Budget,
    render: R,
}

impl<S> Collect<S> {
    /// Wraps a service, with the limits of [`CollectLayer::new`].
    pub fn new(inner: S) -> Self {
        CollectLayer::new().layer(inner)
    }
}

impl<S, R> Collect<S, R> {
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
}

impl<S, R, B, ResBody> Service<Request<B>> for Collect<S, R>
where
    S: Service<Request<Buffered>, Response = Response<ResBody>> + Clone,
    R: Render + Clone,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        // The ready service may hold a permit, which a slow client must not keep from others.
        drop(std::mem::replace(&mut self.inner, inner.clone()));
        ResponseFuture::new(inner, request, self.limits, &self.budget, self.render.clone())
    }
}

#[cfg(test)]
mod tests;
