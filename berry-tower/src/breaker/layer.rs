//! The breaker as a layer around an HTTP service.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, response::Parts};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::{Breaker, BreakerPolicy, FindBreaker, OwnBreaker, Permit};
use crate::{
    body::{End, Guard, GuardedBody},
    classify::{Class, Classify, ErrorBody, HttpVerdict, RequestFacts},
    error::{BoxError, BreakerOpen, MissingLayer, Unroutable, find},
    progress::Progress,
};

/// Leaves a failing HTTP service alone for a while.
///
/// It needs nothing from other layers: without [`find`](Self::find) all requests pass one breaker
/// of the layer's own. It gives response bodies that tell the breaker how they ended, since a
/// stream that breaks off has failed whatever its head said. It fails with [`BreakerOpen`], and
/// then has not called the inner service; put `ErrorResponse` or axum's `HandleErrorLayer`
/// outside of it. What counts as a failure is for [`Classify`] to say.
///
/// ```
/// use berry_tower::{body::Buffered, breaker::{BreakerPolicy, CircuitBreakerLayer}, error::BreakerOpen};
/// use http::{Request, Response};
/// use http_body_util::BodyExt;
/// use std::{convert::Infallible, time::Duration};
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let policy = BreakerPolicy { failure_threshold: 1, open_for: Duration::from_secs(60) };
/// let mut service = ServiceBuilder::new().layer(CircuitBreakerLayer::new(policy)).service(service_fn(
///     async |request: Request<u16>| {
///         let response = Response::builder().status(*request.body());
///         Ok::<_, Infallible>(response.body(Buffered::from("answer")).unwrap())
///     },
/// ));
/// let mut ask = async |status| service.ready().await.unwrap().call(Request::new(status)).await;
///
/// let answer = ask(200).await.unwrap();
/// assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "answer");
/// drop(ask(500).await.unwrap());
/// let refusal = ask(200).await.unwrap_err();
/// assert!(refusal.is::<BreakerOpen>());
/// # }
/// ```
#[derive(Clone)]
pub struct CircuitBreakerLayer<F = OwnBreaker, C = HttpVerdict> {
    own: Arc<Breaker>,
    find: F,
    classify: C,
}

impl CircuitBreakerLayer {
    /// A layer with one breaker for all services that it makes.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { own: Arc::new(Breaker::new(policy)), find: OwnBreaker, classify: HttpVerdict }
    }
}

impl<F, C> CircuitBreakerLayer<F, C> {
    /// Takes a request's breaker from its extensions; where there is none, the layer's own.
    #[must_use]
    pub fn find<G: FindBreaker>(self, find: G) -> CircuitBreakerLayer<G, C> {
        CircuitBreakerLayer { own: self.own, find, classify: self.classify }
    }

    /// Asks `classify` instead of [`HttpVerdict`] what an answer or an error means.
    #[must_use]
    pub fn classify<D: Classify>(self, classify: D) -> CircuitBreakerLayer<F, D> {
        CircuitBreakerLayer { own: self.own, find: self.find, classify }
    }

    /// The layer's own breaker.
    #[must_use]
    pub const fn breaker(&self) -> &Arc<Breaker> {
        &self.own
    }
}

impl<F, C> fmt::Debug for CircuitBreakerLayer<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer").field("own", &self.own).finish_non_exhaustive()
    }
}

impl<S, F: Clone, C: Clone> Layer<S> for CircuitBreakerLayer<F, C> {
    type Service = CircuitBreaker<S, F, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker { inner, layer: self.clone() }
    }
}

/// The service that [`CircuitBreakerLayer`] makes.
#[derive(Clone)]
pub struct CircuitBreaker<S, F = OwnBreaker, C = HttpVerdict> {
    inner: S,
    layer: CircuitBreakerLayer<F, C>,
}

impl<S, F, C> CircuitBreaker<S, F, C> {
    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to be changed.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, given away.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: fmt::Debug, F, C> fmt::Debug for CircuitBreaker<S, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<S, F, C, A, B> Service<Request<A>> for CircuitBreaker<S, F, C>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    F: FindBreaker,
    C: Classify + Clone,
    B: Body,
{
    type Response = Response<GuardedBody<B, Verdict<C>>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, C>;

    /// The inner service's readiness. An open breaker does not hold it up: calls are refused
    /// at once, so that whoever stands outside can turn elsewhere.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let found = self.layer.find.find(request.extensions());
        let kind = match found.as_ref().unwrap_or(&self.layer.own).try_acquire(Instant::now()) {
            Ok(permit) => {
                let facts = RequestFacts::from_request(&request);
                let verdict = Some(Verdict::new(permit, self.layer.classify.clone(), facts));
                Kind::Called { future: self.inner.call(request), verdict }
            }
            Err(refusal) => Kind::Refused(Some(refusal)),
        };
        ResponseFuture { kind }
    }
}

/// The future of [`CircuitBreaker`]; dropped, it gives back a trial's slot.
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F, C> {
    #[pin]
    kind: Kind<F, C>,
}

#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<F, C> {
    Called {
        #[pin]
        future: F,
        verdict: Option<Verdict<C>>,
    },
    Refused(Option<BreakerOpen>),
}

impl<F, C, B, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Response<B>, E>>,
    C: Classify,
    B: Body,
    E: Into<BoxError>,
{
    type Output = Result<Response<GuardedBody<B, Verdict<C>>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Called { future, verdict } => {
                let result = ready!(future.poll(cx)).map_err(Into::into);
                let Some(mut verdict) = verdict.take() else { return Poll::Pending };
                Poll::Ready(match result {
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        verdict.head(&head);
                        Ok(Response::from_parts(head, GuardedBody::new(body, verdict)))
                    }
                    Err(error) => {
                        verdict.fail(&*error);
                        Err(error)
                    }
                })
            }
            KindProj::Refused(refusal) => match refusal.take() {
                Some(refusal) => Poll::Ready(Err(refusal.into())),
                // Polled after its end, which no executor does.
                None => Poll::Pending,
            },
        }
    }
}

/// Tells the breaker what came of a request once its response body has ended.
#[derive(Debug)]
pub struct Verdict<C> {
    permit: Option<Permit>,
    classify: C,
    facts: RequestFacts,
    /// What the head alone says.
    provisional: Class,
    progress: Option<Progress>,
}

impl<C: Classify> Verdict<C> {
    const fn new(permit: Permit, classify: C, facts: RequestFacts) -> Self {
        Self { permit: Some(permit), classify, facts, provisional: Class::Cancelled, progress: None }
    }

    fn head(&mut self, head: &Parts) {
        self.provisional = self.classify.response(&self.facts, head, head.extensions.get::<ErrorBody>());
        self.progress = head.extensions.get().cloned();
    }

    fn fail(&mut self, error: &(dyn Error + 'static)) {
        // Nobody was asked: the permit is given back by its drop, and nothing is learnt.
        if find::<Unroutable>(error).is_some() || find::<MissingLayer>(error).is_some() {
            self.permit = None;
            return;
        }
        self.settle(self.classify.error(&self.facts, error));
    }

    fn settle(&mut self, class: Class) {
        if let Some(permit) = self.permit.take() {
            permit.settle(class, Instant::now());
        }
    }
}

impl<C: Classify> Guard for Verdict<C> {
    fn ended(&mut self, end: End<'_>) {
        // An error response is one however much of it was read.
        self.settle(match (self.provisional, end) {
            (Class::Success, End::Failed(error)) => self.classify.error(&self.facts, error),
            // Who leaves after the last word has heard it.
            (Class::Success, End::Dropped) if self.progress.as_ref().is_some_and(Progress::finished) => Class::Success,
            (Class::Success, End::Dropped) => Class::Cancelled,
            (class, _) => class,
        });
    }
}
