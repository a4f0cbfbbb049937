//! The server as a whole: what it runs, how much of it is well, and where it was configured.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use berry_tower::backend::Model;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::routes::{
        health::Census,
        status::{Known, Moment, average_latency_ms, known, of_provider, provider_health, rfc3339},
        tags,
    },
    state::Snapshot,
};

/// The answer of `/admin/system-stats`.
#[derive(Serialize, ToSchema)]
#[schema(as = System::SystemStats)]
pub(in crate::http::routes) struct SystemStats {
    /// The process.
    system: System,
    /// How much is well of what is switched on.
    health_summary: HealthSummary,
    /// By the model's table id.
    model_stats: BTreeMap<String, ModelStats>,
    /// Where the configuration came from.
    config: ConfigStats,
    /// When this was so.
    timestamp: String,
}

/// The process.
#[derive(Serialize, ToSchema)]
#[schema(as = System::System)]
struct System {
    /// False once it is on its way out.
    is_running: bool,
    /// The version of the server.
    version: &'static str,
    /// Since the process began to serve.
    uptime_seconds: u64,
    /// How many models are enabled.
    total_models: usize,
    /// How many of these have a backend that can serve now.
    available_models: usize,
}

/// How much is well of what is switched on.
#[derive(Serialize, ToSchema)]
#[schema(as = System::HealthSummary)]
struct HealthSummary {
    /// Enabled providers.
    total_providers: usize,
    /// Those with a healthy backend.
    healthy_providers: usize,
    /// Enabled backends of all enabled models.
    total_backends: usize,
    /// Those that are healthy or on their way back to that.
    healthy_backends: usize,
}

/// How much of a model is well.
#[derive(Serialize, ToSchema)]
#[schema(as = System::ModelStats)]
struct ModelStats {
    /// Those of its enabled backends that are healthy or on their way back to that.
    healthy_backends: usize,
    /// Its enabled backends.
    total_backends: usize,
    /// The one through the other; 0 for a model without an enabled backend.
    health_ratio: f64,
    /// The average time to the first byte.
    average_latency_ms: Option<f64>,
}

/// Where the configuration came from.
#[derive(Serialize, ToSchema)]
#[schema(as = System::ConfigStats)]
struct ConfigStats {
    /// When the configuration in force was read.
    loaded_at: String,
    /// The file; null when it came from none.
    source: Option<String>,
    /// What came of the last reload; null before the first.
    last_reload: Option<LastReload>,
}

/// What came of a reload.
#[derive(Serialize, ToSchema)]
#[schema(as = System::LastReload)]
struct LastReload {
    /// When it was.
    at: String,
    /// Whether the new configuration is in force.
    ok: bool,
    /// What was wrong with it.
    errors: Vec<String>,
}

impl HealthSummary {
    fn of(snapshot: &Snapshot, census: &Census, moment: &Moment) -> Self {
        let catalog = snapshot.catalog.load();
        let enabled = || snapshot.config.providers.iter().filter(|(_, provider)| provider.enabled);
        let healthy = |id: &str| provider_health(true, &of_provider(&catalog, id, moment)) == Some(true);
        Self {
            total_providers: enabled().count(),
            healthy_providers: enabled().filter(|(id, _)| healthy(id)).count(),
            total_backends: census.backends,
            healthy_backends: census.healthy_backends,
        }
    }
}

impl ModelStats {
    fn of(model: &Model, moment: &Moment) -> Self {
        let mut known = known(model, moment);
        known.retain(Known::is_enabled);
        let (total, healthy) = (known.len(), known.iter().filter(|known| known.is_healthy()).count());
        Self {
            healthy_backends: healthy,
            total_backends: total,
            health_ratio: if total == 0 { 0.0 } else { healthy as f64 / total as f64 },
            average_latency_ms: average_latency_ms(known.iter().map(|known| &known.state)),
        }
    }
}

/// The process, the health of what is switched on, and the configuration in force.
#[utoipa::path(get, path = "/admin/system-stats", tag = tags::ADMIN, responses((status = 200, body = SystemStats)))]
pub(super) async fn system_stats(State(snapshot): State<Arc<Snapshot>>) -> Json<SystemStats> {
    let moment = Moment::now();
    let census = Census::of(&snapshot);
    let catalog = snapshot.catalog.load();
    let stats = |model: &Arc<Model>| (model.id.to_string(), ModelStats::of(model, &moment));
    Json(SystemStats {
        system: System {
            is_running: !snapshot.process.is_draining(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: snapshot.process.uptime().as_secs(),
            total_models: census.models,
            available_models: census.usable_models,
        },
        health_summary: HealthSummary::of(&snapshot, &census, &moment),
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
