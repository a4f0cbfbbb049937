//! The metrics that are read at the scrape: the states of backends, and what they count themselves.

use std::collections::{BTreeMap, HashSet};

use berry_tower::{
    backend::{BackendId, BackendStateSnapshot},
    breaker::State,
};
use tokio::time::Instant;

use super::{names::Metric, scrape::Scrape};
use crate::{observability::log, state::Snapshot};

/// The states of a breaker, by [`State::index`].
const BECAME: [State; 3] = [State::Closed { failures: 0 }, State::HalfOpen { trial: false }, State::Open { until: 0 }];

pub(super) fn read(snapshot: &Snapshot, scrape: &mut Scrape) {
    let (now, catalog) = (Instant::now(), snapshot.catalog.load());
    let used: HashSet<&BackendId> = catalog
        .models()
        .iter()
        .filter(|model| model.is_enabled())
        .flat_map(|model| model.backends())
        .filter(|backend| backend.is_enabled())
        .map(|backend| backend.id())
        .collect();
    catalog.states().for_each(|(id, live)| backend(id, &live.snapshot(now), used.contains(id), scrape));
    selections(snapshot, scrape);
    // Without a reload, the start was a success.
    let reload = snapshot.process.last_reload.load();
    let (ok, at) = reload.as_deref().map_or((true, snapshot.loaded_at), |reload| (reload.ok, reload.at));
    scrape.gauge(Metric::ReloadOk, Vec::new(), flag(ok));
    scrape.gauge(Metric::ReloadAt, Vec::new(), at.as_millisecond() as f64 / 1e3);
    scrape.gauge(Metric::Build, vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0);
    if let Some(left) = snapshot.retry_budget.remaining(now) {
        scrape.gauge(Metric::RetryBudget, Vec::new(), left as f64);
    }
    if snapshot.config.store.is_some() {
        let health = snapshot.store.health();
        scrape.gauge(Metric::StoreUp, Vec::new(), flag(health.is_available));
        scrape.count(Metric::StoreOutages, Vec::new(), health.outages);
        scrape.count(Metric::StoreErrors, Vec::new(), health.errors);
        scrape.gauge(Metric::StoreReplicas, Vec::new(), health.replicas as f64);
    }
    #[cfg(feature = "database")]
    database(snapshot, scrape);
    scrape.gauge(Metric::Queued, Vec::new(), snapshot.process.queued.get() as f64);
    scrape.count(Metric::LogLinesDropped, Vec::new(), log::dropped_lines());
}

/// Reads the state of the database, if there is one.
#[cfg(feature = "database")]
fn database(snapshot: &Snapshot, scrape: &mut Scrape) {
    let process = &snapshot.process;
    let (Some(directory), Some(ledger)) = (&process.directory, &process.ledger) else { return };
    scrape.gauge(Metric::DatabaseUp, Vec::new(), flag(directory.database().is_available()));
    scrape.gauge(Metric::Keys, Vec::new(), directory.len() as f64);
    scrape.gauge(Metric::LedgerQueued, Vec::new(), ledger.queued() as f64);
    for (result, rows) in [("written", ledger.written()), ("dropped", ledger.dropped())] {
        scrape.count(Metric::LedgerRows, vec![("result", result.to_owned())], rows);
    }
}

const fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// Reads a backend's counters, and its state if it is in use.
fn backend(id: &BackendId, live: &BackendStateSnapshot, used: bool, scrape: &mut Scrape) {
    let labels = || vec![("provider", id.provider.to_string()), ("model", id.model.to_string())];
    let with = |name: &'static str, value: &str| {
        let mut labels = labels();
        labels.push((name, value.to_owned()));
        labels
    };
    scrape.count(Metric::Attempts, labels(), live.requests());
    for (class, n) in live.errors_by_class() {
        scrape.count(Metric::Errors, with("class", class), n);
    }
    scrape.gauge(Metric::BackendInFlight, labels(), live.view.in_flight as f64);
    for (state, n) in BECAME.iter().zip(live.circuit_transitions) {
        scrape.count(Metric::Transitions, with("to", state.name()), n);
    }
    if !used {
        return;
    }
    scrape.gauge(Metric::Health, labels(), flag(live.view.is_healthy()));
    scrape.gauge(Metric::Confidence, labels(), live.view.confidence);
    scrape.gauge(Metric::Circuit, labels(), live.circuit.index() as f64);
}

/// Sums the selections per provider, which a model may list more than once.
fn selections(snapshot: &Snapshot, scrape: &mut Scrape) {
    for model in snapshot.catalog.load().models() {
        let mut by_provider: BTreeMap<&str, u64> = BTreeMap::new();
        for backend in model.backends() {
            *by_provider.entry(&backend.id().provider).or_default() += backend.picks();
        }
        for (provider, n) in by_provider {
            let labels = vec![
                ("model", model.name().to_string()),
                ("provider", provider.to_owned()),
                ("strategy", model.strategy().name().to_owned()),
            ];
            scrape.count(Metric::Selections, labels, n);
        }
    }
}
