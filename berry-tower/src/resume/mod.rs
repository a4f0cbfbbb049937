//! Honest ends: a stream that breaks off after the commit point is ended as what it is.
//!
//! [`Resume`] needs nothing in the request. When the body of a stream fails (its response carries
//! a [`Progress`] that says so), the client gets an error event in its API's own shape, with the
//! code `upstream_stream_interrupted` or `upstream_timeout`, and then a connection that ends
//! uncleanly, so that no client takes the part for the whole. Other bodies fail as they are.
//!
//! ```
//! use berry_tower::{progress::{Hold, Progress}, resume::ResumeLayer, sse::Grammar};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, StreamBody};
//! use std::convert::Infallible;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let cut = service_fn(async |_: Request<()>| {
//!     let event = Bytes::from("data: {\"choices\":[]}\n\n");
//!     let frames = [Ok(http_body::Frame::data(event)), Err("cut")];
//!     let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
//!     response.extensions_mut().insert(Progress::new(Hold::Output, Grammar::Chat));
//!     Ok::<_, Infallible>(response)
//! });
//! let mut body = ResumeLayer.layer(cut).oneshot(Request::new(())).await.unwrap().into_body();
//! let mut next = async || body.frame().await.unwrap().map(|frame| frame.into_data().unwrap());
//! assert!(next().await.unwrap().starts_with(b"data: {\"choices\""));
//! assert!(next().await.unwrap().starts_with(b"data: {\"error\""));
//! assert_eq!(next().await.unwrap_err().to_string(), "cut");
//! # }
//! ```

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    ending::Ending,
    error::{BoxError, Failure, find},
    progress::Progress,
    render::Refusal,
};

/// Adds [`Resume`] to a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResumeLayer;

impl<S> Layer<S> for ResumeLayer {
    type Service = Resume<S>;

    fn layer(&self, inner: S) -> Resume<S> {
        Resume { inner }
    }
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Resume<S> {
    inner: S,
}

impl<S> Resume<S> {
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

impl<S, R, B> Service<Request<R>> for Resume<S>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<HonestBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        ResponseFuture { call: self.inner.call(request) }
    }
}

/// The future of [`Resume`].
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F> {
    #[pin]
    call: F,
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<HonestBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().call.poll(cx))?;
        let progress = response.extensions().get::<Progress>().filter(|p| p.is_stream()).cloned();
        Poll::Ready(Ok(response.map(|inner| HonestBody { inner, progress, ending: None })))
    }
}

/// A body that does not let a part look whole.
#[pin_project]
#[derive(Debug)]
pub struct HonestBody<B> {
    #[pin]
    inner: B,
    progress: Option<Progress>,
    ending: Option<Ending>,
}

impl<B: From<Bytes>> From<Bytes> for HonestBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self { inner: B::from(bytes), progress: None, ending: None }
    }
}

impl<B> Body for HonestBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if let Some(ending) = this.ending {
            return ending.poll(cx);
        }
        let error = match ready!(this.inner.poll_frame(cx)) {
            Some(Err(error)) => error.into(),
            other => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
        };
        let Some(progress) = this.progress else { return Poll::Ready(Some(Err(error))) };
        let told = Ending::told(progress.grammar(), &interrupted(&error), progress.between_events(), error);
        this.ending.insert(told).poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.ending.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.progress.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

/// What a client is told when its stream broke off.
fn interrupted(error: &BoxError) -> Refusal {
    match find::<Failure>(&**error) {
        Some(failure @ Failure::Timeout(_)) => {
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "server_error", failure.to_string()).code("upstream_timeout")
        }
        Some(failure) => Refusal::new(StatusCode::BAD_GATEWAY, "server_error", failure.to_string())
            .code("upstream_stream_interrupted"),
        None => Refusal::new(StatusCode::BAD_GATEWAY, "server_error", "the gateway lost the provider's stream")
            .code("upstream_stream_interrupted"),
    }
}
