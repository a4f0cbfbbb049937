//! Ends an interrupted stream with an error event, or resumes it on another backend.
//!
//! When the body of a stream fails, its client gets an error event in the shape of its API, with the
//! code `upstream_stream_interrupted` or `upstream_timeout`, and then an unclean end of the
//! connection, so that no client takes the part for the whole. Other bodies fail as they are.
//!
//! If the model says so ([`Model::recovery`](crate::backend::Model::stream_recovery)), [`Resume`] first
//! sends the request again, as the next [`Attempt`] of a [`Retry`](crate::retry) inside. The second
//! response is compared with what the client has; the equal part is skipped, and the rest is passed
//! on. Two different responses are never spliced. With [`StreamRecovery::Prefill`], a backend that
//! supports it is given the text so far and continues from there; one that starts over is detected
//! by its first words.
//!
//! A backend that stalled is not asked to resume its stream; one whose stream was cut is asked once.
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
//!
//! # Needs, adds, rejects
//!
//! * Needs `Request<Buffered>`, and a [`Progress`] of a stream on the response. To resume, needs an
//!   [`Attempt`] and a [`RoutedModel`] on the response, from [`Retry`](crate::retry) and
//!   [`Select`](crate::select).
//! * Replaces the [`Progress`] of a stream that may be resumed by one over all of its responses.
//! * Fails with the errors of the inner service.
//!
//! # Limits
//!
//! Only streams of chat and text completions and of Responses are resumed, and of them none with tool
//! calls, several choices, log-probabilities or structured output.

mod body;
mod chunk;
mod recorded;
mod replay;
mod replay_request;
mod responses;
mod transcript;

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
        let recovery =
            extensions.get::<RoutedModel>().map_or(StreamRecovery::Off, |model| model.model().stream_recovery());
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
