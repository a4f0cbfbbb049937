//! Keep-alives, early heads and orderly ends for streams.
//!
//! [`Early`] sends `: keep-alive` comments to the client of a silent stream, between events only, so
//! that no proxy on the way closes the connection. With
//! [`commit_after`](EarlyLayer::commit_after) it sends the head of a stream after that time even
//! when no backend has answered yet: the body then drives the attempts, and when all of them fail
//! the stream ends with an error event. With [`stop_on`](EarlyLayer::stop_on) open streams end with
//! an error event when the server shuts down.
//!
//! ```
//! use berry_tower::{early::EarlyLayer, progress::{CommitPoint, Progress}, sse::Grammar};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, StreamBody};
//! use std::{convert::Infallible, time::Duration};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let silent = service_fn(async |_: Request<()>| {
//!     let never = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>();
//!     let mut response = Response::new(StreamBody::new(never));
//!     response.extensions_mut().insert(Progress::new(CommitPoint::Output, Grammar::Chat));
//!     Ok::<_, Infallible>(response)
//! });
//! let layer = EarlyLayer::new(Some(Duration::from_secs(15)));
//! let mut body = layer.layer(silent).oneshot(Request::new(())).await.unwrap().into_body();
//! assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), ": keep-alive\n\n");
//! # }
//! ```
//!
//! # Needs, adds, rejects
//!
//! * Reads [`Requested`], if it is there, to know a request for a stream before it is answered. Needs
//!   the timer of the Tokio runtime for keep-alives and early heads.
//! * Adds a [`Progress`] to the extensions of a head that it sends early.
//! * Fails with the errors of the inner service.
//!
//! # Limits
//!
//! A response without a [`Progress`] of a stream passes unchanged, since nothing says where a
//! comment may stand. An early head cannot name a backend or carry its headers.

mod body;
mod shutdown;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

pub use body::EarlyBody;
pub use shutdown::{Shutdown, ShutdownSignal};

use crate::{
    endpoint::Endpoint,
    error::BoxError,
    inspect::Requested,
    progress::{Grammar, Progress},
};

/// A shorter interval would only load the connection.
const MIN_KEEP_ALIVE: Duration = Duration::from_millis(1);

/// [`Layer`] that applies [`Early`].
#[derive(Clone, Debug, Default)]
pub struct EarlyLayer {
    keep_alive: Option<Duration>,
    commit_after: Option<Duration>,
    stop: Option<ShutdownSignal>,
}

impl EarlyLayer {
    /// Returns a layer that sends a comment whenever a stream has been silent for `keep_alive`.
    ///
    /// `None` and [`Duration::MAX`] mean never. An interval below a millisecond is rounded up to it.
    #[must_use]
    pub fn new(keep_alive: Option<Duration>) -> Self {
        let keep_alive = keep_alive.map(|interval| interval.max(MIN_KEEP_ALIVE));
        Self { keep_alive, commit_after: None, stop: None }
    }

    /// Sets the time after which the head of a stream is sent, whether a backend has answered or not.
    ///
    /// `None` and [`Duration::MAX`] mean never. With zero the head is sent at once, unless the inner
    /// service has answered at once.
    #[must_use]
    pub fn commit_after(mut self, after: Option<Duration>) -> Self {
        self.commit_after = after.filter(|after| *after != Duration::MAX);
        self
    }

    /// Ends the streams that are open when the shutdown starts. `None` means never.
    #[must_use]
    pub fn stop_on(mut self, stop: impl Into<Option<ShutdownSignal>>) -> Self {
        self.stop = stop.into();
        self
    }
}

impl<S> Layer<S> for EarlyLayer {
    type Service = Early<S>;

    fn layer(&self, inner: S) -> Early<S> {
        Early { inner, layer: Arc::new(self.clone()) }
    }
}

/// Keeps streams open and ends them in order; see the [module](self).
#[derive(Clone, Debug)]
pub struct Early<S> {
    inner: S,
    // Shared, because servers clone the stack for each request.
    layer: Arc<EarlyLayer>,
}

impl<S> Early<S> {
    /// Wraps `inner` with the settings of [`EarlyLayer::new`].
    pub fn new(inner: S, keep_alive: Option<Duration>) -> Self {
        EarlyLayer::new(keep_alive).layer(inner)
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

impl<S, R, B, E> Service<Request<R>> for Early<S>
where
    S: Service<Request<R>, Response = Response<B>, Error = E>,
    S::Future: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = Response<EarlyBody<S::Future, B>>;
    type Error = E;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let commit = request.extensions().get::<Requested>().filter(|r| r.stream).and_then(|requested| {
            let grammar = match requested.endpoint? {
                Endpoint::ChatCompletions => Grammar::Chat,
                Endpoint::Completions => Grammar::Completions,
                Endpoint::Responses => Grammar::Responses,
                Endpoint::Messages => Grammar::Messages,
                _ => return None,
            };
            Some((grammar, Box::pin(tokio::time::sleep(self.layer.commit_after?))))
        });
        let call = self.inner.call(request);
        let call = match commit {
            None => Call::Plain(call),
            Some((grammar, timer)) => Call::Early(Some(Box::pin(call)), grammar, timer),
        };
        ResponseFuture { call, layer: self.layer.clone() }
    }
}

/// The future of [`Early`].
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F> {
    #[pin]
    call: Call<F>,
    layer: Arc<EarlyLayer>,
}

#[pin_project(project = CallProj)]
#[derive(Debug)]
enum Call<F> {
    /// The head is that of the response.
    Plain(#[pin] F),
    /// The head is sent when the timer has elapsed. The call is boxed, since the body takes it over.
    Early(Option<Pin<Box<F>>>, Grammar, Pin<Box<Sleep>>),
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<EarlyBody<F, B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.call.project() {
            CallProj::Plain(call) => ready!(call.poll(cx)),
            CallProj::Early(call, grammar, timer) => {
                let Some(mut waiting) = call.take() else { return Poll::Pending };
                match waiting.as_mut().poll(cx) {
                    Poll::Ready(result) => result,
                    Poll::Pending if timer.as_mut().poll(cx).is_ready() => {
                        return Poll::Ready(Ok(EarlyBody::early_response(waiting, *grammar, this.layer)));
                    }
                    Poll::Pending => {
                        *call = Some(waiting);
                        return Poll::Pending;
                    }
                }
            }
        };
        Poll::Ready(result.map(|response| {
            let progress = response.extensions().get::<Progress>().filter(|p| p.is_stream()).cloned();
            response.map(|body| EarlyBody::response(body, progress, this.layer))
        }))
    }
}

#[cfg(test)]
mod tests;
