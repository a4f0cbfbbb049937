//! The weights of each model's backends.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use berry_tower::backend::Model;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    http::routes::status::{BackendReport, Moment, Params, Rejection, backend_reports, filled, find_model},
    http::routes::tags,
    state::Snapshot,
};

/// The query of `/admin/model-weights`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http::routes) struct Query {
    /// The public name or table id of the only model to show.
    #[serde(default, deserialize_with = "filled")]
    model: Option<String>,
}

/// The response of `/admin/model-weights`.
#[derive(Serialize, ToSchema)]
#[schema(as = Weights::ModelWeights)]
pub(in crate::http::routes) struct ModelWeights {
    /// By table id.
    models: BTreeMap<String, Weights>,
    /// The time of the response.
    timestamp: String,
    /// How many models are shown of.
    total_models: usize,
}

/// The weights of a model's backends.
#[derive(Serialize, ToSchema)]
#[schema(as = Weights::Weights)]
struct Weights {
    /// The public name.
    model_name: String,
    /// The name to display: the public name.
    display_name: String,
    /// The strategy.
    strategy: &'static str,
    /// Whether it is enabled.
    enabled: bool,
    /// In the order of the configuration.
    backends: Vec<Weight>,
    /// The sum of the backends' effective weights.
    total_effective_weight: f64,
}

/// The weight of a backend and what it depends on.
#[derive(Serialize, ToSchema)]
#[schema(as = Weights::Weight)]
struct Weight {
    /// The provider's id.
    provider: String,
    /// The provider's name of the model.
    model: String,
    /// The weight in the configuration.
    original_weight: f64,
    /// The weight that the strategy uses now; 0 for a disabled backend.
    effective_weight: f64,
    /// Whether it is healthy or recovering.
    is_healthy: bool,
    /// Whether it and its provider are enabled.
    is_enabled: bool,
    /// Its priority; lower is preferred.
    priority: u8,
    /// Its tags, `premium` included.
    tags: Vec<String>,
    /// `per_token` or `per_request`.
    billing_mode: &'static str,
    /// Failures in a row.
    failure_count: u64,
    /// `closed`, `half_open` or `open`.
    circuit_state: &'static str,
    /// `unhealthy`, `recovering_30`, `recovering_50` or `healthy`.
    recovery_stage: &'static str,
}

impl Weights {
    fn of(model: &Model, moment: &Moment) -> Self {
        let reports = backend_reports(model, moment);
        Self {
            model_name: model.name().to_string(),
            display_name: model.name().to_string(),
            strategy: model.strategy().name(),
            enabled: model.is_enabled(),
            total_effective_weight: reports.iter().map(|report| report.effective_weight).sum(),
            backends: reports.iter().map(Weight::of).collect(),
        }
    }
}

impl Weight {
    fn of(report: &BackendReport<'_>) -> Self {
        Self {
            provider: report.provider(),
            model: report.model(),
            original_weight: report.backend.weight(),
            effective_weight: report.effective_weight,
            is_healthy: report.is_healthy(),
            is_enabled: report.is_enabled(),
            priority: report.backend.priority(),
            tags: report.tags(),
            billing_mode: report.billing_mode(),
            failure_count: report.state.consecutive_failures,
            circuit_state: report.state.circuit.name(),
            recovery_stage: report.state.view.stage.name(),
        }
    }
}

/// The weights of the backends of every model, or of one model, as the strategies use them now. An unknown model is a
/// 404.
#[utoipa::path(
    get,
    path = "/admin/model-weights",
    tag = tags::ADMIN,
    params(Query),
    responses((status = 200, body = ModelWeights), (status = 400, description = "The query is invalid."), (status = 404, description = "There is no such model.")),
)]
pub(super) async fn model_weights(
    State(snapshot): State<Arc<Snapshot>>,
    Params(query): Params<Query>,
) -> Result<Json<ModelWeights>, Rejection> {
    let moment = Moment::now();
    let shown = match &query.model {
        Some(name) => vec![find_model(&snapshot, name)?],
        None => snapshot.catalog.load().models().to_vec(),
    };
    Ok(Json(ModelWeights {
        total_models: shown.len(),
        models: shown.iter().map(|model| (model.id().to_string(), Weights::of(model, &moment))).collect(),
        timestamp: moment.timestamp(),
    }))
}
