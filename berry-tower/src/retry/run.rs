//! One request on its way from attempt to attempt.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep};
use tower_service::Service;

use super::{Next, RetryPolicy, Shared, Spent, told::Told, total::Total};
use crate::{
    attempt::Attempt,
    body::Buffered,
    classify::{Class, Classify, ErrorBody, RequestFacts},
    error::{BoxError, BreakerOpen, Failure, MissingLayer, TotalTimeout, Unroutable, find},
    upstream_time::UpstreamTime,
};

/// How often in a row nobody may be asked, for want of a trial slot or the end of a cool-down that
/// others draw out, before the request gives up on the model.
const MOST_IDLE: u32 = 8;

/// One request on its way from attempt to attempt.
pub(super) struct Run<P, C> {
    shared: Arc<Shared<P, C>>,
    facts: RequestFacts,
    deadline: Option<Instant>,
    attempt: Attempt,
    spent: Spent,
    /// The budget has been asked for the next attempt already.
    paid: bool,
    told: Option<Told>,
    /// Why nobody could be asked, where that came first.
    why: Option<BoxError>,
    /// An answer that only a fallback could better.
    kept: Option<Response<Bytes>>,
    /// The last attempt that came to something.
    last: Option<Attempt>,
    /// Whether a selection stands behind, which knows other backends and fallbacks.
    selects: bool,
    /// How often in a row nobody was asked.
    idle: u32,
    /// Somebody else was faster, and the same attempt is made anew.
    lost: bool,
}

/// What an attempt came to.
enum Outcome<B> {
    /// This goes to the client.
    Done(Result<Response<B>, BoxError>),
    /// This failed, and only a fallback could better it.
    TooLong(Told, Response<B>),
    /// It failed; what now?
    Failed(Next),
    /// Nobody was asked, since only tried ones are left.
    OnlyTried(Duration),
    /// Nobody was asked: this model, or this fallback, has nobody left.
    NobodyLeft(BoxError),
    /// Nobody was asked: there is no further fallback.
    NoSuchLeg(BoxError),
    /// Somebody else took the trial that was hoped for.
    LostRace(BoxError),
    /// The deadline over all attempts has passed.
    Expired(BoxError),
}

impl<P: RetryPolicy, C: Classify> Run<P, C> {
    pub(super) fn new(shared: Arc<Shared<P, C>>, request: &Request<Buffered>) -> Self {
        let now = Instant::now();
        let deadline = shared.total.map(|total| now + total);
        let attempt = request.extensions().get::<Attempt>().cloned().unwrap_or_else(Attempt::first);
        if attempt.number() == 1 {
            shared.budget.deposit(now);
        }
        Self {
            shared,
            facts: RequestFacts::from_request(request),
            deadline,
            spent: spent(&attempt),
            attempt,
            paid: false,
            told: None,
            why: None,
            kept: None,
            last: None,
            selects: false,
            idle: 0,
            lost: false,
        }
    }

    /// By reference, since a future that takes something by value has room for it twice.
    pub(super) async fn run<S, B>(
        &mut self,
        inner: &mut S,
        request: &Request<Buffered>,
    ) -> Result<Response<B>, BoxError>
    where
        S: Service<Request<Buffered>, Response = Response<B>>,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + From<Bytes>,
    {
        let mut total = pin!(Total::new(self.deadline));
        let mut next = self.begin();
        loop {
            match next {
                Next::Now if mem::take(&mut self.lost) => self.attempt = self.attempt.again(),
                // A first attempt is as it should be.
                Next::Now if self.attempt.number() == 1 && self.attempt.fallback_index() == 0 && self.idle == 0 => {}
                Next::Now => self.attempt = self.attempt.allowing_tried(false),
                Next::After(wait) => {
                    let paused = request.extensions().get().map(UpstreamTime::pause);
                    sleep(wait).await;
                    drop(paused);
                    self.attempt = self.attempt.allowing_tried(true);
                }
                Next::Fallback => {
                    self.attempt = self.attempt.next_fallback();
                    self.spent = Spent::default();
                    self.idle = 0;
                }
                Next::Stop => return self.give_up(Unroutable::NoCandidates { has_fallback: false }.into()),
            }
            let result = match poll_fn(|cx| total.as_mut().limit(inner.poll_ready(cx), cx)).await {
                Err(error) => Err(error),
                Ok(()) => {
                    let mut call = pin!(inner.call(self.ask(request)));
                    poll_fn(|cx| total.as_mut().limit(call.as_mut().poll(cx), cx)).await
                }
            };
            let outcome = match self.judge(result) {
                Outcome::TooLong(told, response) => {
                    // So rare that not every request is to have room for it.
                    self.kept = Box::pin(whole(response)).await;
                    self.failed(Class::TooLong, told, false)
                }
                outcome => outcome,
            };
            next = match outcome {
                Outcome::Done(result) => return self.finish(result),
                Outcome::TooLong(..) => Next::Fallback,
                Outcome::Failed(next) => {
                    self.idle = 0;
                    next
                }
                Outcome::OnlyTried(soonest) => {
                    self.idle += 1;
                    self.again(soonest)
                }
                Outcome::NobodyLeft(why) => {
                    self.why.get_or_insert(why);
                    Next::Fallback
                }
                Outcome::NoSuchLeg(why) => return self.give_up(why),
                // What was learnt before may be worth more than that time has run out.
                Outcome::Expired(why) => {
                    self.told = self.told.take().filter(Told::outranks_timeout);
                    self.why = None;
                    return self.give_up(why);
                }
                Outcome::LostRace(why) => {
                    self.idle += 1;
                    if !self.selects && self.attempt.backend().is_none() {
                        return self.give_up(why);
                    }
                    self.selects = true;
                    self.lost = self.idle <= MOST_IDLE;
                    if self.lost { Next::Now } else { Next::Fallback }
                }
            };
        }
    }

    /// What comes first: the attempt at hand, unless it resumes a stream whose chances are spent.
    fn begin(&mut self) -> Next {
        if self.attempt.number() == 1 {
            return Next::Now;
        }
        self.paid = self.shared.budget.withdraw(Instant::now());
        self.selects = self.attempt.tried().any(|tried| tried.backend.is_some());
        match self.shared.policy.after(Class::Network, self.spent) {
            _ if !self.paid => Next::Stop,
            // Without a selection there is nobody else to ask.
            Next::Fallback if !self.selects => Next::Stop,
            next => next,
        }
    }

    /// The request for the attempt at hand.
    fn ask(&self, request: &Request<Buffered>) -> Request<Buffered> {
        let mut request = request.clone();
        request.extensions_mut().insert(self.attempt.clone());
        request
    }

    fn judge<B>(&mut self, result: Result<Response<B>, BoxError>) -> Outcome<B> {
        match result {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let error = head.extensions.get::<ErrorBody>();
                let class = self.shared.classify.response(&self.facts, &head, error);
                if !class.fails_over() && class != Class::TooLong {
                    return Outcome::Done(Ok(Response::from_parts(head, body)));
                }
                let told = Told::response(class, head.status, error);
                if class == Class::TooLong {
                    return Outcome::TooLong(told, Response::from_parts(head, body));
                }
                self.failed(class, told, false)
            }
            Err(error) if error.is::<TotalTimeout>() => Outcome::Expired(error),
            Err(error) if find::<MissingLayer>(&*error).is_some() => Outcome::Done(Err(error)),
            Err(error) if find::<BreakerOpen>(&*error).is_some() => Outcome::LostRace(error),
            Err(error) => match find::<Unroutable>(&*error) {
                Some(Unroutable::OnlyTriedLeft { soonest }) => Outcome::OnlyTried(*soonest),
                Some(Unroutable::NoCandidates { has_fallback: false }) => Outcome::NoSuchLeg(error),
                Some(Unroutable::UnknownModel) if self.attempt.fallback_index() == 0 => Outcome::Done(Err(error)),
                Some(_) => {
                    self.selects = true;
                    Outcome::NobodyLeft(error)
                }
                None => {
                    let class = self.shared.classify.error(&self.facts, &*error);
                    let failure = Failure::find(&*error);
                    let silent = matches!(failure, Some(Failure::Timeout(deadline)) if deadline.is_silence());
                    self.failed(class, Told::failure(class, error), silent)
                }
            },
        }
    }

    /// Books a failed attempt and asks the policy.
    fn failed<B>(&mut self, class: Class, told: Told, silent: bool) -> Outcome<B> {
        self.told = Some(told.worse(self.told.take()));
        self.selects |= self.attempt.backend().is_some();
        let on_tried =
            self.attempt.backend().is_some_and(|b| self.attempt.tried().any(|t| t.backend.as_ref() == Some(b)));
        self.spent.attempts += 1;
        self.spent.on_tried += u32::from(on_tried || !self.selects && self.spent.attempts > 1);
        let selects = self.selects;
        self.last = Some(self.attempt.clone());
        self.attempt = self.attempt.next(class, silent);
        match self.shared.policy.after(class, self.spent) {
            // Without a selection there is one service and one model, and it has been tried.
            Next::Now if !selects && matches!(class, Class::Auth | Class::Model | Class::EndpointNotServed) => {
                Outcome::Failed(Next::Stop)
            }
            Next::Now if !selects => Outcome::OnlyTried(match class {
                Class::RateLimited { retry_after: Some(wait) } => wait,
                _ => Duration::ZERO,
            }),
            Next::Fallback if !selects => Outcome::Failed(Next::Stop),
            next => Outcome::Failed(next),
        }
    }

    /// Asks the policy, then the budget, whether a tried backend may be asked again.
    fn again(&mut self, soonest: Duration) -> Next {
        let now = Instant::now();
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(now));
        let next = self.shared.policy.again(soonest, self.spent, left, &mut rand::rng());
        match next {
            Next::After(_) if self.idle > MOST_IDLE => Next::Fallback,
            Next::After(_) if mem::take(&mut self.paid) || self.shared.budget.withdraw(now) => next,
            Next::After(_) | Next::Fallback if self.selects => Next::Fallback,
            Next::After(_) | Next::Fallback => Next::Stop,
            next => next,
        }
    }

    fn finish<B>(&self, mut result: Result<Response<B>, BoxError>) -> Result<Response<B>, BoxError> {
        if let Ok(response) = &mut result {
            response.extensions_mut().insert(self.attempt.clone());
        }
        result
    }

    /// Nothing is left to try: the client is told of an attempt, or why there was none.
    fn give_up<B: From<Bytes>>(&mut self, why: BoxError) -> Result<Response<B>, BoxError> {
        if let Some(kept) = self.kept.take() {
            // The next attempt was never made.
            if let Some(last) = self.last.take() {
                self.attempt = last;
            }
            return self.finish(Ok(kept.map(B::from)));
        }
        let attempts = self.attempt.number() - 1;
        let backend = self.attempt.tried().next().and_then(|tried| tried.backend.clone());
        Err(match self.told.take() {
            Some(told) => told.exhausted(attempts, backend).into(),
            None => self.why.take().unwrap_or(why),
        })
    }
}

/// What the attempts before this one have spent of the chances on its model.
fn spent(attempt: &Attempt) -> Spent {
    let mut spent = Spent::default();
    for (at, tried) in attempt.tried().enumerate().filter(|(_, tried)| tried.fallback_index == attempt.fallback_index())
    {
        let before = attempt.tried().skip(at + 1).any(|earlier| earlier.backend == tried.backend);
        spent.attempts += 1;
        spent.on_tried += u32::from(before);
    }
    spent
}

/// The response with its body read, so that the attempt ends now and not when the client reads on.
async fn whole<B>(response: Response<B>) -> Option<Response<Bytes>>
where
    B: Body<Data = Bytes>,
{
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.ok()?.to_bytes();
    Some(Response::from_parts(parts, bytes))
}
