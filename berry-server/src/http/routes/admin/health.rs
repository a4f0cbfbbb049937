//! The health of each model's backends.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use berry_tower::backend::{Dialect, Model};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::routes::status::{BackendReport, Moment, backend_reports},
    http::routes::tags,
    state::Snapshot,
};

/// The response of `/admin/backend-health`.
#[derive(Serialize, ToSchema)]
#[schema(as = BackendHealth::BackendHealth)]
pub(in crate::http::routes) struct BackendHealth {
    /// By the model's table id.
    backend_health: BTreeMap<String, ModelHealth>,
    /// The time of the response.
    timestamp: String,
}

/// One model's backends and their health.
#[derive(Serialize, ToSchema)]
#[schema(as = BackendHealth::ModelHealth)]
struct ModelHealth {
    /// The public name, by which clients ask for it.
    model_name: String,
    /// Whether it is enabled.
    enabled: bool,
    /// In the order of the configuration.
    backends: Vec<Health>,
}

/// One backend's health.
#[derive(Serialize, ToSchema)]
#[schema(as = BackendHealth::Health)]
struct Health {
    /// The provider's id.
    provider: String,
    /// The provider's name of the model.
    model: String,
    /// Whether it and its provider are enabled.
    enabled: bool,
    /// Whether it is healthy or recovering.
    is_healthy: bool,
    /// `closed`, `half_open` or `open`.
    circuit_state: &'static str,
    /// Failures in a row.
    failure_count: u64,
    /// The class of the last failure or rate limit, such as `server` or `timeout`.
    last_error: Option<&'static str>,
    /// The last success of a user's request.
    last_success: Option<String>,
    /// The last failure or rate limit of a user's request.
    last_failure: Option<String>,
    /// Its tags, `premium` included.
    tags: Vec<String>,
    /// Its priority; lower is preferred.
    priority: u8,
    /// For OpenAI-type backends the format in which it is asked for conversations, as configured or as learnt: `auto`
    /// while either is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    openai_api: Option<&'static str>,
}

impl ModelHealth {
    fn of(model: &Model, moment: &Moment) -> Self {
        let health = |report: &BackendReport<'_>| Health {
            provider: report.provider(),
            model: report.model(),
            enabled: report.is_enabled(),
            is_healthy: report.is_healthy(),
            circuit_state: report.state.circuit.name(),
            failure_count: report.state.consecutive_failures,
            last_error: report.state.last_error,
            last_success: moment.ago(report.state.last_success),
            last_failure: moment.ago(report.state.last_failure),
            tags: report.tags(),
            priority: report.backend.priority(),
            openai_api: (report.backend.provider().dialect() == Dialect::OpenAi)
                .then(|| report.backend.openai_api().name()),
        };
        let backends = backend_reports(model, moment).iter().map(health).collect();
        Self { model_name: model.name().to_string(), enabled: model.is_enabled(), backends }
    }
}

/// How every model's backends are, and when and how they failed last.
#[utoipa::path(get, path = "/admin/backend-health", tag = tags::ADMIN, responses((status = 200, body = BackendHealth)))]
pub(super) async fn backend_health(State(snapshot): State<Arc<Snapshot>>) -> Json<BackendHealth> {
    let moment = Moment::now();
    let catalog = snapshot.catalog.load();
    let of = |model: &Arc<Model>| (model.id().to_string(), ModelHealth::of(model, &moment));
    Json(BackendHealth { backend_health: catalog.models().iter().map(of).collect(), timestamp: moment.timestamp() })
}
