//! The future of a layer that passes a request on or refuses it.

use std::{
    fmt::{self, Debug},
    marker::PhantomData,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{Response, StatusCode, request::Parts};
use pin_project::pin_project;

use crate::{
    body::ResponseBody,
    render::{Refusal, Render, RequestSummary},
};

/// Marks a policy that never waits: its future is ready when it is first polled.
///
/// A layer with such a policy calls the inner service at once, allocates nothing for the decision
/// and does not need the inner service to be `Clone`.
#[derive(Clone, Copy, Debug)]
pub enum Immediate {}

/// Marks a policy that may wait, for example for a database.
///
/// A layer with such a policy clones the inner service, lets the ready one go while the policy
/// decides, and makes the clone ready afterwards. It boxes one future per request.
#[derive(Clone, Copy, Debug)]
pub enum Deferred {}

/// When a policy decides: [`Immediate`] or [`Deferred`].
pub trait Mode: Clone + Copy + Debug + Send + Sync + sealed::Sealed + 'static {
    /// Whether the policy's futures are ready when they are first polled.
    const IS_IMMEDIATE: bool;
}

impl Mode for Immediate {
    const IS_IMMEDIATE: bool = true;
}

impl Mode for Deferred {
    const IS_IMMEDIATE: bool = false;
}

mod sealed {
    #[allow(unnameable_types, reason = "the bound of a sealed trait; only some features make it public")]
    pub trait Sealed {}
    impl Sealed for super::Immediate {}
    impl Sealed for super::Deferred {}
}

/// Marks a layer whose mode is not known yet, over a service that suits either mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnyMode<M>(PhantomData<fn() -> M>);

/// The output of a future that is ready when it is first polled.
pub(crate) fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The refusal for a policy that waits although it is marked [`Immediate`].
pub(crate) fn not_immediate(policy: &str) -> Refusal {
    let message = format!("{policy} waits but is marked as immediate; implement the trait for `Deferred`");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message).code("internal_error")
}

/// A decision that takes time.
type Decision<F, E> = Pin<Box<dyn Future<Output = Result<Gate<F, E>, E>> + Send>>;

/// The inner service's future, an immediate refusal, or a decision between the two that takes time.
#[pin_project(project = GateProj)]
pub(crate) enum Gate<F, E> {
    Pass(#[pin] F),
    /// Taken by the first poll.
    Refused(Option<Response<Bytes>>),
    Deferred(Decision<F, E>),
}

impl<F, E> Gate<F, E> {
    /// Refuses a request in the shape that `render` gives.
    pub(crate) fn refuse<R: Render>(render: &R, refusal: Refusal, head: &Parts) -> Self {
        Self::Refused(Some(render.render(refusal, &RequestSummary::from(head))))
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
