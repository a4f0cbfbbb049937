//! What is read when it is asked for: the states of backends, and what they count themselves.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::Ordering::Relaxed,
};

use berry_tower::{
    backend::{BackendId, BackendStateSnapshot},
    breaker::State,
};
use metrics::{counter, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::time::Instant;

use super::describe;
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
    (HEALTH, "1 for a backend that is healthy or on its way back to that, else 0."),
    (ATTEMPTS, "Attempts of users that have ended; probes are not in it."),
    (ERRORS, "Attempts that failed, but for the callers' own mistakes and those that clients left."),
    (IN_FLIGHT, "Attempts under way."),
    (SELECTIONS, "How often a model's strategy has chosen a provider."),
    (CONFIDENCE, "The confidence in a backend, 0 to 1."),
    (CIRCUIT, "0 closed, 1 half-open, 2 open."),
    (TRANSITIONS, "Changes of the circuit breaker, by what it became."),
    (RELOAD_OK, "1 when the last configuration read is in force, 0 when it was refused."),
    (RELOAD_AT, "When a configuration was read last."),
    (BUILD, "1, with the version as a label."),
];

/// What the breakers become, by [`State::index`].
const BECAME: [State; 3] = [State::Closed { failures: 0 }, State::HalfOpen { trial: false }, State::Open { until: 0 }];

pub(super) fn render(snapshot: &Snapshot) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    describe(&recorder, &READ);
    with_local_recorder(&recorder, || {
        let (now, catalog) = (Instant::now(), snapshot.catalog.load());
        let used: HashSet<&BackendId> = catalog
            .models()
            .iter()
            .filter(|model| model.enabled)
            .flat_map(|model| &model.backends)
            .filter(|backend| backend.enabled && backend.provider.enabled)
            .map(|backend| &backend.id)
            .collect();
        catalog.states().for_each(|(id, live)| backend(id, &live.snapshot(now), used.contains(id)));
        selections(snapshot);
        // The start was a success, or nobody would ask.
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

/// What it has counted stays; the state of one that nobody may ask, `used` or not, is no news.
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

/// A model may list a provider more than once, with several of its models.
fn selections(snapshot: &Snapshot) {
    for model in snapshot.catalog.load().models() {
        let mut by_provider: BTreeMap<&str, u64> = BTreeMap::new();
        for backend in &model.backends {
            *by_provider.entry(&backend.id.provider).or_default() += backend.picks.load(Relaxed);
        }
        for (provider, n) in by_provider {
            let labels = [
                ("model", model.name.to_string()),
                ("provider", provider.to_owned()),
                ("strategy", model.strategy.name().to_owned()),
            ];
            counter!(SELECTIONS, &labels).absolute(n);
        }
    }
}
