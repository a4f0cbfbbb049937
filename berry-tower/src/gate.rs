//! A future that passes a request on, or answers it now.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use pin_project::pin_project;

use crate::render::{Refusal, Render};

/// The header that carries a request's id, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an edge layer's decision comes to.
#[pin_project(project = GateProj)]
#[derive(Debug)]
pub(crate) enum Gate<F, B> {
    /// The inner service's future.
    Pass(#[pin] F),
    /// A refusal; taken by the first poll.
    Answer(Option<Response<B>>),
}

impl<F, B: From<Bytes>> Gate<F, B> {
    /// Refuses a request in the shape that `render` gives.
    pub(crate) fn refuse<R: Render, T>(render: &R, refusal: Refusal, request: &Request<T>) -> Self {
        Self::Answer(Some(answer(render, refusal, request.headers().get(REQUEST_ID))))
    }
}

/// A refusal as a response with a body of the service's own type.
pub(crate) fn answer<R: Render, B: From<Bytes>>(render: &R, refusal: Refusal, id: Option<&HeaderValue>) -> Response<B> {
    render.render(refusal, id).map(B::from)
}

impl<F, B, E> Future for Gate<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            GateProj::Pass(future) => Poll::Ready(ready!(future.poll(cx))),
            GateProj::Answer(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled after its end, which no executor does.
                None => Poll::Pending,
            },
        }
    }
}
