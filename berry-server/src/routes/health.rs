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
use serde_json::{Value, json};
use tokio::time::Instant;

use super::status::rfc3339;
use crate::app::Snapshot;

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
            let view = backend.live.view(now);
            enabled(backend) && view.is_healthy() && view.is_free()
        };
        let healthy = |backend: &&Arc<Backend>| enabled(backend) && backend.live.view(now).is_healthy();
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

/// `GET /health`
pub(super) async fn health(State(snapshot): State<Arc<Snapshot>>) -> Response {
    let census = Census::of(&snapshot);
    let code = if census.usable_models == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let body = json!({
        "status": census.status(),
        "version": env!("CARGO_PKG_VERSION"),
        "timestamp": now(),
        "uptime_seconds": snapshot.uptime().as_secs(),
        "models": { "total": census.models, "available": census.usable_models },
        "backends": { "total": census.backends, "available": census.usable_backends },
    });
    (code, Json(body)).into_response()
}

/// `GET /v1/health`
pub(super) async fn v1_health(State(snapshot): State<Arc<Snapshot>>) -> Json<Value> {
    let census = Census::of(&snapshot);
    Json(json!({
        "status": census.status(),
        "service_running": !snapshot.draining(),
        "models_available": census.usable_models,
        "summary": {
            "providers": snapshot.config.providers.values().filter(|provider| provider.enabled).count(),
            "models": census.models,
            "backends": census.backends,
        },
        "timestamp": now(),
        "uptime_seconds": snapshot.uptime().as_secs(),
    }))
}

/// `GET /livez`
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`
pub(super) async fn readyz(State(snapshot): State<Arc<Snapshot>>) -> (StatusCode, &'static str) {
    if snapshot.draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if !snapshot.probed() {
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
