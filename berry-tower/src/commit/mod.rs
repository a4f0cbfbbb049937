//! The commit point: holds a response back until its body has shown that it succeeds.
//!
//! [`Commit`] passes a stream on when it has carried output, a plain response when it is complete
//! (or longer than 1 MiB), and anything else at its first byte. Until then a failure of the body is
//! a failure of the call, so that a [`Retry`](crate::retry) outside can fail over before the client
//! has seen anything.
//!
//! ```
//! use berry_tower::{commit::CommitLayer, progress::{CommitPoint, Progress}, sse::Grammar};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full, StreamBody};
//! use std::convert::Infallible;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let whole = service_fn(async |_: Request<()>| {
//!     let mut response = Response::new(Full::new(Bytes::from("{}")));
//!     response.extensions_mut().insert(Progress::new(CommitPoint::Whole, Grammar::Opaque));
//!     Ok::<_, Infallible>(response)
//! });
//! let response = CommitLayer.layer(whole).oneshot(Request::new(())).await.unwrap();
//! assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{}");
//!
//! // A body that breaks off before the commit point fails the call.
//! let broken = service_fn(async |_: Request<()>| {
//!     let frames = [Ok(http_body::Frame::data(Bytes::from("{"))), Err("cut")];
//!     let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
//!     response.extensions_mut().insert(Progress::new(CommitPoint::Whole, Grammar::Opaque));
//!     Ok::<_, Infallible>(response)
//! });
//! let error = CommitLayer.layer(broken).oneshot(Request::new(())).await.unwrap_err();
//! assert_eq!(error.to_string(), "cut");
//! # }
//! ```
//!
//! # Needs, adds, rejects
//!
//! * Needs a [`Progress`] in the extensions of the response; without one the response passes at once.
//! * Adds nothing.
//! * Fails with the errors of the inner service and of the body.
//!
//! # Limits
//!
//! A response that is held back is in memory. Beyond 16 KiB it counts against the
//! [budget](Progress::with_budget) of the response, if there is one; without room in the budget it is
//! passed on early. A preamble of a stream that exceeds 256 KiB or 64 events is passed on without
//! output.

mod body;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub use body::CommittedBody;

use crate::{
    body::ByteBudget,
    error::BoxError,
    progress::{CommitPoint, Progress},
};

/// The most bytes of a plain response that are held back; a longer one is passed on unfinished.
pub const MAX_PLAIN_BYTES: usize = 1 << 20;
/// The most bytes of a stream that are held back without output.
pub const MAX_PREAMBLE_BYTES: usize = 256 << 10;
/// The most events of a stream that are held back without output.
pub const MAX_PREAMBLE_EVENTS: u64 = 64;

/// [`Layer`] that applies [`Commit`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitLayer;

impl<S> Layer<S> for CommitLayer {
    type Service = Commit<S>;

    fn layer(&self, inner: S) -> Commit<S> {
        Commit { inner }
    }
}

/// Holds responses back until their commit point; see the [module](self).
#[derive(Clone, Debug)]
pub struct Commit<S> {
    inner: S,
}

impl<S> Commit<S> {
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

impl<S, R, B> Service<Request<R>> for Commit<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = Response<CommittedBody<B>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        ResponseFuture { call: self.inner.call(request), held: None }
    }
}

/// The future of [`Commit`].
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F, B: Body> {
    #[pin]
    call: F,
    /// A response that is held back.
    held: Option<Response<CommittedBody<B>>>,
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<CommittedBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (held, mut committed) = match this.held {
            Some(held) => (held, false),
            None => {
                let response = ready!(this.call.poll(cx)).map_err(Into::into)?;
                let progress = response.extensions().get::<Progress>();
                let lease = progress.and_then(Progress::budget).map(ByteBudget::lease);
                let held = response.map(|body| CommittedBody::new(body, lease));
                let committed = held.extensions().get().is_none_or(|progress| is_committed(progress, held.body()));
                (this.held.insert(held), committed)
            }
        };
        while !committed {
            // The frame that was polled is waited for, since the output that the progress reports may
            // be in a frame that the body is still assembling.
            let more = ready!(held.body_mut().poll_read(cx)).map_err(Into::into)?;
            committed = !more || held.extensions().get().is_none_or(|progress| is_committed(progress, held.body()));
        }
        this.held.take().map_or(Poll::Pending, |held| Poll::Ready(Ok(held)))
    }
}

/// Whether a response of which this much is held back may be passed on.
fn is_committed<B: Body>(progress: &Progress, body: &CommittedBody<B>) -> bool {
    match progress.commit_point() {
        _ if body.is_over_budget() => true,
        CommitPoint::Output => {
            progress.output_seen()
                || progress.events() + progress.malformed() > MAX_PREAMBLE_EVENTS
                || body.held() > MAX_PREAMBLE_BYTES
        }
        CommitPoint::Whole => body.held() > MAX_PLAIN_BYTES,
        CommitPoint::FirstByte => body.held() > 0,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::StreamExt as _;
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::sse::Grammar;

    /// Returns how many events an endless preamble of events of this size is held back for.
    async fn held_events(size: usize) -> u64 {
        let progress = Progress::new(CommitPoint::Output, Grammar::Chat);
        let seen = progress.clone();
        let endless = service_fn(move |_: Request<()>| {
            let progress = progress.clone();
            let counts = progress.clone();
            let events = futures_util::stream::iter(1..).map(move |n| {
                counts.set_events(n, 0, true);
                Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; size])))
            });
            let mut response = Response::new(StreamBody::new(events));
            response.extensions_mut().insert(progress);
            async { Ok::<_, Infallible>(response) }
        });
        CommitLayer.layer(endless).oneshot(Request::new(())).await.unwrap();
        seen.events()
    }

    #[tokio::test]
    async fn passes_endless_preamble_on() {
        assert_eq!(held_events(10).await, MAX_PREAMBLE_EVENTS + 1);
        assert_eq!(held_events(64 << 10).await, 5, "more than 256 KiB");
    }

    #[tokio::test]
    async fn held_bytes_count_against_the_budget_until_they_are_sent() {
        let plain = |budget: &ByteBudget| {
            let progress = Progress::new(CommitPoint::Whole, Grammar::Opaque).with_budget(budget.clone());
            let frames = (0..8).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; 10_000]))));
            let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
            response.extensions_mut().insert(progress);
            let service = service_fn(move |_: Request<()>| std::future::ready(Ok::<_, Infallible>(response.clone())));
            Commit::new(service).oneshot(Request::new(()))
        };
        let budget = ByteBudget::new(100_000);
        let mut body = plain(&budget).await.unwrap().into_body();
        assert_eq!(budget.used(), 80_000);
        body.frame().await.unwrap().unwrap();
        assert_eq!(budget.used(), 70_000);
        drop(body);
        assert_eq!(budget.used(), 0);

        let small = ByteBudget::new(45_000);
        let body = plain(&small).await.unwrap().into_body();
        assert_eq!((small.used(), body.held()), (40_000, 50_000), "passed on without being complete");
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 80_000);
        assert_eq!(small.used(), 0);
    }

    /// A body whose data is no `Bytes`, with trailers.
    fn foreign_body() -> impl Body<Data = std::collections::VecDeque<u8>, Error = Infallible> {
        let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
        let data = std::collections::VecDeque::from(*b"text");
        StreamBody::new(futures_util::stream::iter([Ok(Frame::data(data)), Ok(Frame::trailers(trailers))]))
    }

    #[tokio::test]
    async fn keeps_data_of_any_type_and_trailers() {
        for commit_point in [CommitPoint::Whole, CommitPoint::Output, CommitPoint::FirstByte] {
            let service = service_fn(move |_: Request<()>| {
                let mut response = Response::new(foreign_body());
                response.extensions_mut().insert(Progress::new(commit_point, Grammar::Opaque));
                std::future::ready(Ok::<_, Infallible>(response))
            });
            let body = Commit::new(service).oneshot(Request::new(())).await.unwrap().into_body();
            let body = body.collect().await.unwrap();
            assert_eq!(body.trailers().unwrap()["grpc-status"], "0", "{commit_point:?}");
            assert_eq!(body.to_bytes(), "text");
        }
    }
}
