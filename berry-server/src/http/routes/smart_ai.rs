//! The confidence in backends, and the weights that follow from it.

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
    status::{Known, Moment, Params, Refused, find_model, known, switch},
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

/// The query of both.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Adds `health_details` to each backend.
    #[param(value_type = String, pattern = "^(true|false|1|0)?$")]
    #[serde(default, deserialize_with = "switch")]
    detailed: bool,
    /// Leaves out what is disabled.
    #[param(value_type = String, pattern = "^(true|false|1|0)?$")]
    #[serde(default, deserialize_with = "switch")]
    enabled_only: bool,
}

/// The answer of `/smart-ai/weights`.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::Weights)]
pub(super) struct Weights {
    /// In the order of the configuration.
    models: Vec<Model>,
    /// When this was so.
    timestamp: String,
}

/// The answer of `/smart-ai/models/{model}/weights`.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::ModelWeights)]
pub(super) struct ModelWeights {
    /// The model.
    model: Model,
    /// When this was so.
    timestamp: String,
}

/// A model and its backends, whatever its strategy.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::Model)]
struct Model {
    /// The public name.
    name: String,
    /// How a backend is chosen.
    strategy: &'static str,
    /// Whether it is served.
    enabled: bool,
    /// In the order of the configuration.
    backends: Vec<Backend>,
    /// Over all its backends, those that are left out above included.
    stats: Stats,
}

/// One backend's confidence and weight.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::Backend)]
struct Backend {
    /// The provider's id.
    provider: String,
    /// The provider's name of the model.
    model: String,
    /// The weight in the configuration.
    original_weight: f64,
    /// The number that the strategy weighs it by now; 0 for a disabled backend, which it never sees.
    effective_weight: f64,
    /// The confidence as read now: 0 ..= 1.
    confidence: f64,
    /// Whether it is the reserve, being dear.
    is_premium: bool,
    /// Whether it and its provider are switched on.
    enabled: bool,
    /// All its tags, for an admin; empty for everyone else.
    tags: Vec<String>,
    /// `per_token` or `per_request`.
    billing_mode: &'static str,
    /// What the confidence was earned by.
    #[serde(skip_serializing_if = "Option::is_none")]
    health_details: Option<HealthDetails>,
}

/// What a backend's confidence was earned by.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::HealthDetails)]
struct HealthDetails {
    /// All attempts of users; probes are not in them.
    total_requests: u64,
    /// Successes in a row.
    consecutive_successes: u64,
    /// Failures in a row.
    consecutive_failures: u64,
    /// The end of the last attempt.
    last_request: Option<String>,
    /// Failed attempts, by the class of the failure.
    error_counts: BTreeMap<&'static str, u64>,
    /// What the last connectivity check found.
    connectivity_ok: Option<bool>,
    /// The last connectivity check.
    last_connectivity_check: Option<String>,
}

/// A model's backends in numbers.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartAi::Stats)]
struct Stats {
    /// All that the configuration lists.
    total_backends: usize,
    /// Those that are switched on.
    enabled_backends: usize,
    /// Those of them that are healthy or on their way back to that.
    healthy_backends: usize,
    /// Those of all that are dear.
    premium_backends: usize,
    /// The mean of the confidences.
    average_confidence: Option<f64>,
}

impl Model {
    fn of(model: &Served, query: &Query, viewer: Viewer, moment: &Moment) -> Self {
        let known = known(model, moment);
        let told = known.iter().filter(|known| !query.enabled_only || known.is_enabled());
        Self {
            name: model.name.to_string(),
            strategy: model.strategy.name(),
            enabled: model.enabled,
            backends: told.map(|known| Backend::of(known, query, viewer, moment)).collect(),
            stats: Stats::of(&known),
        }
    }
}

impl Backend {
    fn of(known: &Known<'_>, query: &Query, viewer: Viewer, moment: &Moment) -> Self {
        Self {
            provider: known.provider(),
            model: known.model(),
            original_weight: known.backend.weight,
            effective_weight: known.effective_weight,
            confidence: known.state.view.confidence,
            is_premium: known.backend.premium,
            enabled: known.is_enabled(),
            tags: if viewer.is_admin { known.tags() } else { Vec::new() },
            billing_mode: known.billing_mode(),
            health_details: query.detailed.then(|| HealthDetails::of(known, moment)),
        }
    }
}

impl HealthDetails {
    fn of(known: &Known<'_>, moment: &Moment) -> Self {
        let live = &known.state;
        Self {
            total_requests: live.requests(),
            consecutive_successes: live.consecutive_successes,
            consecutive_failures: live.consecutive_failures,
            last_request: moment.ago(live.last_request),
            error_counts: live.errors_by_class().collect(),
            connectivity_ok: live.connectivity_ok,
            last_connectivity_check: moment.ago(live.last_connectivity_check),
        }
    }
}

impl Stats {
    fn of(known: &[Known<'_>]) -> Self {
        let count = |which: &dyn Fn(&Known<'_>) -> bool| known.iter().filter(|known| which(known)).count();
        let confidences = known.iter().map(|known| known.state.view.confidence);
        Self {
            total_backends: known.len(),
            enabled_backends: count(&|known| known.is_enabled()),
            healthy_backends: count(&|known| known.is_enabled() && known.is_healthy()),
            premium_backends: count(&|known| known.backend.premium),
            average_confidence: (!known.is_empty()).then(|| confidences.sum::<f64>() / known.len() as f64),
        }
    }
}

/// The confidence in every model's backends and the weights that follow from it. It is kept for
/// all backends, whatever the strategy of their model.
#[utoipa::path(get, path = "/smart-ai/weights",
    operation_id = "smart_ai_weights", tag = tags::STATUS, params(Query), responses((status = 200, body = Weights), (status = 400, description = "The query cannot be read.")))]
pub(super) async fn weights(
    State(snapshot): State<Arc<Snapshot>>,
    viewer: Viewer,
    Params(query): Params<Query>,
) -> Json<Weights> {
    let moment = Moment::now();
    let catalog = snapshot.catalog.load();
    let told = catalog.models().iter().filter(|model| !query.enabled_only || model.enabled);
    Json(Weights {
        models: told.map(|model| Model::of(model, &query, viewer, &moment)).collect(),
        timestamp: moment.timestamp(),
    })
}

/// The same of one model, by its public name or table id. An unknown one is a 404.
#[utoipa::path(
    get,
    path = "/smart-ai/models/{model}/weights",
    operation_id = "smart_ai_model_weights",
    tag = tags::STATUS,
    params(("model" = String, Path, description = "The model's public name or table id."), Query),
    responses((status = 200, body = ModelWeights), (status = 400, description = "The query cannot be read."), (status = 404, description = "There is no such model.")),
)]
pub(super) async fn model_weights(
    State(snapshot): State<Arc<Snapshot>>,
    viewer: Viewer,
    rest: Result<Path<String>, PathRejection>,
    Params(query): Params<Query>,
) -> Result<Json<ModelWeights>, Refused> {
    let Path(rest) = rest.map_err(|_| not_found())?;
    let name = rest.strip_suffix("/weights").ok_or_else(not_found)?;
    let model = find_model(&snapshot, name)?;
    let moment = Moment::now();
    Ok(Json(ModelWeights { model: Model::of(&model, &query, viewer, &moment), timestamp: moment.timestamp() }))
}
