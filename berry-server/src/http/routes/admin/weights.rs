//! The weights of each model's backends.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use berry_tower::backend::Model;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    http::routes::status::{Known, Moment, Params, Refused, filled, find_model, known},
    http::routes::tags,
    state::Snapshot,
};

/// The query of `/admin/model-weights`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http::routes) struct Query {
    /// The public name or the table id of the only model to tell of.
    #[serde(default, deserialize_with = "filled")]
    model: Option<String>,
}

/// The answer of `/admin/model-weights`.
#[derive(Serialize, ToSchema)]
#[schema(as = Weights::ModelWeights)]
pub(in crate::http::routes) struct ModelWeights {
    /// By table id.
    models: BTreeMap<String, Weights>,
    /// When this was so.
    timestamp: String,
    /// How many models are told of.
    total_models: usize,
}

/// One model's backends and their weights.
#[derive(Serialize, ToSchema)]
#[schema(as = Weights::Weights)]
struct Weights {
    /// The public name, by which clients ask for it.
    model_name: String,
    /// The name to show; the public one.
    display_name: String,
    /// How a backend is chosen.
    strategy: &'static str,
    /// Whether it is served.
    enabled: bool,
    /// In the order of the configuration.
    backends: Vec<Weight>,
    /// The sum of the backends' effective weights.
    total_effective_weight: f64,
}

/// One backend's weight, and what it depends on.
#[derive(Serialize, ToSchema)]
#[schema(as = Weights::Weight)]
struct Weight {
    /// The provider's id.
    provider: String,
    /// The provider's name of the model.
    model: String,
    /// The weight in the configuration.
    original_weight: f64,
    /// The number that the strategy weighs it by now; 0 for a disabled backend, which it never sees.
    effective_weight: f64,
    /// Healthy, or on its way back to that.
    is_healthy: bool,
    /// Whether it and its provider are switched on.
    is_enabled: bool,
    /// Its rank; lower is preferred.
    priority: u8,
    /// All its tags.
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
        let known = known(model, moment);
        Self {
            model_name: model.name.to_string(),
            display_name: model.name.to_string(),
            strategy: model.strategy.name(),
            enabled: model.enabled,
            total_effective_weight: known.iter().map(|known| known.effective_weight).sum(),
            backends: known.iter().map(Weight::of).collect(),
        }
    }
}

impl Weight {
    fn of(known: &Known<'_>) -> Self {
        Self {
            provider: known.provider(),
            model: known.model(),
            original_weight: known.backend.weight,
            effective_weight: known.effective_weight,
            is_healthy: known.is_healthy(),
            is_enabled: known.is_enabled(),
            priority: known.backend.priority,
            tags: known.tags(),
            billing_mode: known.billing_mode(),
            failure_count: known.state.consecutive_failures,
            circuit_state: known.state.circuit.name(),
            recovery_stage: known.state.view.stage.name(),
        }
    }
}

/// The weight of every model's backends as the strategy sees it now, or of one model's. An unknown
/// model is a 404.
#[utoipa::path(
    get,
    path = "/admin/model-weights",
    tag = tags::ADMIN,
    params(Query),
    responses((status = 200, body = ModelWeights), (status = 400, description = "The query cannot be read."), (status = 404, description = "There is no such model.")),
)]
pub(super) async fn model_weights(
    State(snapshot): State<Arc<Snapshot>>,
    Params(query): Params<Query>,
) -> Result<Json<ModelWeights>, Refused> {
    let moment = Moment::now();
    let told = match &query.model {
        Some(name) => vec![find_model(&snapshot, name)?],
        None => snapshot.catalog.load().models().to_vec(),
    };
    Ok(Json(ModelWeights {
        total_models: told.len(),
        models: told.iter().map(|model| (model.id.to_string(), Weights::of(model, &moment))).collect(),
        timestamp: moment.timestamp(),
    }))
}
