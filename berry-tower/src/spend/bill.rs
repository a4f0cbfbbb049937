//! Who pays for what of a request, once it has ended.

use std::sync::Arc;

use http::StatusCode;

use super::{Measure, Money, SpendLimit, SpendOutcome, Used, estimate::Estimates, spender::Spender};
use crate::{
    attempt::BackendId,
    progress::{Progress, Usage},
    store::Receipt,
};

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

    pub(super) fn is_delivered(&self) -> bool {
        self.status.is_some_and(|status| status.is_success())
    }
}

/// An attempt, and what it has used so far.
pub(super) struct AttemptUse {
    pub(super) model: Arc<str>,
    pub(super) backend: BackendId,
    pub(super) progress: Option<Progress>,
}

/// Who pays for what of a request.
pub(super) struct Bill<'a> {
    pub(super) billed: Option<&'a AttemptUse>,
    pub(super) usage: Option<Usage>,
    pub(super) cost: Option<Money>,
    pub(super) wasted_usage: Usage,
    pub(super) wasted: Money,
}

impl<'a> Bill<'a> {
    /// The caller pays for the last attempt whose output it got; all others are wasted.
    pub(super) fn of(spender: &Spender, end: &RequestEnd, attempts: &'a [AttemptUse], model: &str) -> Self {
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
    pub(super) fn settled(
        &self,
        end: &RequestEnd,
        estimates: &Estimates,
        spender: &Spender,
        model: &str,
    ) -> Option<(u64, Money)> {
        let progress = self.billed.and_then(|attempt| attempt.progress.as_ref()).or(end.progress.as_ref());
        let is_part = matches!(end.outcome, SpendOutcome::Cancelled | SpendOutcome::Interrupted)
            && end.is_delivered()
            && progress.is_some_and(Progress::output_seen);
        // The token counts would have come at the end of the response.
        let events = progress.filter(|_| is_part).map_or(0, Progress::events).min(estimates.bound.output);
        match self.usage {
            Some(usage) if usage.output >= events => {
                Some((usage.input.saturating_add(usage.output), self.cost.unwrap_or_default()))
            }
            // A complete response without token counts.
            None if end.outcome == SpendOutcome::Complete && end.is_delivered() => None,
            None if !is_part => Some((0, Money::ZERO)),
            told => {
                let unknown = Usage { input: estimates.likely.input, ..Usage::default() };
                let usage = Usage { output: events, ..told.unwrap_or(unknown) };
                let (named, backend) = self.billed.map_or((model, None), |it| (&*it.model, Some(&it.backend)));
                let cost = spender.cost.cost(&Used::new(named, backend, usage)).unwrap_or_default();
                Some((usage.input.saturating_add(usage.output), cost))
            }
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
pub(super) fn settle(spender: &Spender, taken: Vec<(Receipt, Vec<(SpendLimit, u64)>)>, settled: Option<(u64, Money)>) {
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
