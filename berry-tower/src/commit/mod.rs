//! The commit point: an answer's head goes on only when there is something to show for it.
//!
//! [`Commit`] needs nothing in the request. It holds an answer back until its [`Progress`] says
//! that output has come (streams), that it is whole (plain answers, up to 1 MiB), or that a first
//! byte is there (anything else). Until then a failure of the body is a failure of the call, so
//! that a [`Retry`](crate::retry) outside can fail over unseen. Without a `Progress` the answer
//! passes at once.
//!
//! It fails with the inner service's errors and the body's.
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
    error::BoxError,
    progress::{CommitPoint, Progress},
};

/// A plain answer longer than this is committed unfinished.
pub const MOST_PLAIN: usize = 1 << 20;
/// A stream's preamble longer than this is committed without output.
pub const MOST_PREAMBLE: usize = 256 << 10;
/// And so is one of more events.
pub const MOST_EVENTS: u64 = 64;

/// Adds [`Commit`] to a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitLayer;

impl<S> Layer<S> for CommitLayer {
    type Service = Commit<S>;

    fn layer(&self, inner: S) -> Commit<S> {
        Commit { inner }
    }
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Commit<S> {
    inner: S,
}

impl<S> Commit<S> {
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
    /// An answer that is not shown yet.
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
        let (held, mut shown) = match this.held {
            Some(held) => (held, false),
            None => {
                let held = ready!(this.call.poll(cx)).map_err(Into::into)?.map(CommittedBody::new);
                let shown = held.extensions().get().is_none_or(|progress| committed(progress, held.body()));
                (this.held.insert(held), shown)
            }
        };
        while !shown {
            // What has been asked for is waited for: the output that the progress tells of may be
            // in a frame that the body is still putting together.
            let more = ready!(held.body_mut().poll_read(cx)).map_err(Into::into)?;
            shown = !more || held.extensions().get().is_none_or(|progress| committed(progress, held.body()));
        }
        this.held.take().map_or(Poll::Pending, |held| Poll::Ready(Ok(held)))
    }
}

/// Whether what has been held back may be shown.
fn committed<B: Body>(progress: &Progress, body: &CommittedBody<B>) -> bool {
    match progress.hold() {
        CommitPoint::Output => {
            progress.output_seen()
                || progress.events() + progress.malformed() > MOST_EVENTS
                || body.held() > MOST_PREAMBLE
        }
        CommitPoint::Whole => body.held() > MOST_PLAIN,
        CommitPoint::FirstByte => body.held() > 0,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::StreamExt as _;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::sse::Grammar;

    /// A stream of so many preambles of this size, without an end.
    async fn committed_after(size: usize) -> u64 {
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
    async fn an_endless_preamble_is_committed() {
        assert_eq!(committed_after(10).await, MOST_EVENTS + 1);
        assert_eq!(committed_after(64 << 10).await, 5, "more than 256 KiB");
    }
}
