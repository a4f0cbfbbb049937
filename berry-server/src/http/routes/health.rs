//! Whether the gateway lives, is ready, and how its backends are.

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

/// How many of the enabled models and their backends can serve now.
pub(super) struct Census {
    pub(super) models: usize,
    pub(super) usable_models: usize,
    pub(super) backends: usize,
    /// Healthy or recovering, though perhaps left alone for now.
    pub(super) healthy_backends: usize,
    usable_backends: usize,
}

impl Census {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let now = Instant::now();
        let enabled = |backend: &&Arc<Backend>| backend.enabled && backend.provider.enabled;
        let usable = |backend: &&Arc<Backend>| {
            let view = backend.state.view(now);
            enabled(backend) && view.is_healthy() && view.is_free()
        };
        let healthy = |backend: &&Arc<Backend>| enabled(backend) && backend.state.view(now).is_healthy();
        let mut census = Self { models: 0, usable_models: 0, backends: 0, healthy_backends: 0, usable_backends: 0 };
        for model in snapshot.catalog.load().models().iter().filter(|model| model.enabled) {
            let count = |which: &dyn Fn(&&Arc<Backend>) -> bool| model.backends.iter().filter(which).count();
            let here = count(&usable);
            census.models += 1;
            census.usable_models += usize::from(here > 0);
            census.backends += count(&enabled);
            census.healthy_backends += count(&healthy);
            census.usable_backends += here;
        }
        census
    }

    pub(super) fn status(&self) -> &'static str {
        match (self.usable_models, self.usable_backends == self.backends) {
            (0, _) => "unhealthy",
            (_, true) => "healthy",
            (_, false) => "degraded",
        }
    }
}

/// How the gateway is.
#[derive(Serialize, ToSchema)]
#[schema(as = Health::Health)]
pub(super) struct Health {
    /// `healthy`; `degraded` when some backend is out; `unhealthy` when no model can be served.
    status: &'static str,
    /// The version of the server.
    version: &'static str,
    /// When this was so.
    timestamp: String,
    /// Since the process began to serve.
    uptime_seconds: u64,
    /// Enabled models.
    models: Share,
    /// Enabled backends of enabled models.
    backends: Share,
}

/// How many there are, and how many can serve now.
#[derive(Serialize, ToSchema)]
#[schema(as = Health::Share)]
struct Share {
    /// All.
    total: usize,
    /// Those that can serve now.
    available: usize,
}

/// How the gateway is, in the old form.
#[derive(Serialize, ToSchema)]
#[schema(as = Health::V1)]
pub(super) struct V1Health {
    /// As `/health` says.
    status: &'static str,
    /// False once the server is on its way out.
    service_running: bool,
    /// Models that can be served now.
    models_available: usize,
    /// What is configured and enabled.
    summary: Summary,
    /// When this was so.
    timestamp: String,
    /// Since the process began to serve.
    uptime_seconds: u64,
}

/// What is configured and enabled.
#[derive(Serialize, ToSchema)]
#[schema(as = Health::Summary)]
struct Summary {
    /// Providers.
    providers: usize,
    /// Models.
    models: usize,
    /// Their backends.
    backends: usize,
}

/// Whether the gateway can serve, and how much of it is well.
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
    let census = Census::of(&snapshot);
    let code = if census.usable_models == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let body = Health {
        status: census.status(),
        version: env!("CARGO_PKG_VERSION"),
        timestamp: now(),
        uptime_seconds: snapshot.process.uptime().as_secs(),
        models: Share { total: census.models, available: census.usable_models },
        backends: Share { total: census.backends, available: census.usable_backends },
    };
    (code, Json(body)).into_response()
}

/// The same in the old form; always a 200.
#[utoipa::path(get, path = "/v1/health", tag = tags::HEALTH, responses((status = 200, body = V1Health)))]
pub(super) async fn v1_health(State(snapshot): State<Arc<Snapshot>>) -> Json<V1Health> {
    let census = Census::of(&snapshot);
    Json(V1Health {
        status: census.status(),
        service_running: !snapshot.process.is_draining(),
        models_available: census.usable_models,
        summary: Summary {
            providers: snapshot.config.providers.values().filter(|provider| provider.enabled).count(),
            models: census.models,
            backends: census.backends,
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
    responses((status = 200, body = String, content_type = "text/plain", description = "It is.")),
)]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether traffic should come here.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = tags::HEALTH,
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "It should."),
        (status = 503, body = String, content_type = "text/plain",
         description = "Draining, not yet probed, or without a usable backend."),
    ),
)]
pub(super) async fn readyz(State(snapshot): State<Arc<Snapshot>>) -> (StatusCode, &'static str) {
    if snapshot.process.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if !snapshot.process.is_probed() {
        (StatusCode::SERVICE_UNAVAILABLE, "the first round of probes is under way\n")
    } else if Census::of(&snapshot).usable_models == 0 {
        (StatusCode::SERVICE_UNAVAILABLE, "no model has a usable backend\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// Now, as the JSON of the status endpoints tells times.
pub(super) fn now() -> String {
    rfc3339(Timestamp::now())
}
