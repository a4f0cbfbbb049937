//! Retry with failover: sends a failed request again, to another backend where there is one.
//!
//! [`Retry`] works around any service that takes `Request<Buffered>`: it sends the request again
//! after a back-off, within a [`Budget`] and a total timeout, and passes the last response on,
//! whatever its status. A [`RetryPolicy`] decides whether and when; a
//! [`Classify`] says which responses and errors are failures.
//!
//! With a [`Select`](crate::select) behind it, a retry goes to a backend that the request has not
//! tried, then to the fallbacks of the model. The [`Attempt`](crate::attempt::Attempt) in the
//! request's extensions carries what was tried.
//!
//! ```
//! use berry_tower::{body::Buffered, retry::{BackoffPolicy, RetryLayer}};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::{convert::Infallible, sync::atomic::{AtomicU32, Ordering::Relaxed}};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! // Fails twice, then answers.
//! let flaky = service_fn(async |_: Request<Buffered>| {
//!     let status = if CALLS.fetch_add(1, Relaxed) < 2 { 503 } else { 200 };
//!     let response = Response::builder().status(status).body(Full::new(Bytes::new()));
//!     Ok::<_, Infallible>(response.unwrap())
//! });
//! let response = RetryLayer::new(BackoffPolicy::new()).layer(flaky).oneshot(Request::default()).await;
//! assert_eq!(response.unwrap().status(), 200);
//!
//! CALLS.store(0, Relaxed);
//! let once = BackoffPolicy::new().with_max_retries(1);
//! let response = RetryLayer::new(once).layer(flaky).oneshot(Request::default()).await;
//! assert_eq!(response.unwrap().status(), 503);
//! # }
//! ```
//!
//! # Needs, adds, rejects
//!
//! * Needs a body that can be sent again: put a [`Collect`](crate::collect) outside. Waits and the
//!   total timeout need the timer of the Tokio runtime; without it they fail with [`MissingTimer`].
//! * Adds an [`Attempt`](crate::attempt::Attempt) to the extensions of requests and responses.
//! * Fails with [`Exhausted`](crate::error::Exhausted) when all attempts failed (without a
//!   selection: when the last of them failed with an error), with
//!   [`TotalTimeout`](crate::error::TotalTimeout) when the time was over before, and passes a
//!   selection's refusal on.
//!
//! # Limits
//!
//! Retry does not watch a body once its head was passed on; [`Commit`](crate::commit) makes
//! failures of a body's beginning retryable, and [`Resume`](crate::resume) continues a stream.
//! It does not know which requests are safe to repeat; [`IdempotentPolicy`] is for services that
//! are not.

mod budget;
mod deadline;
mod failed_attempt;
mod failure_report;
mod policy;
mod response_body;
mod run;

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

pub use budget::Budget;
pub use deadline::MissingTimer;
pub use failed_attempt::FailedAttempt;
pub use policy::{BackoffPolicy, Decision, IdempotentPolicy, RetryPolicy};
pub use response_body::ResponseBody;

use crate::{
    body::Buffered,
    classify::{Classify, HttpVerdict},
    error::BoxError,
};
use run::Run;

/// [`Layer`] that applies [`Retry`].
#[derive(Debug)]
pub struct RetryLayer<P = BackoffPolicy, C = HttpVerdict> {
    shared: Arc<Shared<P, C>>,
}

#[derive(Debug)]
struct Shared<P, C> {
    policy: Arc<P>,
    classify: Arc<C>,
    budget: Arc<Budget>,
    total_timeout: Option<Duration>,
}

// By hand, since the derived one would need a policy that can be cloned.
impl<P, C> Clone for Shared<P, C> {
    fn clone(&self) -> Self {
        let (policy, classify) = (self.policy.clone(), self.classify.clone());
        Self { policy, classify, budget: self.budget.clone(), total_timeout: self.total_timeout }
    }
}

impl<P> RetryLayer<P> {
    /// Returns a layer with the verdicts of [`HttpVerdict`], the default budget, and no total
    /// timeout.
    pub fn new(policy: P) -> Self {
        let (policy, classify) = (Arc::new(policy), Arc::new(HttpVerdict));
        let shared = Shared { policy, classify, budget: Arc::default(), total_timeout: None };
        Self { shared: Arc::new(shared) }
    }
}

impl<P, C> RetryLayer<P, C> {
    /// Sets the time for all attempts and the waits between them, until the head of the response.
    ///
    /// `None` and [`Duration::MAX`] mean no limit. After a time of zero only the first attempt is
    /// made, and only if it is answered at once.
    #[must_use]
    pub fn total_timeout(mut self, total: Option<Duration>) -> Self {
        Arc::make_mut(&mut self.shared).total_timeout = total;
        self
    }

    /// Sets the budget, which other layers may share. Retries on a backend that the request has
    /// tried before are paid from it; without a selection, all retries.
    #[must_use]
    pub fn budget(mut self, budget: Arc<Budget>) -> Self {
        Arc::make_mut(&mut self.shared).budget = budget;
        self
    }

    /// Sets which responses and errors are failures.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> RetryLayer<P, D> {
        let Shared { policy, budget, total_timeout, .. } = Arc::unwrap_or_clone(self.shared);
        let classify = Arc::new(classify);
        RetryLayer { shared: Arc::new(Shared { policy, classify, budget, total_timeout }) }
    }
}

impl<P, C> Clone for RetryLayer<P, C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<S, P, C> Layer<S> for RetryLayer<P, C> {
    type Service = Retry<S, P, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry { inner, shared: self.shared.clone() }
    }
}

/// Sends a failed request again; see the [module](self).
#[derive(Debug)]
pub struct Retry<S, P = BackoffPolicy, C = HttpVerdict> {
    inner: S,
    shared: Arc<Shared<P, C>>,
}

impl<S, P> Retry<S, P> {
    /// Wraps `inner` with the defaults of [`RetryLayer::new`].
    pub fn new(inner: S, policy: P) -> Self {
        RetryLayer::new(policy).layer(inner)
    }
}

impl<S, P, C> Retry<S, P, C> {
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

impl<S: Clone, P, C> Clone for Retry<S, P, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone() }
    }
}

/// The future of [`Retry`].
pub struct ResponseFuture<B: Body>(BoxFuture<B>);

type BoxFuture<B> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<B>>, BoxError>> + Send>>;

impl<B: Body> Future for ResponseFuture<B> {
    type Output = Result<Response<ResponseBody<B>>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<B: Body> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<S, P, C, B> Service<Request<Buffered>> for Retry<S, P, C>
where
    S: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    P: RetryPolicy + Send + Sync + 'static,
    C: Classify + Send + Sync + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response<ResponseBody<B>>;
    type Error = BoxError;
    type Future = ResponseFuture<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Buffered>) -> Self::Future {
        let next = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, next);
        let mut run = Run::new(self.shared.clone(), &request);
        ResponseFuture(Box::pin(async move { run.run(&mut inner, &request).await }))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
