//! Liveness, readiness and health.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use berry_tower::backend::Backend;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{status::rfc3339, tags};
use crate::state::Snapshot;

/// The numbers of enabled models and backends, and of those that can serve now.
pub(super) struct HealthCounts {
    pub(super) models: usize,
    pub(super) usable_models: usize,
    pub(super) backends: usize,
    /// Backends that are healthy or recovering, cooling ones included.
    pub(super) healthy_backends: usize,
    usable_backends: usize,
    is_store_available: bool,
}

impl HealthCounts {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let now = Instant::now();
        let enabled = |backend: &&Arc<Backend>| backend.is_enabled();
        let usable = |backend: &&Arc<Backend>| {
            let view = backend.state().view(now);
            enabled(backend) && view.is_healthy() && view.is_free()
        };
        let healthy = |backend: &&Arc<Backend>| enabled(backend) && backend.state().view(now).is_healthy();
        let mut counts = Self {
            models: 0,
            usable_models: 0,
            backends: 0,
            healthy_backends: 0,
            usable_backends: 0,
            is_store_available: snapshot.store.health().is_available,
        };
        for model in snapshot.catalog.load().models().iter().filter(|model| model.is_enabled()) {
            let count = |which: &dyn Fn(&&Arc<Backend>) -> bool| model.backends().iter().filter(which).count();
            let here = count(&usable);
            counts.models += 1;
            counts.usable_models += usize::from(here > 0);
            counts.backends += count(&enabled);
            counts.healthy_backends += count(&healthy);
            counts.usable_backends += here;
        }
        counts
    }

    pub(super) fn status(&self) -> &'static str {
        match (self.usable_models, self.usable_backends == self.backends && self.is_store_available) {
            (0, _) => "unhealthy",
            (_, true) => "healthy",
            (_, false) => "degraded",
        }
    }
}

/// The response of `/health`.
#[derive(Serialize, ToSchema)]
#[schema(as = Health::Health)]
pub(super) struct Health {
    /// `healthy`; `degraded` when some backend or the store of limits is out; `unhealthy` when no model can be served.
    status: &'static str,
    /// The version of the server.
    version: &'static str,
    /// The time of the response.
    timestamp: String,
    /// The time since the server started.
    uptime_seconds: u64,
    /// Enabled models.
    models: Share,
    /// Enabled backends of enabled models.
    backends: Share,
}

/// A number of models or backends, and how many can serve now.
#[derive(Serialize, ToSchema)]
#[schema(as = Health::Share)]
struct Share {
    /// All of them.
    total: usize,
    /// Those that can serve now.
    available: usize,
}

/// The response of `/v1/health`, in the form of earlier versions.
#[derive(Serialize, ToSchema)]
#[schema(as = Health::V1)]
pub(super) struct V1Health {
    /// The same as in `/health`.
    status: &'static str,
    /// False while the server drains.
    service_running: bool,
    /// The models that can be served now.
    models_available: usize,
    /// The numbers of enabled providers, models and backends.
    summary: Summary,
    /// The time of the response.
    timestamp: String,
    /// The time since the server started.
    uptime_seconds: u64,
}

/// The numbers of enabled providers, models and backends.
#[derive(Serialize, ToSchema)]
#[schema(as = Health::Summary)]
struct Summary {
    /// Providers.
    providers: usize,
    /// Models.
    models: usize,
    /// Backends of enabled models.
    backends: usize,
}

/// Whether the gateway can serve, and how many backends are healthy.
#[utoipa::path(
    get,
    path = "/health",
    tag = tags::HEALTH,
    responses(
        (status = 200, body = Health),
        (status = 503, body = Health, description = "No enabled model has a usable backend."),
    ),
)]
pub(super) async fn health(State(snapshot): State<Arc<Snapshot>>) -> Response {
    let counts = HealthCounts::of(&snapshot);
    let code = if counts.usable_models == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let body = Health {
        status: counts.status(),
        version: env!("CARGO_PKG_VERSION"),
        timestamp: now(),
        uptime_seconds: snapshot.process.uptime().as_secs(),
        models: Share { total: counts.models, available: counts.usable_models },
        backends: Share { total: counts.backends, available: counts.usable_backends },
    };
    (code, Json(body)).into_response()
}

/// The health in the form of earlier versions; always a 200.
#[utoipa::path(get, path = "/v1/health", tag = tags::HEALTH, responses((status = 200, body = V1Health)))]
pub(super) async fn v1_health(State(snapshot): State<Arc<Snapshot>>) -> Json<V1Health> {
    let counts = HealthCounts::of(&snapshot);
    Json(V1Health {
        status: counts.status(),
        service_running: !snapshot.process.is_draining(),
        models_available: counts.usable_models,
        summary: Summary {
            providers: snapshot.config.providers.values().filter(|provider| provider.enabled).count(),
            models: counts.models,
            backends: counts.backends,
        },
        timestamp: now(),
        uptime_seconds: snapshot.process.uptime().as_secs(),
    })
}

/// Whether the process is alive.
#[utoipa::path(
    get,
    path = "/livez",
    tag = tags::HEALTH,
    responses((status = 200, body = String, content_type = "text/plain", description = "The process is alive.")),
)]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the server is ready for traffic.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = tags::HEALTH,
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "The server is ready for traffic."),
        (status = 503, body = String, content_type = "text/plain",
         description = "Draining, not yet probed, or without a usable backend."),
    ),
)]
pub(super) async fn readyz(State(snapshot): State<Arc<Snapshot>>) -> (StatusCode, &'static str) {
    if snapshot.process.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if !snapshot.process.is_probed() {
        (StatusCode::SERVICE_UNAVAILABLE, "the first round of probes is in progress\n")
    } else if HealthCounts::of(&snapshot).usable_models == 0 {
        (StatusCode::SERVICE_UNAVAILABLE, "no model has a usable backend\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// Returns the current time in the format of the status endpoints.
pub(super) fn now() -> String {
    rfc3339(Timestamp::now())
}
