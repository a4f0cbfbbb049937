//! Exemplars: for each series of durations, the slowest request or attempt whose trace was exported since the last export
//! of metrics. Finding them costs requests nothing.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use berry_tower::{backend::BackendId, trace_context::TraceContext};
use tokio::time::Instant;

use super::{clock::Clock, spans::FinishedRequest};
use crate::observability::metrics::{Metric, scrape::Series};

/// The exemplars of one period. Only what the configuration names has some, so that clients cannot add to them.
#[derive(Debug, Default)]
pub(super) struct Exemplars {
    by_endpoint: HashMap<Arc<str>, Exemplar>,
    by_backend: HashMap<BackendId, Exemplar>,
}

/// One observation, with the span that it is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exemplar {
    pub(super) seconds: f64,
    /// In nanoseconds since the Unix epoch.
    pub(super) at: u64,
    pub(super) span: TraceContext,
}

impl Exemplars {
    pub(super) fn add(&mut self, request: &FinishedRequest, clock: &Clock) {
        let exemplar = |elapsed: Duration, ended: Instant, span| Exemplar {
            seconds: elapsed.as_secs_f64(),
            at: clock.nanos(ended),
            span,
        };
        let server = request.trace.context();
        if request.is_model_request {
            let slow = exemplar(request.ended - request.started, request.ended, server);
            keep_slowest(&mut self.by_endpoint, request.path.clone(), slow);
        }
        for attempt in request.trace.attempts() {
            let slow = exemplar(attempt.elapsed, attempt.ended, server.of_attempt(attempt.number));
            keep_slowest(&mut self.by_backend, attempt.backend.id().clone(), slow);
        }
    }

    /// Returns the exemplar of a series.
    pub(super) fn of(&self, metric: Metric, series: &Series) -> Option<&Exemplar> {
        let label = |name| series.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str());
        match metric {
            Metric::Duration => self.by_endpoint.get(label("path")?),
            Metric::AttemptDuration => {
                let id = BackendId { provider: label("provider")?.into(), model: label("model")?.into() };
                self.by_backend.get(&id)
            }
            _ => None,
        }
    }
}

fn keep_slowest<K: Hash + Eq>(kept: &mut HashMap<K, Exemplar>, key: K, slow: Exemplar) {
    match kept.entry(key) {
        Entry::Occupied(before) if before.get().seconds >= slow.seconds => {}
        Entry::Occupied(mut before) => *before.get_mut() = slow,
        Entry::Vacant(free) => _ = free.insert(slow),
    }
}
