//! A place among a backend's requests in flight, held until the attempt has ended.

use std::{error::Error, sync::Arc, time::Duration};

use http::{HeaderValue, Request, StatusCode, response::Parts};
use tokio::time::Instant;

use super::candidates::needs_trial;
use crate::{
    attempt::Attempt,
    backend::{Backend, HealthChange, Model, strategy::Candidate},
    body::{End, Guard},
    classify::{Class, Classify, ErrorBody, RequestFacts},
    error::{BreakerOpen, Failure, MissingLayer, Unroutable, find},
    observe::AttemptEnd,
    progress::Progress,
};

/// One attempt's hold on its backend. However the attempt ends, the place is given back and the
/// outcome is booked, once.
#[derive(Debug)]
pub struct Lease<C: Classify> {
    backend: Arc<Backend>,
    model: Arc<Model>,
    classify: C,
    facts: RequestFacts,
    started: Instant,
    /// It is the one trial that the backend allows.
    trial: bool,
    /// What the head has said; a body that is dropped unread leaves it at that.
    head: Option<Class>,
    head_after: Option<Duration>,
    /// The attempt's number, and what the one before it ended with, until that has been told.
    number: u32,
    retry_of: Option<Class>,
    progress: Option<Progress>,
    /// For the log: whose attempt it was, and what became of it.
    request_id: Option<HeaderValue>,
    status: Option<StatusCode>,
    reason: Option<String>,
    booked: bool,
}

impl<C: Classify> Lease<C> {
    /// Takes a place, and the trial where it is one; `None` when somebody else was first.
    pub(super) fn take(chosen: &Candidate<'_>, model: &Arc<Model>, classify: C, now: Instant) -> Option<Self> {
        let live = &chosen.backend.state();
        if !live.try_enter(chosen.backend.max_in_flight()) {
            return None;
        }
        let trial = needs_trial(chosen, model.strategy());
        if trial && !live.try_trial() {
            live.leave();
            return None;
        }
        let (backend, model) = (chosen.backend.clone(), model.clone());
        backend.record_pick();
        Some(Self {
            backend,
            model,
            classify,
            facts: RequestFacts::default(),
            started: now,
            trial,
            head: None,
            head_after: None,
            number: 1,
            retry_of: None,
            progress: None,
            request_id: None,
            status: None,
            reason: None,
            booked: false,
        })
    }

    /// The backend.
    pub const fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Records the request of the attempt, for the verdict, the log and observers.
    pub(super) fn describe<B>(&mut self, request: &Request<B>) {
        let attempt = request.extensions().get::<Attempt>();
        self.facts = RequestFacts::from_request(request);
        self.request_id = request.headers().get("x-request-id").cloned();
        self.number = attempt.map_or(1, Attempt::number);
        self.retry_of = attempt.and_then(|attempt| attempt.tried().next()).map(|tried| tried.class);
    }

    /// The model, or the fallback.
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }

    pub(super) fn answered(&mut self, head: &Parts) {
        let class = self.classify.response(&self.facts, head, head.extensions.get::<ErrorBody>());
        let now = Instant::now();
        self.head_after = Some(now - self.started);
        if class == Class::Success {
            self.backend.state().first_byte(now - self.started, now);
        }
        self.tell_of_retry();
        self.head = Some(class);
        self.status = Some(head.status);
        self.progress = head.extensions.get().cloned();
    }

    pub(super) fn failed(mut self, error: &(dyn Error + 'static)) {
        // Nobody was asked, so nothing is learnt.
        if nobody_was_asked(error) {
            self.booked = true;
            return;
        }
        let class = self.classify.error(&self.facts, error);
        self.reason = reason(error);
        self.book(class);
    }

    fn book(&mut self, class: Class) {
        if self.booked {
            return;
        }
        self.booked = true;
        if class.is_error() {
            let id = &self.backend.id();
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
            self.backend.state().first_token(after);
        }
        self.tell_observer(class, now);
        if let Some(HealthChange { from, to }) = self.backend.state().record(class, now) {
            let id = &self.backend.id();
            let (from, to) = (from.name(), to.name());
            tracing::warn!(provider = &*id.provider, model = &*id.model, from, to, "health changed");
        }
    }
}

impl<C: Classify> Lease<C> {
    fn tell_of_retry(&mut self) {
        if let Some(reason) = self.retry_of.take()
            && let Some(observer) = self.backend.state().observer()
        {
            observer.retried(&self.model.name(), reason);
        }
    }

    fn first_token_after(&self) -> Option<Duration> {
        let progress = self.progress.as_ref().filter(|progress| progress.is_stream())?;
        Some(progress.first_output()? - self.started)
    }

    fn tell_observer(&mut self, class: Class, now: Instant) {
        self.tell_of_retry();
        let Some(observer) = self.backend.state().observer() else { return };
        observer.attempt_ended(&AttemptEnd {
            request_id: self.request_id.as_ref(),
            backend: &self.backend.id(),
            model: &self.model.name(),
            number: self.number,
            class,
            status: self.status,
            head_after: self.head_after,
            first_token_after: self.first_token_after(),
            elapsed: now - self.started,
            usage: self.progress.as_ref().and_then(Progress::usage),
            reason: self.reason.as_deref(),
        });
    }
}

/// What failed, for the log. A provider's own words are left out, since they may quote the request.
fn reason(error: &(dyn Error + 'static)) -> Option<String> {
    Some(match Failure::find(error)? {
        Failure::ErrorEvent(_) => "the provider's stream told of an error".to_owned(),
        failure => failure.to_string(),
    })
}

fn nobody_was_asked(error: &(dyn Error + 'static)) -> bool {
    find::<BreakerOpen>(error).is_some() || find::<Unroutable>(error).is_some() || find::<MissingLayer>(error).is_some()
}

impl<C: Classify> Guard for Lease<C> {
    fn ended(&mut self, end: End<'_>) {
        let head = self.head.unwrap_or(Class::Cancelled);
        let class = match end {
            End::Complete => head,
            // The head has spoken already; its body cannot make it better.
            _ if head != Class::Success => head,
            End::Failed(error) => {
                self.reason = reason(error);
                self.classify.error(&self.facts, error)
            }
            // Who leaves after the last word has heard it.
            End::Dropped if self.progress.as_ref().is_some_and(Progress::finished) => head,
            End::Dropped => Class::Cancelled,
        };
        self.book(class);
    }
}

impl<C: Classify> Drop for Lease<C> {
    fn drop(&mut self) {
        self.book(self.head.filter(|class| *class != Class::Success).unwrap_or(Class::Cancelled));
        if self.trial {
            self.backend.state().end_trial();
        }
        self.backend.state().leave();
    }
}

#[cfg(test)]
mod tests {
    use crate::{classify::ErrorBody, error::Deadline};

    use super::*;

    #[test]
    fn the_log_tells_what_failed_without_the_providers_words() {
        let error = ErrorBody { message: Some("you asked: the secret plan".into()), ..ErrorBody::default() };
        let told = reason(&Failure::ErrorEvent(Box::new(error))).unwrap();
        assert!(!told.contains("plan"), "{told}");
        assert_eq!(reason(&Failure::Timeout(Deadline::Idle)).unwrap(), Failure::Timeout(Deadline::Idle).to_string());
        assert_eq!(reason(&std::io::Error::other("http://internal/?key=1")), None);
    }
}
