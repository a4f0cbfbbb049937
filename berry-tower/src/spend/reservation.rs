//! What one request has reserved, and how it is settled.

#![expect(clippy::disallowed_types, reason = "the state of one request, whose steps follow each other")]

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderValue;
use tokio::time::Instant;

use super::{
    Account, Measure, Money, SpendExceeded, SpendLimit, SpendOutcome, SpendRecord, Used,
    bill::{AttemptUse, Bill, RequestEnd, settle},
    estimate::{Estimates, Tokens},
    refusal,
    spender::Spender,
};
use crate::{
    attempt::BackendId,
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

    /// Settles the reservation and calls the observer, once.
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
        let mut limits = taken.iter().flat_map(|(_, limits)| limits);
        if let (Some(report), Some((tokens, _))) = (&spender.overshoot, settled)
            && let Some((_, reserved)) = limits.find(|(limit, _)| limit.measure() == Measure::Tokens)
            && tokens > *reserved
        {
            report(tokens - reserved);
        }
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
