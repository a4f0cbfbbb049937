//! What one request has reserved, and how it is settled.

#![expect(clippy::disallowed_types, reason = "the state of one request, whose steps follow each other")]

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

use super::{
    Account, Measure, Money, SpendExceeded, SpendLimit, SpendOutcome, SpendRecord, Used,
    estimate::{Estimates, Tokens},
    refusal,
    spender::Spender,
};
use crate::{
    attempt::BackendId,
    body::{End, Guard},
    endpoint::Endpoint,
    progress::{Progress, Usage},
    store::{Charge, Receipt},
};

/// What one request has reserved; in its extensions, put by [`Spend`](super::Spend).
///
/// [`Reprice`](super::Reprice) follows the price of each backend that an attempt goes to, and notes
/// what the attempt has used.
#[derive(Clone)]
pub struct Reservation(Arc<Shared>);

struct Shared {
    spender: Arc<Spender>,
    account: Option<Account>,
    context: Option<Arc<dyn Any + Send + Sync>>,
    request_id: Option<HeaderValue>,
    model: Arc<str>,
    endpoint: Option<Endpoint>,
    is_stream: bool,
    estimates: Estimates,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: Vec<(Receipt, Vec<(SpendLimit, u64)>)>,
    /// The cost that is reserved.
    cost: Money,
    attempts: Vec<AttemptUse>,
    is_settled: bool,
}

/// An attempt, and what it has used so far.
struct AttemptUse {
    model: Arc<str>,
    backend: BackendId,
    progress: Option<Progress>,
}

/// What the facts of a request are, besides its body.
pub(super) struct Facts {
    pub(super) account: Option<Account>,
    pub(super) context: Option<Arc<dyn Any + Send + Sync>>,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) model: Arc<str>,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) is_stream: bool,
    pub(super) estimates: Estimates,
}

/// The units to take: the limits with their units, and the charges of the store.
pub(super) type Demand = (Vec<(SpendLimit, u64)>, Vec<Charge>);

impl Reservation {
    pub(super) fn new(spender: Arc<Spender>, facts: Facts) -> Self {
        let Facts { account, context, request_id, model, endpoint, is_stream, estimates } = facts;
        let (started, state) = (Instant::now(), Mutex::default());
        Self(Arc::new(Shared {
            spender,
            account,
            context,
            request_id,
            model,
            endpoint,
            is_stream,
            estimates,
            started,
            state,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn group(&self) -> Option<&Arc<str>> {
        self.0.account.as_ref().filter(|account| account.has_limits()).map(Account::group)
    }

    pub(super) fn spender(&self) -> &Arc<Spender> {
        &self.0.spender
    }

    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        self.0.endpoint
    }

    /// Returns what the request may use of each limit; the error is the first that it can never fit.
    pub(super) fn demand(&self) -> Result<Demand, (SpendLimit, u64)> {
        let Shared { spender, account, model, estimates, .. } = &*self.0;
        let Tokens { input, output } = estimates.get(spender.tokens_by);
        let cost = self.cost_at_most(model, None);
        let subjects = account.iter().flat_map(Account::subjects);
        let (mut limits, mut charges) = (Vec::new(), Vec::new());
        for counter in subjects.flat_map(|subject| subject.counters(model)) {
            let units = match counter.limit.measure() {
                Measure::Requests | Measure::Concurrency => 1,
                Measure::Tokens => input.saturating_add(output),
                Measure::Cost => cost.nanos(),
            };
            let is_size = matches!(counter.limit.measure(), Measure::Tokens | Measure::Cost);
            if is_size && units > counter.limit.rule().limit() {
                return Err((counter.limit, units));
            }
            limits.push((counter.limit, units));
            charges.push(Charge::new(counter.key.clone(), counter.limit.rule(), units));
        }
        Ok((limits, charges))
    }

    /// Returns the additional cost of an attempt on a backend, if it is more than what is reserved.
    pub(super) fn more_for(&self, model: &str, backend: &BackendId) -> Option<(Demand, Money)> {
        let account = self.0.account.as_ref().filter(|account| account.has_limits())?;
        let cost = self.cost_at_most(model, Some(backend));
        let more = cost.saturating_sub(self.state().cost);
        if more == Money::ZERO {
            return None;
        }
        let counters = account.subjects().iter().flat_map(|subject| subject.counters(&self.0.model));
        let of_cost = counters.filter(|counter| counter.limit.measure() == Measure::Cost);
        let demand: Demand = of_cost
            .map(|counter| {
                let charge = Charge::new(counter.key.clone(), counter.limit.rule(), more.nanos());
                ((counter.limit, more.nanos()), charge)
            })
            .unzip();
        (!demand.0.is_empty()).then_some((demand, cost))
    }

    fn cost_at_most(&self, model: &str, backend: Option<&BackendId>) -> Money {
        let Shared { spender, estimates, .. } = &*self.0;
        let Tokens { input, output } = estimates.get(spender.cost_by);
        let usage = Usage { input, output, ..Usage::default() };
        spender.cost.at_most(&Used::new(model, backend, usage)).unwrap_or_default()
    }

    /// Keeps the receipt of what was taken. A request that has ended meanwhile gives it back.
    pub(super) fn keep(&self, receipt: Receipt, limits: Vec<(SpendLimit, u64)>, cost: Option<Money>) {
        let mut state = self.state();
        if state.is_settled {
            drop(state);
            let nothing = vec![0; limits.len()];
            return self.0.spender.settle(receipt, nothing);
        }
        state.cost = cost.unwrap_or_else(|| self.cost_at_most(&self.0.model, None)).max(state.cost);
        state.taken.push((receipt, limits));
    }

    pub(super) fn begin_attempt(&self, model: Arc<str>, backend: BackendId) -> usize {
        let mut state = self.state();
        state.attempts.push(AttemptUse { model, backend, progress: None });
        state.attempts.len() - 1
    }

    pub(super) fn answered(&self, attempt: usize, progress: Option<&Progress>) {
        if let Some(attempt) = self.state().attempts.get_mut(attempt) {
            attempt.progress = progress.cloned();
        }
    }

    /// Settles the reservation and tells the observer, once.
    pub(super) fn finish(&self, end: &RequestEnd) {
        let mut state = self.state();
        if std::mem::replace(&mut state.is_settled, true) {
            return;
        }
        let (taken, attempts) = (std::mem::take(&mut state.taken), std::mem::take(&mut state.attempts));
        drop(state);
        let Shared { spender, model, estimates, .. } = &*self.0;
        let bill = Bill::of(spender, end, &attempts, model);
        if let (SpendOutcome::Complete, Some(usage)) = (end.outcome, bill.usage) {
            spender.usual.record(model, usage.output);
        }
        let settled = bill.settled(end, estimates, spender, model);
        settle(spender, taken, settled);
        let Some(observer) = &spender.observer else { return };
        let first_output = end.progress.as_ref().and_then(Progress::first_output);
        observer.settled(&SpendRecord {
            account: self.0.account.as_ref(),
            context: self.0.context.as_ref(),
            request_id: self.0.request_id.as_ref(),
            model,
            endpoint: self.0.endpoint,
            is_stream: self.0.is_stream,
            served_model: bill.billed.map(|attempt| &attempt.model),
            backend: bill.billed.map(|attempt| &attempt.backend),
            usage: bill.usage,
            cost: bill.cost,
            wasted_usage: bill.wasted_usage,
            wasted: bill.wasted,
            attempts: end.attempts.unwrap_or(u32::try_from(attempts.len()).unwrap_or(u32::MAX)),
            status: end.status,
            outcome: end.outcome,
            started: self.0.started,
            elapsed: self.0.started.elapsed(),
            first_token_after: first_output
                .filter(|_| self.0.is_stream)
                .map(|at| at.saturating_duration_since(self.0.started)),
        });
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("model", &self.0.model).finish_non_exhaustive()
    }
}

/// How a request ended.
#[derive(Debug)]
pub(super) struct RequestEnd {
    pub(super) outcome: SpendOutcome,
    pub(super) status: Option<StatusCode>,
    pub(super) attempts: Option<u32>,
    pub(super) progress: Option<Progress>,
    pub(super) usage: Option<Usage>,
}

impl RequestEnd {
    pub(super) const fn without_response(outcome: SpendOutcome) -> Self {
        Self { outcome, status: None, attempts: None, progress: None, usage: None }
    }

    fn is_delivered(&self) -> bool {
        self.status.is_some_and(|status| status.is_success())
    }
}

/// Who pays for what of a request.
struct Bill<'a> {
    billed: Option<&'a AttemptUse>,
    usage: Option<Usage>,
    cost: Option<Money>,
    wasted_usage: Usage,
    wasted: Money,
}

impl<'a> Bill<'a> {
    /// The caller pays for the last attempt whose output it got; all others are wasted.
    fn of(spender: &Spender, end: &RequestEnd, attempts: &'a [AttemptUse], model: &str) -> Self {
        let has_output = |attempt: &AttemptUse| {
            let progress = attempt.progress.as_ref();
            progress.is_some_and(|progress| progress.output_seen() || progress.finished() || !progress.is_stream())
        };
        let at = attempts.iter().rposition(has_output).filter(|_| end.is_delivered());
        let billed = at.map(|at| &attempts[at]);
        let usage = match billed {
            Some(attempt) => attempt.progress.as_ref().and_then(Progress::usage),
            None if attempts.is_empty() => end.progress.as_ref().and_then(Progress::usage),
            None => None,
        };
        let usage = usage.or(end.usage);
        let (named, backend) = billed.map_or((model, None), |it| (&*it.model, Some(&it.backend)));
        let cost = usage.and_then(|usage| spender.cost.cost(&Used::new(named, backend, usage)));
        let (mut wasted_usage, mut wasted) = (Usage::default(), Money::ZERO);
        for (_, attempt) in attempts.iter().enumerate().filter(|(i, _)| Some(*i) != at) {
            let Some(usage) = attempt.progress.as_ref().and_then(Progress::usage) else { continue };
            wasted_usage = sum(wasted_usage, usage);
            let used = Used::new(&attempt.model, Some(&attempt.backend), usage);
            wasted += spender.cost.cost(&used).unwrap_or_default();
        }
        Self { billed, usage, cost, wasted_usage, wasted }
    }

    /// Returns the tokens and the cost that count against the limits; `None` is what was reserved.
    fn settled(&self, end: &RequestEnd, estimates: &Estimates, spender: &Spender, model: &str) -> Option<(u64, Money)> {
        if let Some(usage) = self.usage {
            return Some((usage.input.saturating_add(usage.output), self.cost.unwrap_or_default()));
        }
        let progress = self.billed.and_then(|attempt| attempt.progress.as_ref()).or(end.progress.as_ref());
        match end.outcome {
            // A complete response that does not tell its tokens.
            SpendOutcome::Complete if end.is_delivered() => None,
            // The client has got a part of a response whose tokens would have been told at its end.
            SpendOutcome::Cancelled | SpendOutcome::Interrupted
                if end.is_delivered() && progress.is_some_and(Progress::output_seen) =>
            {
                let output = progress.map_or(0, Progress::events).min(estimates.bound.output);
                let usage = Usage { input: estimates.likely.input, output, ..Usage::default() };
                let (named, backend) = self.billed.map_or((model, None), |it| (&*it.model, Some(&it.backend)));
                let cost = spender.cost.cost(&Used::new(named, backend, usage)).unwrap_or_default();
                Some((usage.input.saturating_add(output), cost))
            }
            _ => Some((0, Money::ZERO)),
        }
    }
}

fn sum(a: Usage, b: Usage) -> Usage {
    Usage {
        input: a.input.saturating_add(b.input),
        output: a.output.saturating_add(b.output),
        cached: a.cached.saturating_add(b.cached),
        cache_write: a.cache_write.saturating_add(b.cache_write),
        reasoning: a.reasoning.saturating_add(b.reasoning),
    }
}

/// Settles what was taken. Of several receipts, the first ones are used up first.
fn settle(spender: &Spender, taken: Vec<(Receipt, Vec<(SpendLimit, u64)>)>, settled: Option<(u64, Money)>) {
    let last = taken.len().saturating_sub(1);
    let mut cost = settled.map(|(_, cost)| cost.nanos());
    for (i, (receipt, limits)) in taken.into_iter().enumerate() {
        let of_cost = limits.iter().find(|(limit, _)| limit.measure() == Measure::Cost).map(|(_, units)| *units);
        let cost_here = match (of_cost, &mut cost) {
            (Some(units), Some(left)) => {
                let here = if i == last { *left } else { units.min(*left) };
                *left -= here;
                Some(here)
            }
            _ => None,
        };
        let used = |(limit, units): &(SpendLimit, u64)| match limit.measure() {
            Measure::Requests => *units,
            Measure::Concurrency => 0,
            Measure::Tokens => settled.map_or(*units, |(tokens, _)| tokens),
            Measure::Cost => cost_here.unwrap_or(*units),
        };
        let used: Vec<u64> = limits.iter().map(used).collect();
        let is_unchanged = limits.iter().zip(&used).all(|((_, units), used)| units == used);
        if !is_unchanged {
            spender.settle(receipt, used);
        }
    }
}

/// Settles a reservation when the body of the response has ended.
#[derive(Debug)]
pub struct SpendGuard(pub(super) Option<(Reservation, RequestEnd)>);

impl Guard for SpendGuard {
    fn ended(&mut self, end: End<'_>) {
        let Some((reservation, mut request_end)) = self.0.take() else { return };
        let progress = request_end.progress.as_ref();
        let is_interrupted = progress.is_some_and(Progress::is_interrupted);
        request_end.outcome = match end {
            _ if !request_end.is_delivered() => SpendOutcome::Failed,
            End::Complete if is_interrupted => SpendOutcome::Interrupted,
            End::Complete => SpendOutcome::Complete,
            End::Failed(_) => SpendOutcome::Interrupted,
            End::Dropped if progress.is_some_and(Progress::finished) => SpendOutcome::Complete,
            End::Dropped => SpendOutcome::Cancelled,
        };
        request_end.attempts = progress.and_then(Progress::attempts).max(request_end.attempts);
        reservation.finish(&request_end);
    }
}

/// Settles a reservation whose request ends without a response.
#[derive(Debug)]
pub(super) struct Pending(pub(super) Option<Reservation>);

impl Pending {
    pub(super) fn disarm(&mut self) {
        self.0 = None;
    }

    pub(super) fn fail(&mut self, error: &(dyn std::error::Error + 'static)) {
        let Some(reservation) = self.0.take() else { return };
        let is_refused = crate::error::find::<SpendExceeded>(error).is_some();
        let outcome = if is_refused { SpendOutcome::Refused } else { SpendOutcome::Failed };
        reservation.finish(&RequestEnd::without_response(outcome));
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(reservation) = self.0.take() {
            reservation.finish(&RequestEnd::without_response(SpendOutcome::Cancelled));
        }
    }
}

/// Takes more units for an attempt whose backend is dearer.
pub(super) async fn take_more(
    reservation: Reservation,
    (limits, charges): Demand,
    cost: Money,
) -> Result<(), SpendExceeded> {
    let Some(group) = reservation.group() else { return Ok(()) };
    let spender = reservation.spender();
    // The whole reservation, not the difference, is what could never fit.
    if let Some((limit, _)) = limits.iter().find(|(limit, _)| cost.nanos() > limit.rule().limit()) {
        return Err(SpendExceeded { refusal: refusal::never(limit, cost.nanos()), reached: None });
    }
    match spender.store.take(group, &charges).await {
        Ok(receipt) => {
            reservation.keep(receipt, limits, Some(cost));
            Ok(())
        }
        Err(error) => {
            let (refusal, reached) = refusal::refusal(&limits, &error);
            Err(SpendExceeded { refusal, reached })
        }
    }
}
