//! The server as a whole: the process, its health, and its configuration.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use berry_tower::backend::Model;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::routes::{
        health::HealthCounts,
        status::{BackendReport, Moment, average_latency_ms, backend_reports, of_provider, provider_health, rfc3339},
        tags,
    },
    state::Snapshot,
};

/// The response of `/admin/system-stats`.
#[derive(Serialize, ToSchema)]
#[schema(as = System::SystemStats)]
pub(in crate::http::routes) struct SystemStats {
    /// The process.
    system: System,
    /// The health of what is enabled.
    health_summary: HealthSummary,
    /// By the model's table id.
    model_stats: BTreeMap<String, ModelStats>,
    /// The configuration in force.
    config: ConfigStats,
    /// The time of the response.
    timestamp: String,
}

/// The process.
#[derive(Serialize, ToSchema)]
#[schema(as = System::System)]
struct System {
    /// False while the server drains.
    is_running: bool,
    /// The version of the server.
    version: &'static str,
    /// The time since the server started.
    uptime_seconds: u64,
    /// The enabled models.
    total_models: usize,
    /// Those of them with a backend that can serve now.
    available_models: usize,
}

/// The health of what is enabled.
#[derive(Serialize, ToSchema)]
#[schema(as = System::HealthSummary)]
struct HealthSummary {
    /// Enabled providers.
    total_providers: usize,
    /// Those with a healthy backend.
    healthy_providers: usize,
    /// Enabled backends of all enabled models.
    total_backends: usize,
    /// Those that are healthy or recovering.
    healthy_backends: usize,
}

/// The health of a model.
#[derive(Serialize, ToSchema)]
#[schema(as = System::ModelStats)]
struct ModelStats {
    /// Its enabled backends that are healthy or recovering.
    healthy_backends: usize,
    /// Its enabled backends.
    total_backends: usize,
    /// The share of healthy backends; 0 for a model without an enabled backend.
    health_ratio: f64,
    /// The average time to the first byte.
    average_latency_ms: Option<f64>,
}

/// The configuration in force.
#[derive(Serialize, ToSchema)]
#[schema(as = System::ConfigStats)]
struct ConfigStats {
    /// The time at which it was loaded.
    loaded_at: String,
    /// The file; null if there is none.
    source: Option<String>,
    /// The result of the last reload; null before the first.
    last_reload: Option<LastReload>,
}

/// The result of a reload.
#[derive(Serialize, ToSchema)]
#[schema(as = System::LastReload)]
struct LastReload {
    /// The time of the reload.
    at: String,
    /// Whether the new configuration is in force.
    ok: bool,
    /// The errors of the refused configuration.
    errors: Vec<String>,
}

impl HealthSummary {
    fn of(snapshot: &Snapshot, counts: &HealthCounts, moment: &Moment) -> Self {
        let catalog = snapshot.catalog.load();
        let enabled = || snapshot.config.providers.iter().filter(|(_, provider)| provider.enabled);
        let healthy = |id: &str| provider_health(true, &of_provider(&catalog, id, moment)) == Some(true);
        Self {
            total_providers: enabled().count(),
            healthy_providers: enabled().filter(|(id, _)| healthy(id)).count(),
            total_backends: counts.backends,
            healthy_backends: counts.healthy_backends,
        }
    }
}

impl ModelStats {
    fn of(model: &Model, moment: &Moment) -> Self {
        let mut reports = backend_reports(model, moment);
        reports.retain(BackendReport::is_enabled);
        let (total, healthy) = (reports.len(), reports.iter().filter(|report| report.is_healthy()).count());
        Self {
            healthy_backends: healthy,
            total_backends: total,
            health_ratio: if total == 0 { 0.0 } else { healthy as f64 / total as f64 },
            average_latency_ms: average_latency_ms(reports.iter().map(|report| &report.state)),
        }
    }
}

/// The process, the health of what is enabled, and the configuration in force.
#[utoipa::path(get, path = "/admin/system-stats", tag = tags::ADMIN, responses((status = 200, body = SystemStats)))]
pub(super) async fn system_stats(State(snapshot): State<Arc<Snapshot>>) -> Json<SystemStats> {
    let moment = Moment::now();
    let counts = HealthCounts::of(&snapshot);
    let catalog = snapshot.catalog.load();
    let stats = |model: &Arc<Model>| (model.id().to_string(), ModelStats::of(model, &moment));
    Json(SystemStats {
        system: System {
            is_running: !snapshot.process.is_draining(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: snapshot.process.uptime().as_secs(),
            total_models: counts.models,
            available_models: counts.usable_models,
        },
        health_summary: HealthSummary::of(&snapshot, &counts, &moment),
        model_stats: catalog.models().iter().map(stats).collect(),
        config: ConfigStats {
            loaded_at: rfc3339(snapshot.loaded_at),
            source: snapshot.source.as_ref().map(|path| path.display().to_string()),
            last_reload: snapshot.process.last_reload.load().as_deref().map(|last| LastReload {
                at: rfc3339(last.at),
                ok: last.ok,
                errors: last.errors.clone(),
            }),
        },
        timestamp: moment.timestamp(),
    })
}
