//! The loop over the attempts of one request.

mod log;
mod step;

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use self::{
    log::routing_reason,
    step::{Outcome, Step},
};
use super::{
    Decision, FailedAttempt, ResponseBody, RetryPolicy, Shared,
    deadline::{Expired, TotalDeadline, pause},
    failure_report::FailureReport,
};
use crate::{
    attempt::Attempt,
    body::{Buffered, ByteLease},
    classify::{Class, Classify, RequestFacts},
    error::{BoxError, BreakerOpen, Failure, MissingLayer, Unroutable, find, is_over_limit},
    read_ahead::ReadAhead,
    upstream_time::UpstreamTime,
};

/// The rounds in a row without any backend called, for want of a trial slot or because others
/// extend a cool-down, before the request moves to the next fallback.
const MAX_UNROUTED_ROUNDS: u32 = 8;

/// The most fallbacks that a request goes through. It bounds a request to a service that refuses
/// every fallback and never says that there is no further one.
const MAX_FALLBACKS: u32 = 256;

/// The most bytes of a response that are kept while a fallback is tried; a longer one keeps its
/// connection to the backend.
const MAX_KEPT_BYTES: usize = 1 << 20;
/// The most frames of it.
const MAX_KEPT_FRAMES: usize = 1 << 10;

/// The attempts of one request.
pub(super) struct Run<P, C> {
    shared: Arc<Shared<P, C>>,
    facts: RequestFacts,
    started: Instant,
    deadline: Option<Instant>,
    attempt: Attempt,
    /// The attempts on the model or fallback that the request is at.
    counts: AttemptCounts,
    /// A retry was taken from the budget before it was known whether it costs one.
    budget_held: bool,
    best_failure: Option<Box<FailureReport>>,
    /// Why the first model without a backend had none.
    routing_error: Option<BoxError>,
    /// The last attempt that was answered or failed.
    last_called: Option<Attempt>,
    last_failure: (Class, Option<StatusCode>),
    /// Whether a selection stands behind, which knows other backends and fallbacks.
    has_selection: bool,
    unrouted_rounds: u32,
    /// Whether the request itself is why it leaves the model that it is at.
    is_callers_choice: bool,
    /// Why the request leaves the model that it is at; logged when it is known where it goes.
    leaving: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Default)]
struct AttemptCounts {
    attempts: u32,
    repeats: u32,
}

/// A response that only a fallback could better, kept while fallbacks are tried. It is so rare that
/// not every request has room for it.
type KeptResponse<B> = Option<Box<Response<ResponseBody<B>>>>;

impl<P: RetryPolicy, C: Classify> Run<P, C> {
    pub(super) fn new(shared: Arc<Shared<P, C>>, request: &Request<Buffered>) -> Self {
        let now = Instant::now();
        let deadline = shared.total_timeout.and_then(|total| now.checked_add(total));
        let attempt = request.extensions().get::<Attempt>().cloned().unwrap_or_else(Attempt::first);
        if attempt.number() == 1 {
            shared.budget.deposit(now);
        }
        Self {
            shared,
            facts: RequestFacts::from_request(request),
            started: now,
            deadline,
            counts: AttemptCounts::before(&attempt),
            attempt,
            budget_held: false,
            best_failure: None,
            routing_error: None,
            last_called: None,
            last_failure: (Class::Network, None),
            has_selection: false,
            unrouted_rounds: 0,
            is_callers_choice: false,
            leaving: None,
        }
    }

    /// Takes `self` by reference, since a future holds what it takes by value twice.
    pub(super) async fn run<S, B>(
        &mut self,
        inner: &mut S,
        request: &Request<Buffered>,
    ) -> Result<Response<ResponseBody<B>>, BoxError>
    where
        S: Service<Request<Buffered>, Response = Response<B>>,
        S::Error: Into<BoxError>,
        B: Body,
    {
        let mut total = pin!(TotalDeadline::new(self.deadline));
        let mut kept: KeptResponse<B> = None;
        let mut step = self.begin();
        loop {
            match step {
                Step::Call => {}
                Step::CallAgain => self.attempt = self.attempt.fresh_slot(),
                Step::Fresh => self.attempt = self.attempt.with_repeats(false),
                Step::Repeat(wait) => {
                    let paused = request.extensions().get().map(UpstreamTime::pause);
                    pause(wait).await?;
                    drop(paused);
                    self.attempt = self.attempt.with_repeats(true);
                }
                Step::Fallback(reason) => {
                    self.attempt = self.attempt.next_fallback();
                    if mem::take(&mut self.is_callers_choice) {
                        self.attempt = self.attempt.clone().by_caller();
                    }
                    self.counts = AttemptCounts::default();
                    self.unrouted_rounds = 0;
                    self.leaving = Some(reason);
                }
                Step::Stop(reason) => {
                    self.leaving = Some(reason);
                    let error = Unroutable::NoCandidates { has_fallback: false };
                    return self.give_up(error.into(), kept, request);
                }
            }
            // Attempts that are answered at once never look at the timer.
            if !matches!(step, Step::Call) && self.remaining().is_some_and(|remaining| remaining.is_zero()) {
                return self.expire(Expired::TotalTimeout, request);
            }
            let ready = poll_fn(|cx| total.as_mut().limit(inner.poll_ready(cx).map_err(Into::into), cx)).await;
            let result = match ready {
                Err(expired) => Err(expired),
                Ok(Err(error)) => Ok(Err(error)),
                Ok(Ok(())) => {
                    let mut call = pin!(inner.call(self.request(request)));
                    // A selection picks its backend in the call.
                    self.log_fallback(request);
                    poll_fn(|cx| total.as_mut().limit(call.as_mut().poll(cx).map_err(Into::into), cx)).await
                }
            };
            let outcome = match result {
                Ok(result) => self.judge(result),
                Err(expired) => Outcome::Expired(expired),
            };
            step = match outcome {
                Outcome::Done(result) => return self.finish(result.map(|response| response.map(ResponseBody::inner))),
                Outcome::FailedResponse(class, response) => {
                    let step = self.fail(class, false);
                    match step {
                        // The caller of a plain service sees the service's own response.
                        Step::Stop(_) if !self.has_selection || class == Class::TooLong => {
                            return self.pass_on(response.map(ResponseBody::inner));
                        }
                        Step::Fallback(_) if class == Class::TooLong => {
                            let mut read = Box::pin(read_ahead(response, request.body().new_lease()));
                            let read = poll_fn(|cx| total.as_mut().limit(read.as_mut().poll(cx), cx)).await;
                            match read {
                                Ok(response) => kept = response.map(Box::new),
                                Err(expired) => return self.expire(expired, request),
                            }
                        }
                        // The response is dropped before the wait, which frees its connection.
                        _ => drop(response),
                    }
                    step
                }
                Outcome::Failed { class, silent, error } => {
                    let report = FailureReport::failure(class, error);
                    self.best_failure = Some(report.or_more_reportable(self.best_failure.take()));
                    self.last_failure = (class, None);
                    self.fail(class, silent)
                }
                Outcome::NoFreshBackend(soonest) => {
                    self.has_selection = true;
                    self.unrouted_rounds += 1;
                    self.decide(Some(soonest))
                }
                Outcome::NoCandidates(error, reason) => {
                    self.has_selection = true;
                    self.log_fallback_without_backend(request);
                    self.is_callers_choice = is_callers_choice(&*error);
                    self.routing_error.get_or_insert(error);
                    self.fallback(reason)
                }
                Outcome::NoMoreFallbacks(error) => return self.give_up(error, kept, request),
                Outcome::Expired(expired) => return self.expire(expired, request),
                Outcome::TrialTaken(error) => {
                    self.unrouted_rounds += 1;
                    if !self.has_selection && self.attempt.backend().is_none() {
                        return self.give_up(error, kept, request);
                    }
                    self.has_selection = true;
                    if self.unrouted_rounds <= MAX_UNROUTED_ROUNDS {
                        Step::CallAgain
                    } else {
                        self.fallback("trial taken")
                    }
                }
            };
        }
    }

    /// The first step: a call, unless the request resumes a stream and has no attempt left.
    fn begin(&mut self) -> Step {
        let Some(last) = self.attempt.tried().next() else { return Step::Call };
        self.last_failure = (last.class, None);
        self.has_selection = self.attempt.tried().any(|tried| tried.backend.is_some());
        self.budget_held = self.shared.budget.withdraw(Instant::now());
        if !self.budget_held {
            return Step::Stop("no budget");
        }
        self.decide(None)
    }

    /// Returns the request of the attempt.
    fn request(&self, request: &Request<Buffered>) -> Request<Buffered> {
        let mut request = request.clone();
        request.extensions_mut().insert(self.attempt.clone());
        request
    }

    fn judge<B>(&mut self, result: Result<Response<B>, BoxError>) -> Outcome<B> {
        match result {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let error = head.extensions.get();
                let class = self.shared.classify.response(&self.facts, &head, error);
                if !class.fails_over() && class != Class::TooLong {
                    return Outcome::Done(Ok(Response::from_parts(head, body)));
                }
                let report = FailureReport::response(class, &head);
                self.best_failure = Some(report.or_more_reportable(self.best_failure.take()));
                self.last_failure = (class, Some(head.status));
                Outcome::FailedResponse(class, Response::from_parts(head, body))
            }
            // No other backend or time brings back what a limit has left.
            Err(error) if find::<MissingLayer>(&*error).is_some() || is_over_limit(&*error) => {
                Outcome::Done(Err(error))
            }
            Err(error) if find::<BreakerOpen>(&*error).is_some() => Outcome::TrialTaken(error),
            Err(error) => match find::<Unroutable>(&*error) {
                Some(Unroutable::OnlyTriedLeft { soonest }) => Outcome::NoFreshBackend(*soonest),
                Some(Unroutable::NoCandidates { has_fallback: false }) => Outcome::NoMoreFallbacks(error),
                Some(Unroutable::UnknownModel) if self.attempt.fallback_index() == 0 => Outcome::Done(Err(error)),
                Some(Unroutable::Overloaded) => Outcome::Done(Err(error)),
                Some(unroutable) => {
                    let reason = routing_reason(unroutable);
                    Outcome::NoCandidates(error, reason)
                }
                None => {
                    let class = self.shared.classify.error(&self.facts, &*error);
                    let failure = Failure::find(&*error);
                    let silent = matches!(failure, Some(Failure::Timeout(deadline)) if deadline.is_silence());
                    Outcome::Failed { class, silent, error }
                }
            },
        }
    }

    /// Counts a failed attempt and decides what follows it.
    fn fail(&mut self, class: Class, silent: bool) -> Step {
        self.has_selection |= self.attempt.backend().is_some();
        let was_allowed = self.attempt.allows_repeats();
        let is_repeat = if self.has_selection { self.attempt.is_repeat() } else { self.counts.attempts > 0 };
        self.counts.attempts = self.counts.attempts.saturating_add(1);
        self.counts.repeats += u32::from(is_repeat);
        self.unrouted_rounds = 0;
        self.is_callers_choice = class == Class::TooLong;
        self.last_called = Some(self.attempt.clone());
        self.attempt = self.attempt.next(class, silent);
        // A selection may have repeated a backend unasked.
        if is_repeat && !was_allowed && !self.pay() {
            return Step::Stop("no budget");
        }
        self.decide(None)
    }

    /// Asks the policy. `soonest` says that a selection has only tried backends left, and when the
    /// soonest of them may be asked.
    fn decide(&mut self, soonest: Option<Duration>) -> Step {
        let (class, status) = self.last_failure;
        let mut failed = FailedAttempt::new(&self.facts, class)
            .with_status(status)
            .with_attempts(self.counts.attempts)
            .with_repeats(self.counts.repeats)
            .with_remaining(self.remaining())
            .with_jitter(rand::random());
        if self.has_selection {
            failed = failed.with_selection(soonest.is_some());
        }
        if let Some(soonest) = soonest {
            failed = failed.with_retry_after(Some(soonest).filter(|soonest| !soonest.is_zero()));
        }
        let (only_tried_left, retry_after) = (failed.only_tried_left(), failed.retry_after().unwrap_or_default());
        match self.shared.policy.decide(&failed) {
            Decision::RetryNow if !only_tried_left => Step::Fresh,
            Decision::RetryNow => self.repeat(retry_after),
            // A selection would refuse an earlier attempt.
            Decision::RetryAfter(wait) if soonest.is_some() => self.repeat(wait.max(retry_after)),
            Decision::RetryAfter(wait) => self.repeat(wait),
            Decision::Fallback => self.fallback(self.shared.policy.stop_reason(&failed)),
            Decision::Stop => Step::Stop(self.shared.policy.stop_reason(&failed)),
        }
    }

    /// The step to a retry on a tried backend, if time and budget allow it.
    fn repeat(&mut self, wait: Duration) -> Step {
        if self.unrouted_rounds > MAX_UNROUTED_ROUNDS {
            return self.fallback("all cooling down");
        }
        if self.remaining().is_some_and(|remaining| remaining <= wait) {
            return self.fallback("wait too long");
        }
        if !self.pay() {
            return self.fallback("no budget");
        }
        Step::Repeat(wait)
    }

    fn fallback(&self, reason: &'static str) -> Step {
        if self.has_selection && self.attempt.fallback_index() < MAX_FALLBACKS {
            Step::Fallback(reason)
        } else {
            Step::Stop(reason)
        }
    }

    fn pay(&mut self) -> bool {
        mem::take(&mut self.budget_held) || self.shared.budget.withdraw(Instant::now())
    }

    fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn finish<B>(&self, mut result: Result<Response<B>, BoxError>) -> Result<Response<B>, BoxError> {
        if let Ok(response) = &mut result {
            response.extensions_mut().insert(self.attempt.clone());
        }
        result
    }

    /// Passes on the response of the last attempt that was made.
    fn pass_on<B>(&mut self, response: Response<B>) -> Result<Response<B>, BoxError> {
        if let Some(last) = self.last_called.take() {
            self.attempt = last;
        }
        self.finish(Ok(response))
    }

    /// Ends the request with the failure to report, or the reason why no backend was called.
    fn give_up<B: Body>(
        &mut self,
        error: BoxError,
        kept: KeptResponse<B>,
        request: &Request<Buffered>,
    ) -> Result<Response<ResponseBody<B>>, BoxError> {
        self.log_give_up(request);
        if let Some(kept) = kept {
            return self.pass_on(*kept);
        }
        let attempts = self.attempt.number() - 1;
        let backend = self.attempt.tried().next().and_then(|tried| tried.backend.clone());
        Err(match self.best_failure.take() {
            Some(report) => report.into_exhausted(attempts, backend).with_elapsed(self.started.elapsed()).into(),
            None => self.routing_error.take().unwrap_or(error),
        })
    }

    /// Ends the request when its time is over. An earlier failure may say more than that.
    fn expire<B: Body>(
        &mut self,
        expired: Expired,
        request: &Request<Buffered>,
    ) -> Result<Response<ResponseBody<B>>, BoxError> {
        self.best_failure = self.best_failure.take().filter(|report| report.outranks_timeout());
        self.routing_error = None;
        self.leaving = Some("total timeout");
        self.give_up(expired.into(), None, request)
    }
}

/// Whether a part of the request is why a model had no backend for it.
fn is_callers_choice(error: &(dyn std::error::Error + 'static)) -> bool {
    let callers = |error: &Unroutable| {
        use Unroutable::{NotStored, UnsupportedEndpoint, UnsupportedParameter};
        matches!(error, UnsupportedParameter { .. } | NotStored { .. } | UnsupportedEndpoint)
    };
    find::<Unroutable>(error).is_some_and(callers)
}

impl AttemptCounts {
    /// Counts the earlier attempts on the model or fallback that `attempt` is for.
    fn before(attempt: &Attempt) -> Self {
        let mut counts = Self::default();
        for (at, tried) in attempt.tried().enumerate() {
            if tried.fallback_index == attempt.fallback_index() {
                let is_repeat = attempt.tried().skip(at + 1).any(|earlier| earlier.backend == tried.backend);
                counts.attempts += 1;
                counts.repeats += u32::from(is_repeat);
            }
        }
        counts
    }
}

/// Reads the response's body, so that the attempt ends now and not when the client reads it;
/// returns `None` when the body fails.
async fn read_ahead<B: Body>(response: Response<B>, lease: Option<ByteLease>) -> Option<Response<ResponseBody<B>>> {
    let (head, body) = response.into_parts();
    let mut body = ReadAhead::new(body, lease);
    while body.bytes() <= MAX_KEPT_BYTES && body.frames() <= MAX_KEPT_FRAMES && !body.is_over_budget() {
        if !poll_fn(|cx| body.poll_read(cx)).await.ok()? {
            break;
        }
    }
    Some(Response::from_parts(head, ResponseBody::read_ahead(body)))
}
