//! The confidence in backends and the weights that result from it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    routing::get,
};
use berry_tower::backend::Model as Served;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    admin_only::Viewer,
    context::Context,
    refusals::not_found,
    status::{BackendReport, Moment, Params, Rejection, backend_reports, find_model, switch},
    tags,
};
use crate::state::Snapshot;

/// The routes.
pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route("/smart-ai/weights", get(weights))
        // `/smart-ai/models/{model}/weights`; the name of a model may hold slashes.
        .route("/smart-ai/models/{*model}", get(model_weights))
}

/// The query of both endpoints.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Adds `health_details` to each backend.
    #[param(value_type = String, pattern = "^(true|false|1|0)?$")]
    #[serde(default, deserialize_with = "switch")]
    detailed: bool,
    /// Leaves out disabled models and backends.
    #[param(value_type = String, pattern = "^(true|false|1|0)?$")]
    #[serde(default, deserialize_with = "switch")]
    enabled_only: bool,
}

/// The response of `/smart-ai/weights`.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::Weights)]
pub(super) struct Weights {
    /// In the order of the configuration.
    models: Vec<Model>,
    /// The time of the response.
    timestamp: String,
}

/// The response of `/smart-ai/models/{model}/weights`.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::ModelWeights)]
pub(super) struct ModelWeights {
    /// The model.
    model: Model,
    /// The time of the response.
    timestamp: String,
}

/// A model and its backends, whatever its strategy.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::Model)]
struct Model {
    /// The public name.
    name: String,
    /// The strategy.
    strategy: &'static str,
    /// Whether it is served.
    enabled: bool,
    /// In the order of the configuration.
    backends: Vec<Backend>,
    /// The numbers over all backends, those that are left out included.
    stats: Stats,
}

/// The confidence and weight of a backend.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::Backend)]
struct Backend {
    /// The provider's id.
    provider: String,
    /// The provider's name of the model.
    model: String,
    /// The weight in the configuration.
    original_weight: f64,
    /// The weight that the strategy uses now; 0 for a disabled backend.
    effective_weight: f64,
    /// The confidence, from 0 to 1.
    confidence: f64,
    /// Whether it has the tag `premium`, which makes it the reserve.
    is_premium: bool,
    /// Whether it and its provider are enabled.
    enabled: bool,
    /// All its tags, for an admin; empty for everyone else.
    tags: Vec<String>,
    /// `per_token` or `per_request`.
    billing_mode: &'static str,
    /// What the confidence results from.
    #[serde(skip_serializing_if = "Option::is_none")]
    health_details: Option<HealthDetails>,
}

/// What a backend's confidence results from.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::HealthDetails)]
struct HealthDetails {
    /// The attempts of users, without probes.
    total_requests: u64,
    /// Successes in a row.
    consecutive_successes: u64,
    /// Failures in a row.
    consecutive_failures: u64,
    /// The time at which the last attempt ended.
    last_request: Option<String>,
    /// The failed attempts by class.
    error_counts: BTreeMap<&'static str, u64>,
    /// The result of the last connectivity check.
    connectivity_ok: Option<bool>,
    /// The time of the last connectivity check.
    last_connectivity_check: Option<String>,
}

/// The numbers of a model's backends.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::Stats)]
struct Stats {
    /// All backends.
    total_backends: usize,
    /// The enabled ones.
    enabled_backends: usize,
    /// The enabled ones that are healthy or recovering.
    healthy_backends: usize,
    /// The premium ones of all.
    premium_backends: usize,
    /// The mean of the confidences of all.
    average_confidence: Option<f64>,
}

impl Model {
    fn of(model: &Served, query: &Query, viewer: Viewer, moment: &Moment) -> Self {
        let reports = backend_reports(model, moment);
        let shown = reports.iter().filter(|report| !query.enabled_only || report.is_enabled());
        Self {
            name: model.name().to_string(),
            strategy: model.strategy().name(),
            enabled: model.is_enabled(),
            backends: shown.map(|report| Backend::of(report, query, viewer, moment)).collect(),
            stats: Stats::of(&reports),
        }
    }
}

impl Backend {
    fn of(report: &BackendReport<'_>, query: &Query, viewer: Viewer, moment: &Moment) -> Self {
        Self {
            provider: report.provider(),
            model: report.model(),
            original_weight: report.backend.weight(),
            effective_weight: report.effective_weight,
            confidence: report.state.view.confidence,
            is_premium: report.backend.is_premium(),
            enabled: report.is_enabled(),
            tags: if viewer.is_admin { report.tags() } else { Vec::new() },
            billing_mode: report.billing_mode(),
            health_details: query.detailed.then(|| HealthDetails::of(report, moment)),
        }
    }
}

impl HealthDetails {
    fn of(report: &BackendReport<'_>, moment: &Moment) -> Self {
        let state = &report.state;
        Self {
            total_requests: state.requests(),
            consecutive_successes: state.consecutive_successes,
            consecutive_failures: state.consecutive_failures,
            last_request: moment.ago(state.last_request),
            error_counts: state.errors_by_class().collect(),
            connectivity_ok: state.connectivity_ok,
            last_connectivity_check: moment.ago(state.last_connectivity_check),
        }
    }
}

impl Stats {
    fn of(reports: &[BackendReport<'_>]) -> Self {
        let count = |which: &dyn Fn(&BackendReport<'_>) -> bool| reports.iter().filter(|report| which(report)).count();
        let confidences = reports.iter().map(|report| report.state.view.confidence);
        Self {
            total_backends: reports.len(),
            enabled_backends: count(&|report| report.is_enabled()),
            healthy_backends: count(&|report| report.is_enabled() && report.is_healthy()),
            premium_backends: count(&|report| report.backend.is_premium()),
            average_confidence: (!reports.is_empty()).then(|| confidences.sum::<f64>() / reports.len() as f64),
        }
    }
}

/// The confidence in every model's backends and the resulting weights. The confidence is kept for every backend,
/// whatever the strategy of its model.
#[utoipa::path(get, path = "/smart-ai/weights",
    operation_id = "smart_ai_weights", tag = tags::STATUS, params(Query), responses((status = 200, body = Weights), (status = 400, description = "The query is invalid.")))]
pub(super) async fn weights(
    State(snapshot): State<Arc<Snapshot>>,
    viewer: Viewer,
    Params(query): Params<Query>,
) -> Json<Weights> {
    let moment = Moment::now();
    let catalog = snapshot.catalog.load();
    let shown = catalog.models().iter().filter(|model| !query.enabled_only || model.is_enabled());
    Json(Weights {
        models: shown.map(|model| Model::of(model, &query, viewer, &moment)).collect(),
        timestamp: moment.timestamp(),
    })
}

/// The same for one model, by its public name or table id.
#[utoipa::path(
    get,
    path = "/smart-ai/models/{model}/weights",
    operation_id = "smart_ai_model_weights",
    tag = tags::STATUS,
    params(("model" = String, Path, description = "The model's public name or table id."), Query),
    responses((status = 200, body = ModelWeights), (status = 400, description = "The query is invalid."), (status = 404, description = "There is no such model.")),
)]
pub(super) async fn model_weights(
    State(snapshot): State<Arc<Snapshot>>,
    viewer: Viewer,
    rest: Result<Path<String>, PathRejection>,
    Params(query): Params<Query>,
) -> Result<Json<ModelWeights>, Rejection> {
    let Path(rest) = rest.map_err(|_| not_found())?;
    let name = rest.strip_suffix("/weights").ok_or_else(not_found)?;
    let model = find_model(&snapshot, name)?;
    let moment = Moment::now();
    Ok(Json(ModelWeights { model: Model::of(&model, &query, viewer, &moment), timestamp: moment.timestamp() }))
}
