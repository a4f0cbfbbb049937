//! Streams that break off after the commit point: ended as what they are, or resumed.
//!
//! When the body of a stream fails (its response carries a [`Progress`] that says so), the client
//! gets an error event in its API's own shape, with the code `upstream_stream_interrupted` or
//! `upstream_timeout`, and then a connection that ends uncleanly, so that no client takes the part
//! for the whole. Other bodies fail as they are.
//!
//! Where the model says so ([`Model::recovery`](crate::backend::Model::recovery)), [`Resume`] first
//! asks the inner service again, with the next [`Attempt`] of a [`Retry`](crate::retry) inside. The
//! part of the second answer that the client has already is passed over as long as it is the same,
//! and the stream goes on from there; two different answers are never spliced. With `prefill`, a
//! backend that supports it is given the beginning of the answer to go on from; one that begins
//! anew all the same is noticed by its first words. Tools' calls, several choices,
//! log-probabilities and structured output are not resumed.
//!
//! It needs `Request<Buffered>`, and fails with the inner service's errors.
//!
//! ```
//! use berry_tower::{body::Buffered, progress::{CommitPoint, Progress}, resume::ResumeLayer, sse::Grammar};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, StreamBody};
//! use std::convert::Infallible;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let cut = service_fn(async |_: Request<Buffered>| {
//!     let event = Bytes::from("data: {\"choices\":[]}\n\n");
//!     let frames = [Ok(http_body::Frame::data(event)), Err("cut")];
//!     let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
//!     response.extensions_mut().insert(Progress::new(CommitPoint::Output, Grammar::Chat));
//!     Ok::<_, Infallible>(response)
//! });
//! let mut body = ResumeLayer.layer(cut).oneshot(Request::default()).await.unwrap().into_body();
//! let mut next = async || body.frame().await.unwrap().map(|frame| frame.into_data().unwrap());
//! assert!(next().await.unwrap().starts_with(b"data: {\"choices\""));
//! assert!(next().await.unwrap().starts_with(b"data: {\"error\""));
//! assert_eq!(next().await.unwrap_err().to_string(), "cut");
//! # }
//! ```

mod body;
mod chunk;
mod events;
mod replay;
mod replay_request;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub use body::ResumeBody;

use crate::{
    attempt::Attempt, backend::StreamRecovery, body::Buffered, error::BoxError, progress::Progress, select::RoutedModel,
};
use body::Resumption;
use replay_request::ReplayRequest;

/// [`Layer`] that applies [`Resume`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ResumeLayer;

impl<S> Layer<S> for ResumeLayer {
    type Service = Resume<S>;

    fn layer(&self, inner: S) -> Resume<S> {
        Resume { inner }
    }
}

/// Ends interrupted streams with an error event, or resumes them; see the [module](self).
#[derive(Clone, Debug)]
pub struct Resume<S> {
    inner: S,
}

impl<S> Resume<S> {
    /// Wraps `inner`.
    pub const fn new(inner: S) -> Self {
        Self { inner }
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

impl<S, B> Service<Request<Buffered>> for Resume<S>
where
    S: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = Response<ResumeBody<S, B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Buffered>) -> Self::Future {
        let replay = ReplayRequest::capture(&self.inner, &request);
        ResponseFuture { call: self.inner.call(request), replay }
    }
}

/// The future of [`Resume`].
#[pin_project]
pub struct ResponseFuture<S: Service<Request<Buffered>>> {
    #[pin]
    call: S::Future,
    /// Boxed, since most requests have none.
    replay: Option<Box<ReplayRequest<S>>>,
}

impl<S: Service<Request<Buffered>>> std::fmt::Debug for ResponseFuture<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").field("may_resume", &self.replay.is_some()).finish_non_exhaustive()
    }
}

impl<S, B> Future for ResponseFuture<S>
where
    S: Service<Request<Buffered>, Response = Response<B>>,
{
    type Output = Result<Response<ResumeBody<S, B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.call.poll(cx))?;
        let extensions = response.extensions();
        let Some(progress) = extensions.get::<Progress>().filter(|p| p.is_stream()).cloned() else {
            return Poll::Ready(Ok(response.map(|inner| ResumeBody::new(inner, None, None))));
        };
        let recovery = extensions.get::<RoutedModel>().map_or(StreamRecovery::Off, |model| model.0.recovery);
        let attempt = extensions.get::<Attempt>().cloned();
        let is_on = recovery != StreamRecovery::Off;
        let replay = this.replay.take().zip(attempt).filter(|(replay, _)| is_on && replay.is_plain_text());
        let Some((replay, attempt)) = replay else {
            return Poll::Ready(Ok(response.map(|inner| ResumeBody::new(inner, Some(progress), None))));
        };
        let resumption = Resumption::new(*replay, attempt, progress, recovery == StreamRecovery::Prefill);
        let whole = resumption.progress().clone();
        response.extensions_mut().insert(whole.clone());
        Poll::Ready(Ok(response.map(|inner| ResumeBody::new(inner, Some(whole), Some(resumption)))))
    }
}

#[cfg(test)]
mod tests;
