//! A reserved slot on the selected backend.

use std::{error::Error, sync::Arc, time::Duration};

use http::{Extensions, HeaderValue, Request, StatusCode, response::Parts};
use tokio::time::Instant;

use super::{Selected, candidates::needs_trial};
use crate::{
    attempt::Attempt,
    backend::{Backend, Counted, HealthChange, Model, Trial, strategy::Candidate},
    body::{End, Guard},
    breaker::{Breaker, FindBreaker, address},
    caller::CallerId,
    classify::{Class, Classify, ErrorBody, RequestFacts},
    error::{BreakerOpen, Failure, LostTogether, MissingLayer, Unroutable, find, is_over_limit},
    evidence::{AttemptRecord, Claim, Weight},
    observe::{AttemptEnd, RequestObserver},
    progress::Progress,
    render::REQUEST_ID,
};

/// Finds the circuit breaker of the backend that [`Select`](super::Select) has chosen.
///
/// ```
/// use berry_tower::{breaker::{BreakerPolicy, CircuitBreakerLayer}, classify::ModelApiVerdict, select::SelectedBreaker};
///
/// // The layer's own breaker is for requests without a selection; with `require` there are none.
/// let policy = BreakerPolicy::default();
/// let layer = CircuitBreakerLayer::new(policy).find(SelectedBreaker).require().classify(ModelApiVerdict);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SelectedBreaker;

impl FindBreaker for SelectedBreaker {
    fn find(&self, extensions: &Extensions) -> Option<Arc<Breaker>> {
        extensions.get::<Selected>().map(|selected| selected.backend().state().breaker().clone())
    }

    fn missing(&self) -> &'static str {
        "SelectLayer"
    }
}

/// A reserved slot on the selected backend, held until the response body has ended.
///
/// However the attempt ends, the slot is given back and the outcome is recorded once. A trial ends
/// earlier: with the first output of a stream, or the head of any other response.
#[derive(Debug)]
pub struct Lease<C: Classify> {
    backend: Arc<Backend>,
    model: Arc<Model>,
    classify: C,
    facts: RequestFacts,
    started: Instant,
    /// The slot of the one trial that the backend allows.
    trial: Option<Trial>,
    /// Whether a trial has nothing more to show.
    is_proven: bool,
    /// Whether the backend's health has taken in the success already.
    is_judged: bool,
    /// The class of the head.
    head: Option<Class>,
    head_after: Option<Duration>,
    caller: Option<CallerId>,
    /// What the attempts of the request say together.
    record: Option<Arc<AttemptRecord>>,
    number: u32,
    /// The class of the attempt before this one.
    previous: Option<Class>,
    is_retry_reported: bool,
    /// Whether this attempt continues a stream of the one before.
    resumes: bool,
    request_observer: Option<RequestObserver>,
    progress: Option<Progress>,
    request_id: Option<HeaderValue>,
    status: Option<StatusCode>,
    reason: Option<String>,
    is_recorded: bool,
}

impl<C: Classify> Lease<C> {
    /// Reserves a slot, and the trial if the request is one. Returns `None` when another request was first.
    ///
    /// Boxed, since it goes from the selection through the future into the body, and is large.
    pub(super) fn take(chosen: &Candidate<'_>, model: &Arc<Model>, classify: C, now: Instant) -> Option<Box<Self>> {
        let state = chosen.backend.state();
        if !state.try_enter(chosen.backend.max_in_flight()) {
            return None;
        }
        let mut trial = None;
        if needs_trial(chosen, model.strategy()) {
            trial = state.try_trial(now);
            if trial.is_none() {
                state.leave();
                return None;
            }
        }
        let (backend, model) = (chosen.backend.clone(), model.clone());
        backend.record_pick();
        Some(Box::new(Self {
            backend,
            model,
            classify,
            facts: RequestFacts::default(),
            started: now,
            trial,
            is_proven: false,
            is_judged: false,
            head: None,
            head_after: None,
            caller: None,
            record: None,
            number: 1,
            previous: None,
            is_retry_reported: false,
            resumes: false,
            request_observer: None,
            progress: None,
            request_id: None,
            status: None,
            reason: None,
            is_recorded: false,
        }))
    }

    /// The backend.
    pub const fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Takes over what the verdict, the log and observers need to know of the request.
    pub(super) fn describe<B>(&mut self, request: &Request<B>) {
        let attempt = request.extensions().get::<Attempt>();
        self.facts = RequestFacts::from_request(request);
        self.caller = request.extensions().get().copied();
        self.record = attempt.map(|attempt| attempt.record().clone());
        self.request_id = request.headers().get(REQUEST_ID).cloned();
        self.number = attempt.map_or(1, Attempt::number);
        if let Some(tried) = attempt.and_then(|attempt| attempt.tried().next()) {
            (self.previous, self.resumes) = (Some(tried.class), tried.interrupted);
        }
        self.request_observer = request.extensions().get().cloned();
    }

    /// The model, or the fallback.
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Takes in the head of the response.
    pub(super) fn answered(&mut self, head: &Parts) {
        let class = self.classify.response(&self.facts, head, head.extensions.get::<ErrorBody>());
        let now = Instant::now();
        self.head_after = Some(now - self.started);
        self.report_retry();
        self.head = Some(class);
        self.status = Some(head.status);
        if class != Class::Success {
            // The head has spoken, however much of the body is read.
            return self.end(class, Weight::Alone);
        }
        self.progress = head.extensions.get().cloned();
        self.backend.state().record_first_byte(now - self.started, now);
        if self.progress.is_none() {
            self.pass_trial();
        } else if self.trial.is_some() && self.backend.state().is_healthy() {
            // The trial of a healthy backend was to measure its latency.
            self.end_trial();
        }
    }

    /// Takes in an error in place of a response.
    pub(super) fn failed(mut self, error: &(dyn Error + 'static)) {
        // No backend was called, so nothing is learnt.
        if no_backend_was_called(error) {
            self.is_recorded = true;
            return;
        }
        self.end_with(error);
    }

    fn end_with(&mut self, error: &(dyn Error + 'static)) {
        self.reason = reason(error);
        // No request can bring it about that there is no connection.
        let weight = if Failure::find(error).is_some_and(Failure::is_connect) {
            Weight::Certain
        } else if find::<LostTogether>(error).is_some() {
            Weight::Shared
        } else {
            Weight::Alone
        };
        self.end(self.classify.error(&self.facts, error), weight);
    }

    /// The backend serves the request: a trial has succeeded, and what earlier attempts told of
    /// other backends is true.
    fn prove(&mut self) {
        self.is_proven = true;
        if let Some(record) = &self.record {
            record.served(self.address());
        }
        self.pass_trial();
    }

    /// A trial has succeeded, though its response has not ended. Whether a plain one serves the request is known at its
    /// end.
    fn pass_trial(&mut self) {
        if self.trial.is_some() && !self.backend.state().is_healthy() {
            self.is_judged = true;
            let now = Instant::now();
            judge(&self.backend, self.backend.state().foresee(Class::Success, now), now);
        }
        self.end_trial();
    }

    fn end_trial(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.backend.state().end_trial(trial);
        }
    }

    /// Records the outcome, once.
    fn end(&mut self, class: Class, weight: Weight) {
        if self.is_recorded {
            return;
        }
        self.is_recorded = true;
        if class.is_error() {
            let id = self.backend.id();
            let request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok());
            let (provider, model, status) = (&*id.provider, &*id.model, self.status.map(|status| status.as_u16()));
            tracing::warn!(
                request_id,
                provider,
                model,
                class = class.name(),
                status,
                reason = self.reason,
                "attempt failed"
            );
        }
        let now = Instant::now();
        if class == Class::Success
            && let Some(after) = self.first_token_after()
        {
            self.backend.state().record_first_token(after);
        }
        self.report_end(class, now);
        let counted = self.backend.state().count(class, now);
        if let Some(record) = &self.record {
            match class {
                Class::Success => record.served(self.address()),
                Class::ClientError | Class::TooLong => record.refused(self.address()),
                _ if class.is_backend_failure() && weight == Weight::Alone && self.is_doubtful(now) => {
                    let doubtful = Doubtful { backend: self.backend.clone(), counted, trial: self.trial.take() };
                    return record.file(self.address(), class, Box::new(doubtful));
                }
                _ => {}
            }
        }
        if weight != Weight::Shared && !(self.is_judged && class == Class::Success) {
            judge(&self.backend, counted, now);
        }
        self.end_trial();
    }

    /// Whether a failure may be the request's own fault, since its caller is one of several.
    fn is_doubtful(&self, now: Instant) -> bool {
        self.caller.is_some_and(|caller| self.backend.state().breaker().is_one_of_several(caller, now))
    }

    /// Tells backends apart.
    fn address(&self) -> usize {
        address(self.backend.state().breaker())
    }

    fn report_retry(&mut self) {
        if let Some(reason) = self.previous
            && !std::mem::replace(&mut self.is_retry_reported, true)
            && let Some(observer) = self.backend.state().observer()
        {
            observer.retried(self.model.name(), reason);
        }
    }

    fn first_token_after(&self) -> Option<Duration> {
        let progress = self.progress.as_ref().filter(|progress| progress.is_stream())?;
        Some(progress.first_output()? - self.started)
    }

    fn report_end(&mut self, class: Class, now: Instant) {
        self.report_retry();
        let observer = self.backend.state().observer();
        if observer.is_none() && self.request_observer.is_none() {
            return;
        }
        let breaker = self.backend.state().breaker();
        let end = AttemptEnd {
            request_id: self.request_id.as_ref(),
            backend: self.backend.id(),
            model: self.model.name(),
            number: self.number,
            class,
            status: self.status,
            head_after: self.head_after,
            first_token_after: self.first_token_after(),
            elapsed: now - self.started,
            usage: self.progress.as_ref().and_then(Progress::usage),
            reason: self.reason.as_deref(),
            ended: now,
            selected: &self.backend,
            previous: self.previous,
            resumes: self.resumes,
            breaker: class.is_error().then(|| breaker.state(now)),
        };
        if let Some(observer) = observer {
            observer.attempt_ended(&end);
        }
        if let Some(RequestObserver(observer)) = &self.request_observer {
            observer.attempt_ended(&end);
        }
    }
}

/// Takes in what an outcome says about the backend, and logs a change of its health.
fn judge(backend: &Backend, counted: Counted, now: Instant) {
    if let Some(HealthChange { from, to }) = backend.state().judge(counted, now) {
        let id = backend.id();
        let (from, to) = (from.name(), to.name());
        tracing::warn!(provider = &*id.provider, model = &*id.model, from, to, "health changed");
    }
}

/// A failure whose weight is not known yet. Until then a trial keeps its slot.
#[derive(Debug)]
struct Doubtful {
    backend: Arc<Backend>,
    counted: Counted,
    trial: Option<Trial>,
}

impl Claim for Doubtful {
    fn decide(&self, weight: Weight) {
        if weight != Weight::Shared {
            judge(&self.backend, self.counted, Instant::now());
        }
        if let Some(trial) = &self.trial {
            self.backend.state().end_trial(*trial);
        }
    }
}

/// Returns what failed, for the log. A provider's own words are left out, since they may quote the request.
fn reason(error: &(dyn Error + 'static)) -> Option<String> {
    Some(match Failure::find(error)? {
        Failure::ErrorEvent(_) => "the provider's stream reported an error".to_owned(),
        // Its text is that of a foreign error, which may name addresses.
        Failure::Transport(_) => return None,
        failure => failure.to_string(),
    })
}

fn no_backend_was_called(error: &(dyn Error + 'static)) -> bool {
    find::<BreakerOpen>(error).is_some()
        || find::<Unroutable>(error).is_some()
        || find::<MissingLayer>(error).is_some()
        || is_over_limit(error)
}

impl<C: Classify> Guard for Lease<C> {
    fn frame(&mut self) {
        if let Some(progress) = self.progress.as_ref().filter(|progress| !self.is_proven && progress.shows_output()) {
            if progress.is_stream() {
                self.prove();
            } else {
                self.is_proven = true;
                self.pass_trial();
            }
        }
    }

    fn ended(&mut self, end: End<'_>) {
        match end {
            End::Complete => self.end(Class::Success, Weight::Alone),
            End::Failed(error) => self.end_with(error),
            // A client that leaves after the last event has got all of it.
            End::Dropped if self.progress.as_ref().is_some_and(Progress::finished) => {
                self.end(Class::Success, Weight::Alone);
            }
            End::Dropped => self.end(Class::Cancelled, Weight::Alone),
        }
    }
}

impl<C: Classify> Drop for Lease<C> {
    fn drop(&mut self) {
        self.end(Class::Cancelled, Weight::Alone);
        self.end_trial();
        self.backend.state().leave();
    }
}

#[cfg(test)]
mod tests {
    use crate::{classify::ErrorBody, error::Deadline};

    use super::*;

    #[test]
    fn the_log_tells_what_failed_without_the_providers_words() {
        let error = ErrorBody::default().with_message("you asked: the secret plan");
        let told = reason(&Failure::ErrorEvent(Box::new(error))).unwrap();
        assert!(!told.contains("plan"), "{told}");
        assert_eq!(reason(&Failure::Timeout(Deadline::Idle)).unwrap(), Failure::Timeout(Deadline::Idle).to_string());
        assert_eq!(reason(&std::io::Error::other("http://internal/?key=1")), None);
        assert_eq!(reason(&Failure::Transport("http://internal/?key=1".into())), None);
    }
}
