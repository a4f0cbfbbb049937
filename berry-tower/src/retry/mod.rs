//! Retry with failover: a failed request goes to another backend before the client notices.
//!
//! [`Retry`] needs `Request<Buffered>` (put an [`Inspect`](crate::inspect) outside) and gives each
//! attempt an [`Attempt`](crate::attempt::Attempt) in its extensions, by which a [`Select`](crate::select) inside picks a
//! backend that was not tried yet. It decides *whether and when*; *who* is the selection's to say.
//! Without a selection behind it, it asks the same service again after a back-off.
//!
//! It fails with [`Exhausted`](crate::error::Exhausted) when all attempts failed, with
//! [`TotalTimeout`](crate::error::TotalTimeout) when its deadline passed, and passes on a selection's refusal.
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
//! let response = RetryLayer::new(BackoffPolicy::default()).layer(flaky).oneshot(Request::default()).await;
//! assert_eq!(response.unwrap().status(), 200);
//!
//! CALLS.store(0, Relaxed);
//! let once = BackoffPolicy { max_retries: 1, ..BackoffPolicy::default() };
//! let error = RetryLayer::new(once).layer(flaky).oneshot(Request::default()).await.unwrap_err();
//! assert_eq!(error.to_string(), "all 2 attempts failed: the provider answered 503");
//! # }
//! ```

mod budget;
mod policy;
mod run;
mod told;
mod total;

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

pub use budget::Budget;
pub use policy::{BackoffPolicy, Next, RetryPolicy, Spent};

use crate::{
    body::Buffered,
    classify::{Classify, HttpVerdict},
    error::BoxError,
};
use run::Run;

/// Adds [`Retry`] to a service.
#[derive(Debug)]
pub struct RetryLayer<P = BackoffPolicy, C = HttpVerdict> {
    shared: Arc<Shared<P, C>>,
}

#[derive(Debug)]
struct Shared<P, C> {
    policy: P,
    classify: C,
    budget: Arc<Budget>,
    total: Option<Duration>,
}

impl<P> RetryLayer<P> {
    /// Retries as `policy` says, with the verdicts of [`HttpVerdict`], a default budget, and no total deadline.
    pub fn new(policy: P) -> Self {
        let shared = Shared { policy, classify: HttpVerdict, budget: Arc::default(), total: None };
        Self { shared: Arc::new(shared) }
    }
}

impl<P: Clone, C: Clone> RetryLayer<P, C> {
    /// Bounds all attempts together, waits included, until the response's head.
    #[must_use]
    pub fn total_timeout(self, total: Option<Duration>) -> Self {
        let Shared { policy, classify, budget, .. } = &*self.shared;
        let (policy, classify, budget) = (policy.clone(), classify.clone(), budget.clone());
        Self { shared: Arc::new(Shared { policy, classify, budget, total }) }
    }

    /// Shares a budget, for retries on backends that a request has tried before.
    #[must_use]
    pub fn budget(self, budget: Arc<Budget>) -> Self {
        let Shared { policy, classify, total, .. } = &*self.shared;
        let (policy, classify, total) = (policy.clone(), classify.clone(), *total);
        Self { shared: Arc::new(Shared { policy, classify, budget, total }) }
    }

    /// Judges answers and errors by other verdicts.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> RetryLayer<P, D> {
        let Shared { policy, budget, total, .. } = &*self.shared;
        let (policy, budget, total) = (policy.clone(), budget.clone(), *total);
        RetryLayer { shared: Arc::new(Shared { policy, classify, budget, total }) }
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

/// See the [module](self).
#[derive(Debug)]
pub struct Retry<S, P = BackoffPolicy, C = HttpVerdict> {
    inner: S,
    shared: Arc<Shared<P, C>>,
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
pub type ResponseFuture<B> = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

impl<S, P, C, B> Service<Request<Buffered>> for Retry<S, P, C>
where
    S: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    P: RetryPolicy + Send + Sync + 'static,
    C: Classify + Send + Sync + 'static,
    B: Body<Data = Bytes> + From<Bytes> + Send + 'static,
    B::Error: Send,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = ResponseFuture<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Buffered>) -> Self::Future {
        let next = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, next);
        let mut run = Run::new(self.shared.clone(), &request);
        Box::pin(async move { run.run(&mut inner, &request).await })
    }
}
