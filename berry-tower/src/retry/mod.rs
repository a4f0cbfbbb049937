//! Retry with failover: a failed request goes to another backend before the client notices.
//!
//! [`Retry`] needs `Request<Buffered>` (put an [`Inspect`](crate::inspect) outside) and gives each
//! attempt an [`Attempt`] in its extensions, by which a [`Select`](crate::select) inside picks a
//! backend that was not tried yet. It decides *whether and when*; *who* is the selection's to say.
//! Without a selection behind it, it asks the same service again after a back-off.
//!
//! It fails with [`Exhausted`](crate::error::Exhausted) when all attempts failed, with
//! [`TotalTimeout`] when its deadline passed, and passes on a selection's refusal.
//!
//! ```
//! use berry_tower::{body::Buffered, retry::{Plan, RetryLayer}};
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
//! let response = RetryLayer::new(Plan::default()).layer(flaky).oneshot(Request::default()).await;
//! assert_eq!(response.unwrap().status(), 200);
//!
//! CALLS.store(0, Relaxed);
//! let once = Plan { max_retries: 1, ..Plan::default() };
//! let error = RetryLayer::new(once).layer(flaky).oneshot(Request::default()).await.unwrap_err();
//! assert_eq!(error.to_string(), "all 2 attempts failed: the provider answered 503");
//! # }
//! ```

mod budget;
mod policy;
mod told;

use std::{
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, timeout_at};
use tower_layer::Layer;
use tower_service::Service;

pub use budget::{BUDGET_WINDOW, Budget};
pub use policy::{Next, Plan, RetryPolicy, Spent};

use crate::{
    attempt::{Attempt, Return},
    body::Buffered,
    classify::{Class, Classify, ErrorBody, Standard},
    error::{BoxError, BreakerOpen, Failure, MissingLayer, TotalTimeout, Unroutable, find},
};
use told::Told;

/// How often in a row nobody may be asked, for want of a trial slot or the end of a cool-down that
/// others draw out, before the request gives up on the model.
const MOST_IDLE: u32 = 8;

/// Adds [`Retry`] to a service.
#[derive(Debug)]
pub struct RetryLayer<P = Plan, C = Standard> {
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
    /// Retries as `policy` says, with the standard verdicts and budget, and no total deadline.
    pub fn new(policy: P) -> Self {
        let shared = Shared { policy, classify: Standard, budget: Arc::default(), total: None };
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
pub struct Retry<S, P = Plan, C = Standard> {
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
        let inner = mem::replace(&mut self.inner, next);
        let shared = self.shared.clone();
        Box::pin(async move {
            let now = Instant::now();
            let deadline = shared.total.map(|total| now + total);
            let attempt = request.extensions().get::<Attempt>().cloned().unwrap_or_else(Attempt::first);
            let resumes = attempt.number() > 1;
            if !resumes {
                shared.budget.deposit(now);
            }
            let run = Run {
                shared,
                deadline,
                spent: spent(&attempt),
                attempt,
                paid: false,
                told: None,
                kept: None,
                last: None,
                selects: false,
                why: None,
                idle: 0,
                lost: false,
            };
            run.run(inner, request).await
        })
    }
}

/// One request on its way from attempt to attempt.
struct Run<P, C> {
    shared: Arc<Shared<P, C>>,
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
    async fn run<S, B>(mut self, mut inner: S, request: Request<Buffered>) -> Result<Response<B>, BoxError>
    where
        S: Service<Request<Buffered>, Response = Response<B>>,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + From<Bytes>,
    {
        let mut next = self.begin();
        loop {
            match next {
                Next::Now if mem::take(&mut self.lost) => self.attempt = self.attempt.again(),
                Next::Now => self.attempt = self.attempt.allowing_tried(false),
                Next::After(wait) => {
                    sleep(wait).await;
                    self.attempt = self.attempt.allowing_tried(true);
                }
                Next::NextLeg => {
                    self.attempt = self.attempt.next_leg();
                    self.spent = Spent::default();
                    self.idle = 0;
                }
                Next::Stop => return self.give_up(Unroutable::NoneLeft { next_leg: false }.into()),
            }
            let result = self.send(&mut inner, &request).await;
            next = match self.judge(result).await {
                Outcome::Done(result) => return self.finish(result),
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
                    Next::NextLeg
                }
                Outcome::NoSuchLeg(why) => return self.give_up(why),
                // What was learnt before may be worth more than that time has run out.
                Outcome::Expired(why) => {
                    self.told = self.told.filter(Told::outranks_timeout);
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
                    if self.lost { Next::Now } else { Next::NextLeg }
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
            Next::NextLeg if !self.selects => Next::Stop,
            next => next,
        }
    }

    async fn send<S, B>(&self, inner: &mut S, request: &Request<Buffered>) -> Result<Response<B>, BoxError>
    where
        S: Service<Request<Buffered>, Response = Response<B>>,
        S::Error: Into<BoxError>,
    {
        let mut request = request.clone();
        request.extensions_mut().insert(self.attempt.clone());
        let send = async {
            poll_fn(|cx| inner.poll_ready(cx)).await.map_err(Into::into)?;
            inner.call(request).await.map_err(Into::into)
        };
        match self.deadline {
            None => send.await,
            Some(deadline) => timeout_at(deadline, send).await.unwrap_or_else(|_| Err(TotalTimeout.into())),
        }
    }

    async fn judge<B>(&mut self, result: Result<Response<B>, BoxError>) -> Outcome<B>
    where
        B: Body<Data = Bytes>,
    {
        match result {
            Ok(response) => {
                let error = response.extensions().get::<ErrorBody>();
                let class = self.shared.classify.response(response.status(), response.headers(), error);
                if !class.fails_over() && class != Class::TooLong {
                    return Outcome::Done(Ok(response));
                }
                let told = Told::response(class, response.status(), error);
                if class == Class::TooLong {
                    self.kept = whole(response).await;
                }
                self.failed(class, told, false)
            }
            Err(error) if error.is::<TotalTimeout>() => Outcome::Expired(error),
            Err(error) if find::<MissingLayer>(&*error).is_some() => Outcome::Done(Err(error)),
            Err(error) if find::<BreakerOpen>(&*error).is_some() => Outcome::LostRace(error),
            Err(error) => match find::<Unroutable>(&*error) {
                Some(Unroutable::NoFresh { soonest }) => Outcome::OnlyTried(*soonest),
                Some(Unroutable::NoneLeft { next_leg: false }) => Outcome::NoSuchLeg(error),
                Some(Unroutable::UnknownModel) if self.attempt.leg() == 0 => Outcome::Done(Err(error)),
                Some(_) => {
                    self.selects = true;
                    Outcome::NobodyLeft(error)
                }
                None => {
                    let (class, failure) = (self.shared.classify.error(&*error), Failure::find(&*error));
                    let silent = matches!(failure, Some(Failure::Timeout(deadline)) if deadline.is_silence());
                    self.failed(class, Told::failure(class, failure), silent)
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
        self.attempt = self.attempt.next(Return::after(class, silent));
        match self.shared.policy.after(class, self.spent) {
            // Without a selection there is one service and one model, and it has been tried.
            Next::Now if !selects && matches!(class, Class::Auth | Class::Model | Class::Unserved) => {
                Outcome::Failed(Next::Stop)
            }
            Next::Now if !selects => Outcome::OnlyTried(match class {
                Class::RateLimited { retry_after: Some(wait) } => wait,
                _ => Duration::ZERO,
            }),
            Next::NextLeg if !selects => Outcome::Failed(Next::Stop),
            next => Outcome::Failed(next),
        }
    }

    /// Asks the policy, then the budget, whether a tried backend may be asked again.
    fn again(&mut self, soonest: Duration) -> Next {
        let now = Instant::now();
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(now));
        let next = self.shared.policy.again(soonest, self.spent, left, &mut rand::rng());
        match next {
            Next::After(_) if self.idle > MOST_IDLE => Next::NextLeg,
            Next::After(_) if mem::take(&mut self.paid) || self.shared.budget.withdraw(now) => next,
            Next::After(_) | Next::NextLeg if self.selects => Next::NextLeg,
            Next::After(_) | Next::NextLeg => Next::Stop,
            next => next,
        }
    }

    fn finish<B>(self, mut result: Result<Response<B>, BoxError>) -> Result<Response<B>, BoxError> {
        if let Ok(response) = &mut result {
            response.extensions_mut().insert(self.attempt);
        }
        result
    }

    /// Nothing is left to try: the client is told of an attempt, or why there was none.
    fn give_up<B: From<Bytes>>(mut self, why: BoxError) -> Result<Response<B>, BoxError> {
        if let Some(kept) = self.kept.take() {
            // The next attempt was never made.
            self.attempt = self.last.take().unwrap_or(self.attempt);
            return self.finish(Ok(kept.map(B::from)));
        }
        let attempts = self.attempt.number() - 1;
        let backend = self.attempt.tried().next().and_then(|tried| tried.backend.clone());
        Err(self.told.map_or(self.why.unwrap_or(why), |told| told.exhausted(attempts, backend).into()))
    }
}

/// What the attempts before this one have spent of the chances on its model.
fn spent(attempt: &Attempt) -> Spent {
    let mut spent = Spent::default();
    for (at, tried) in attempt.tried().enumerate().filter(|(_, tried)| tried.leg == attempt.leg()) {
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
