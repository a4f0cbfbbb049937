//! The metrics that are read at the scrape: the states of backends, and what they count themselves.

use std::collections::{BTreeMap, HashSet};

use berry_tower::{
    backend::{BackendId, BackendStateSnapshot},
    breaker::State,
};
use metrics::{counter, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::time::Instant;

use super::names::describe;
use crate::state::Snapshot;

const HEALTH: &str = "backend_health_status";
const ATTEMPTS: &str = "backend_request_count_total";
const ERRORS: &str = "backend_error_count_total";
const IN_FLIGHT: &str = "backend_in_flight";
const SELECTIONS: &str = "load_balance_selections_total";
const CONFIDENCE: &str = "smart_ai_confidence_score";
const CIRCUIT: &str = "circuit_breaker_state";
const TRANSITIONS: &str = "circuit_breaker_transitions_total";
const RELOAD_OK: &str = "berry_config_last_reload_success";
const RELOAD_AT: &str = "berry_config_last_reload_timestamp_seconds";
const BUILD: &str = "berry_build_info";

pub(super) const READ: [(&str, &str); 11] = [
    (HEALTH, "1 for a healthy or recovering backend, else 0."),
    (ATTEMPTS, "Attempts of users that have ended, without probes."),
    (ERRORS, "Failed attempts, without errors of the caller and cancelled ones."),
    (IN_FLIGHT, "Attempts in flight."),
    (SELECTIONS, "Selections of a provider by a model's strategy."),
    (CONFIDENCE, "The confidence in a backend, from 0 to 1."),
    (CIRCUIT, "0 closed, 1 half-open, 2 open."),
    (TRANSITIONS, "Changes of the circuit breaker, by its new state."),
    (RELOAD_OK, "1 if the configuration that was loaded last is in force, 0 if it was refused."),
    (RELOAD_AT, "Time at which a configuration was last loaded."),
    (BUILD, "1, with the version as a label."),
];

/// The states of a breaker, by [`State::index`].
const BECAME: [State; 3] = [State::Closed { failures: 0 }, State::HalfOpen { trial: false }, State::Open { until: 0 }];

pub(super) fn render(snapshot: &Snapshot) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    describe(&recorder, &READ);
    with_local_recorder(&recorder, || {
        let (now, catalog) = (Instant::now(), snapshot.catalog.load());
        let used: HashSet<&BackendId> = catalog
            .models()
            .iter()
            .filter(|model| model.is_enabled())
            .flat_map(|model| model.backends())
            .filter(|backend| backend.is_enabled())
            .map(|backend| backend.id())
            .collect();
        catalog.states().for_each(|(id, live)| backend(id, &live.snapshot(now), used.contains(id)));
        selections(snapshot);
        // Without a reload, the start was a success.
        let reload = snapshot.process.last_reload.load();
        let (ok, at) = reload.as_deref().map_or((true, snapshot.loaded_at), |reload| (reload.ok, reload.at));
        gauge!(RELOAD_OK).set(if ok { 1.0 } else { 0.0 });
        gauge!(RELOAD_AT).set(at.as_millisecond() as f64 / 1e3);
        gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    });
    text(&recorder)
}

fn text(recorder: &PrometheusRecorder) -> String {
    recorder.handle().render()
}

/// Records a backend's counters, and its state if it is in use.
fn backend(id: &BackendId, live: &BackendStateSnapshot, used: bool) {
    let labels = || [("provider", id.provider.to_string()), ("model", id.model.to_string())];
    let with = |name: &'static str, value: &str| {
        let [provider, model] = labels();
        [provider, model, (name, value.to_owned())]
    };
    counter!(ATTEMPTS, &labels()).absolute(live.requests());
    for (class, n) in live.errors_by_class() {
        counter!(ERRORS, &with("class", class)).absolute(n);
    }
    gauge!(IN_FLIGHT, &labels()).set(live.view.in_flight);
    for (state, n) in BECAME.iter().zip(live.circuit_transitions) {
        counter!(TRANSITIONS, &with("to", state.name())).absolute(n);
    }
    if !used {
        return;
    }
    gauge!(HEALTH, &labels()).set(if live.view.is_healthy() { 1.0 } else { 0.0 });
    gauge!(CONFIDENCE, &labels()).set(live.view.confidence);
    gauge!(CIRCUIT, &labels()).set(live.circuit.index() as f64);
}

/// Sums the selections per provider, which a model may list more than once.
fn selections(snapshot: &Snapshot) {
    for model in snapshot.catalog.load().models() {
        let mut by_provider: BTreeMap<&str, u64> = BTreeMap::new();
        for backend in model.backends() {
            *by_provider.entry(&backend.id().provider).or_default() += backend.picks();
        }
        for (provider, n) in by_provider {
            let labels = [
                ("model", model.name().to_string()),
                ("provider", provider.to_owned()),
                ("strategy", model.strategy().name().to_owned()),
            ];
            counter!(SELECTIONS, &labels).absolute(n);
        }
    }
}
