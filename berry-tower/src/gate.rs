//! The future of a layer that passes a request on or refuses it.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use pin_project::pin_project;

use crate::{
    body::ResponseBody,
    render::{Refusal, Render},
};

/// The header that carries a request's id, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The inner service's future, an immediate refusal, or a decision between the two that takes time.
#[pin_project(project = GateProj)]
pub(crate) enum Gate<F, E> {
    Pass(#[pin] F),
    /// Taken by the first poll.
    Refused(Option<Response<Bytes>>),
    Deferred(Pin<Box<dyn Future<Output = Result<Gate<F, E>, E>> + Send>>),
}

impl<F, E> Gate<F, E> {
    /// Refuses a request in the shape that `render` gives.
    pub(crate) fn refuse<R: Render, T>(render: &R, refusal: Refusal, request: &Request<T>) -> Self {
        Self::Refused(Some(render.render(refusal, request.headers().get(REQUEST_ID))))
    }
}

impl<F, B, E> Future for Gate<F, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let decided = match self.as_mut().project() {
                GateProj::Pass(future) => {
                    return future.poll(cx).map(|result| result.map(|response| response.map(ResponseBody::new)));
                }
                GateProj::Refused(response) => {
                    return match response.take() {
                        Some(response) => Poll::Ready(Ok(response.map(ResponseBody::from))),
                        // Polled again after it was ready, which no executor does.
                        None => Poll::Pending,
                    };
                }
                GateProj::Deferred(decision) => ready!(decision.as_mut().poll(cx))?,
            };
            self.set(decided);
        }
    }
}

impl<F, E> fmt::Debug for Gate<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass(_) => "Pass",
            Self::Refused(_) => "Refused",
            Self::Deferred(_) => "Deferred",
        })
    }
}
