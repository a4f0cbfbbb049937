//! Runs long computations outside of the runtime's worker threads.
//!
//! [`Collect`](crate::collect) decodes large bodies in this way, and the gateway translates them so. A
//! layer of your own that parses bodies may do the same:
//!
//! ```
//! use berry_tower::offload::{is_large, offload};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let body = "1 2 3".repeat(100_000);
//! let count = move || body.split(' ').count();
//! assert!(is_large(500_000));
//! assert_eq!(offload(count).await, 200_001);
//! # }
//! ```

#[cfg(feature = "gateway")]
use std::task::{Context, Poll, ready};
use std::{num::NonZero, panic::resume_unwind, pin::Pin, sync::OnceLock, thread::available_parallelism};

#[cfg(feature = "gateway")]
use http::Request;
#[cfg(feature = "gateway")]
use pin_project::pin_project;
use tokio::{runtime::Handle, sync::Semaphore, task::spawn_blocking};
#[cfg(feature = "gateway")]
use tower_service::Service;

#[cfg(feature = "gateway")]
use crate::body::Buffered;

/// The size in bytes from which the work on a body would delay other requests noticeably.
pub const LARGE: usize = 256 * 1024;

/// The future of work that runs on another thread.
pub type Offloaded<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Whether work on so many bytes belongs on another thread.
#[must_use]
pub const fn is_large(bytes: usize) -> bool {
    bytes > LARGE
}

/// Runs `work` on a thread of the blocking pool. Each process runs at most as many at once as it has
/// CPUs, so that large bodies can neither fill the pool nor multiply the memory that one takes.
/// Outside of a Tokio runtime it runs in place. If the result is no longer awaited, the work still ends.
///
/// # Panics
/// The future panics as `work` does.
pub fn offload<T, F>(work: F) -> Offloaded<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Box::pin(async move {
        if Handle::try_current().is_err() {
            return work();
        }
        // It is never closed.
        let permit = slots().acquire().await.ok();
        let done = spawn_blocking(move || {
            let value = work();
            // The permit is held until the work ends, even if the caller no longer waits for the result.
            drop(permit);
            value
        });
        match done.await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime shuts down and drops this task too.
                Err(_) => std::future::pending().await,
            },
        }
    })
}

fn slots() -> &'static Semaphore {
    static SLOTS: OnceLock<Semaphore> = OnceLock::new();
    SLOTS.get_or_init(|| Semaphore::new(available_parallelism().map_or(1, NonZero::get)))
}

/// Calls a service on another thread if the request's body is large.
///
/// The services from selection to the client do their work on the body, such as a translation, in `call`.
#[cfg(feature = "gateway")]
#[derive(Clone, Debug)]
pub(crate) struct Offload<S> {
    inner: S,
}

#[cfg(feature = "gateway")]
impl<S> Offload<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner }
    }
}

#[cfg(feature = "gateway")]
impl<S> Service<Request<Buffered>> for Offload<S>
where
    S: Service<Request<Buffered>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Buffered>) -> Self::Future {
        if !is_large(request.body().bytes().len()) {
            return ResponseFuture::Called(self.inner.call(request));
        }
        // The service that was made ready is the one to call.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        ResponseFuture::Calling(offload(move || ready.call(request)))
    }
}

/// The future of [`Offload`].
#[cfg(feature = "gateway")]
#[pin_project(project = ResponseFutureProj)]
pub(crate) enum ResponseFuture<F> {
    Calling(Offloaded<F>),
    Called(#[pin] F),
}

#[cfg(feature = "gateway")]
impl<F: Future> Future for ResponseFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            let called = match self.as_mut().project() {
                ResponseFutureProj::Calling(calling) => ready!(calling.as_mut().poll(cx)),
                ResponseFutureProj::Called(future) => return future.poll(cx),
            };
            self.set(Self::Called(called));
        }
    }
}
