//! The state of the whole gateway as JSON: providers, their models, and the selections.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, routing::get};
use berry_tower::backend::{BackendId, BackendStateSnapshot};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    context::Context,
    health::HealthCounts,
    status::{Moment, average_latency_ms, of_provider, provider_health},
    tags,
};
use crate::{config, state::Snapshot};

/// The route.
pub(super) fn routes() -> Router<Context> {
    Router::new().route("/metrics", get(metrics))
}

/// The response of `/metrics`.
#[derive(Serialize, ToSchema)]
#[schema(as = Metrics::Metrics)]
pub(super) struct Metrics {
    /// `healthy`, `degraded` or `unhealthy`, as `/health` says.
    status: &'static str,
    /// The time of the response.
    timestamp: String,
    /// The time since the server started.
    uptime_seconds: u64,
    /// By id.
    providers: BTreeMap<String, Provider>,
    /// The selections of backends.
    load_balancer: LoadBalancer,
}

/// The attempts of users at a provider, without probes.
#[derive(Serialize, ToSchema)]
#[schema(as = Metrics::Provider)]
struct Provider {
    /// Whether it is enabled and has a healthy backend; null if no model uses it.
    healthy: Option<bool>,
    /// The time of the last probe or connectivity check.
    last_check: Option<String>,
    /// The attempts that have ended.
    total_requests: u64,
    /// The successful ones.
    successful_requests: u64,
    /// The failed ones, without errors of the caller and cancelled ones.
    failed_requests: u64,
    /// The average time to the first byte.
    average_latency_ms: Option<f64>,
    /// The models that the gateway uses, by the provider's name.
    models: BTreeMap<String, Backend>,
}

/// The attempts of users at a provider's model.
#[derive(Serialize, ToSchema)]
#[schema(as = Metrics::Backend)]
struct Backend {
    /// Whether it is healthy or recovering.
    healthy: bool,
    /// The attempts that have ended.
    requests: u64,
    /// The failed ones.
    errors: u64,
    /// `closed`, `half_open` or `open`.
    circuit: &'static str,
    /// The confidence, from 0 to 1.
    confidence: f64,
    /// Requests in flight.
    in_flight: u32,
}

/// The selections of backends.
#[derive(Serialize, ToSchema)]
#[schema(as = Metrics::LoadBalancer)]
struct LoadBalancer {
    /// All selections, those for retries included.
    total_selections: u64,
    /// The selections by strategy, for each strategy in use.
    strategy_distribution: BTreeMap<&'static str, u64>,
}

impl Provider {
    fn of(provider: &config::Provider, backends: &[(&BackendId, BackendStateSnapshot)], moment: &Moment) -> Self {
        let sum = |of: fn(&BackendStateSnapshot) -> u64| backends.iter().map(|(_, live)| of(live)).sum();
        Self {
            healthy: provider_health(provider.enabled, backends),
            last_check: moment.ago(backends.iter().filter_map(|(_, live)| checked(live)).min()),
            total_requests: sum(BackendStateSnapshot::requests),
            successful_requests: sum(BackendStateSnapshot::successes),
            failed_requests: sum(BackendStateSnapshot::errors),
            average_latency_ms: average_latency_ms(backends.iter().map(|(_, live)| live)),
            models: backends.iter().map(|(id, live)| (id.model.to_string(), Backend::of(live))).collect(),
        }
    }
}

/// Returns how long ago the last check of any kind was.
fn checked(live: &BackendStateSnapshot) -> Option<Duration> {
    [live.last_probe, live.last_connectivity_check].into_iter().flatten().min()
}

impl Backend {
    fn of(live: &BackendStateSnapshot) -> Self {
        Self {
            healthy: live.view.is_healthy(),
            requests: live.requests(),
            errors: live.errors(),
            circuit: live.circuit.name(),
            confidence: live.view.confidence,
            in_flight: live.view.in_flight,
        }
    }
}

impl LoadBalancer {
    fn of(snapshot: &Snapshot) -> Self {
        let mut strategy_distribution = BTreeMap::new();
        for model in snapshot.catalog.load().models() {
            let picks: u64 = model.backends().iter().map(|backend| backend.picks()).sum();
            *strategy_distribution.entry(model.strategy().name()).or_insert(0) += picks;
        }
        Self { total_selections: strategy_distribution.values().sum(), strategy_distribution }
    }
}

/// The state of every provider and its models, and the selections of each strategy.
#[utoipa::path(get, path = "/metrics", tag = tags::STATUS, responses((status = 200, body = Metrics)))]
pub(super) async fn metrics(State(snapshot): State<Arc<Snapshot>>) -> Json<Metrics> {
    let moment = Moment::now();
    let catalog = snapshot.catalog.load();
    let provider = |(id, provider): (&String, &config::Provider)| {
        (id.clone(), Provider::of(provider, &of_provider(&catalog, id, &moment), &moment))
    };
    Json(Metrics {
        status: HealthCounts::of(&snapshot).status(),
        timestamp: moment.timestamp(),
        uptime_seconds: snapshot.process.uptime().as_secs(),
        providers: snapshot.config.providers.iter().map(provider).collect(),
        load_balancer: LoadBalancer::of(&snapshot),
    })
}
