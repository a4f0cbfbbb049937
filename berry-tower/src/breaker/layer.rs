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

use super::{Breaker, BreakerPolicy, FindBreaker, OwnBreaker, Permit, permit::Doubtful};
use crate::{
    attempt::Attempt,
    body::{End, Guard, GuardedBody},
    caller::CallerId,
    classify::{Class, Classify, ErrorBody, HttpVerdict, RequestFacts},
    error::{BoxError, Failure, LostTogether, MissingLayer, Panicked, Unroutable, find},
    evidence::{AttemptRecord, Weight},
    progress::Progress,
};

/// [`Layer`] that applies [`CircuitBreaker`].
///
/// Without [`find`](Self::find) all requests pass one breaker of the layer's own, which all services
/// made from the layer and its clones share. [`Classify`] says what counts as a failure; by default
/// only a 5xx, a timeout or an error does. A response that breaks off has failed, whatever its head
/// said, and so has an inner service that panics.
///
/// A refused request fails with [`BreakerOpen`](crate::error::BreakerOpen) and the inner service is not called: put
/// `ErrorResponse` or axum's `HandleErrorLayer` outside.
///
/// ```
/// use berry_tower::{body::Buffered, breaker::{BreakerPolicy, CircuitBreakerLayer}, error::BreakerOpen};
/// use http::{Request, Response};
/// use http_body_util::BodyExt;
/// use std::{convert::Infallible, time::Duration};
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let policy = BreakerPolicy::new().with_failure_threshold(1);
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
    is_required: bool,
    classify: C,
}

impl CircuitBreakerLayer {
    /// Returns a layer with one breaker for all services that it makes.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        Self::from_breaker(Arc::new(Breaker::new(policy)))
    }

    /// Returns a layer with this breaker, which others may share.
    #[must_use]
    pub const fn from_breaker(breaker: Arc<Breaker>) -> Self {
        Self { own: breaker, find: OwnBreaker, is_required: false, classify: HttpVerdict }
    }
}

impl<F, C> CircuitBreakerLayer<F, C> {
    /// Takes a request's breaker from its extensions; where there is none, the layer's own.
    #[must_use]
    pub fn find<G: FindBreaker>(self, find: G) -> CircuitBreakerLayer<G, C> {
        let Self { own, is_required, classify, .. } = self;
        CircuitBreakerLayer { own, find, is_required, classify }
    }

    /// Fails a request for which no breaker is found with [`MissingLayer`], instead of sending it
    /// through the layer's own breaker.
    #[must_use]
    pub fn require(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// Sets what a response or an error means; the default is [`HttpVerdict`].
    #[must_use]
    pub fn classify<D: Classify>(self, classify: D) -> CircuitBreakerLayer<F, D> {
        let Self { own, find, is_required, .. } = self;
        CircuitBreakerLayer { own, find, is_required, classify }
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

/// Refuses requests while its breaker is open; see [`CircuitBreakerLayer`].
#[derive(Clone)]
pub struct CircuitBreaker<S, F = OwnBreaker, C = HttpVerdict> {
    inner: S,
    layer: CircuitBreakerLayer<F, C>,
}

impl<S> CircuitBreaker<S> {
    /// Returns `inner` behind a breaker of its own, which the clones of this service share.
    #[must_use]
    pub fn new(inner: S, policy: BreakerPolicy) -> Self {
        Self { inner, layer: CircuitBreakerLayer::new(policy) }
    }
}

impl<S, F, C> CircuitBreaker<S, F, C> {
    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
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

    /// Polls the inner service. An open breaker is ready and refuses each call at once, so that the
    /// layer outside can turn elsewhere.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let CircuitBreakerLayer { own, find, is_required, classify } = &self.layer;
        let extensions = request.extensions();
        let found = find.find(extensions);
        let breaker = match &found {
            None if *is_required => return ResponseFuture::refused(MissingLayer(find.missing())),
            found => found.as_ref().unwrap_or(own),
        };
        let permit = match breaker.try_acquire_for(extensions.get::<CallerId>().copied(), Instant::now()) {
            Ok(permit) => permit,
            Err(open) => return ResponseFuture::refused(open),
        };
        let mut verdict = Some(Verdict::new(permit, classify.clone(), &request));
        let on_panic = OnPanic(Some(&mut verdict));
        let future = self.inner.call(request);
        on_panic.disarm();
        ResponseFuture { kind: Kind::Called { future, verdict } }
    }
}

/// Tells the breaker of a panic of the inner service, unless it is disarmed.
struct OnPanic<'a, C: Classify>(Option<&'a mut Option<Verdict<C>>>);

impl<C: Classify> OnPanic<'_, C> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl<C: Classify> Drop for OnPanic<'_, C> {
    fn drop(&mut self) {
        if let Some(mut verdict) = self.0.take().and_then(Option::take) {
            verdict.fail(&Panicked);
        }
    }
}

/// Future of [`CircuitBreaker`]. Dropped, it gives back a trial's slot.
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F, C> {
    #[pin]
    kind: Kind<F, C>,
}

impl<F, C> ResponseFuture<F, C> {
    fn refused(error: impl Into<BoxError>) -> Self {
        Self { kind: Kind::Refused(Some(error.into())) }
    }
}

#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<F, C> {
    Called {
        #[pin]
        future: F,
        verdict: Option<Verdict<C>>,
    },
    Refused(Option<BoxError>),
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
        let (future, verdict) = match self.project().kind.project() {
            KindProj::Called { future, verdict } => (future, verdict),
            // Polled again after its end, which no executor does, it is pending.
            KindProj::Refused(error) => return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        };
        let on_panic = OnPanic(Some(&mut *verdict));
        let polled = future.poll(cx);
        on_panic.disarm();
        let result = ready!(polled).map_err(Into::into);
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
}

/// Guard of a response body that reports the outcome of the request to the breaker.
#[derive(Debug)]
pub struct Verdict<C> {
    /// Taken when the outcome has been reported.
    permit: Option<Permit>,
    classify: C,
    facts: RequestFacts,
    progress: Option<Progress>,
    /// What this request's attempts on several backends say together, with a selection outside.
    record: Option<Arc<AttemptRecord>>,
    /// Whether a trial has nothing more to show.
    is_proven: bool,
}

impl<C: Classify> Verdict<C> {
    fn new<B>(permit: Permit, classify: C, request: &Request<B>) -> Self {
        let attempt = request.extensions().get::<Attempt>().filter(|attempt| attempt.backend().is_some());
        Self {
            permit: Some(permit),
            classify,
            facts: RequestFacts::from_request(request),
            progress: None,
            record: attempt.map(|attempt| attempt.record().clone()),
            is_proven: false,
        }
    }

    fn head(&mut self, head: &Parts) {
        match self.classify.response(&self.facts, head, head.extensions.get::<ErrorBody>()) {
            Class::Success => {
                self.progress = head.extensions.get().cloned();
                if self.progress.is_none() {
                    self.pass_trial();
                }
            }
            // The head has spoken, however much of the body is read.
            class => self.conclude(class, Weight::Alone),
        }
    }

    fn fail(&mut self, error: &(dyn Error + 'static)) {
        // The service was not called: the permit is given back, and nothing is learnt.
        if find::<Unroutable>(error).is_some() || find::<MissingLayer>(error).is_some() {
            self.permit = None;
            return;
        }
        // A lost connection counts as one failure, however many requests it carried.
        if find::<LostTogether>(error).is_some() {
            self.permit = None;
            return;
        }
        // No request can bring it about that there is no connection.
        let certain = Failure::find(error).is_some_and(Failure::is_connect);
        let weight = if certain { Weight::Certain } else { Weight::Alone };
        self.conclude(self.classify.error(&self.facts, error), weight);
    }

    /// A trial has succeeded, though its response has not ended. Whether a plain one serves the request is known at its
    /// end.
    fn pass_trial(&mut self) {
        self.is_proven = true;
        if let Some(permit) = &mut self.permit {
            permit.pass(Instant::now());
        }
    }

    /// The service serves the request: a trial has succeeded.
    fn prove(&mut self) {
        self.is_proven = true;
        let Some(permit) = &mut self.permit else { return };
        permit.prove(Instant::now());
        if let Some(record) = &self.record {
            record.served(permit.backend());
        }
    }

    fn conclude(&mut self, class: Class, weight: Weight) {
        let Some(permit) = self.permit.take() else { return };
        let now = Instant::now();
        match &self.record {
            Some(record) if class == Class::Success => record.served(permit.backend()),
            Some(record) if matches!(class, Class::ClientError | Class::TooLong) => record.refused(permit.backend()),
            Some(record) if weight == Weight::Alone && class.is_backend_failure() && permit.is_doubtful(now) => {
                return record.file(permit.backend(), class, Box::new(Doubtful { permit, class }));
            }
            _ => {}
        }
        permit.settle_with(class.into(), weight, now);
    }
}

impl<C: Classify> Guard for Verdict<C> {
    fn frame(&mut self) {
        if let Some(progress) = self.progress.as_ref().filter(|progress| !self.is_proven && progress.shows_output()) {
            if progress.is_stream() {
                self.prove();
            } else {
                self.pass_trial();
            }
        }
    }

    fn ended(&mut self, end: End<'_>) {
        match end {
            End::Complete => self.conclude(Class::Success, Weight::Alone),
            End::Failed(error) => self.fail(error),
            // A client that leaves after the last event has got all of it.
            End::Dropped if self.progress.as_ref().is_some_and(Progress::finished) => {
                self.conclude(Class::Success, Weight::Alone);
            }
            End::Dropped => self.conclude(Class::Cancelled, Weight::Alone),
        }
    }
}
