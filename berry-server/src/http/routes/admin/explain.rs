//! Explains which backends a request for a model may get now, and why not the others.

use std::sync::Arc;

use axum::{Json, extract::State};
use berry_tower::{
    backend::Model,
    endpoint::Endpoint,
    select::candidates::{self, ADMIN, Eligibility, Explained, SelectionContext},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    config::build::Caller,
    http::routes::status::{
        Moment, Params, Rejection, filled, find_model, missing, no_such_model, no_such_user, state,
    },
    http::routes::tags,
    state::Snapshot,
};

/// The query of `/admin/explain`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http::routes) struct Query {
    /// The model's public name or table id.
    #[param(required = true, value_type = String, min_length = 1)]
    #[serde(default, deserialize_with = "filled")]
    model: Option<String>,
    /// The id of the user to explain it for; without one, an admin.
    #[serde(default, deserialize_with = "filled")]
    user: Option<String>,
}

/// The response of `/admin/explain`.
#[derive(Serialize, ToSchema)]
#[schema(as = Explain::Explanation)]
pub(in crate::http::routes) struct Explanation {
    /// The model's public name.
    model: String,
    /// The strategy.
    strategy: &'static str,
    /// All backends, in the order of the configuration.
    candidates: Vec<Candidate>,
    /// The time of the response.
    timestamp: String,
}

/// A backend's part in the selection.
#[derive(Serialize, ToSchema)]
#[schema(as = Explain::Candidate)]
struct Candidate {
    /// The provider's id.
    provider: String,
    /// The provider's name of the model.
    model: String,
    /// Whether the strategy may choose it.
    r#in: bool,
    /// Why it is in or out.
    why: String,
    /// The stage of its health (`healthy`, `recovering_30`, `recovering_50`, `unhealthy`), or what takes precedence:
    /// `disabled`, `open` or `half_open` (the circuit breaker), `cooling_down`, `full`.
    state: &'static str,
    /// The weight in the configuration.
    weight: f64,
    /// The weight that the strategy uses now; 0 for a disabled backend.
    effective_weight: f64,
    /// The probability that the next attempt goes to it, from 0 to 1. Those of all candidates add up to 1.
    probability: f64,
}

impl Candidate {
    /// `barred` is the reason why the user gets none of the model's backends.
    fn of(explained: &Explained<'_>, barred: Option<&str>, moment: &Moment) -> Self {
        let is_in = barred.is_none() && explained.is_candidate;
        let enabled = explained.eligibility != Eligibility::Disabled;
        Self {
            provider: explained.backend.id().provider.to_string(),
            model: explained.backend.id().model.to_string(),
            r#in: is_in,
            why: barred.map_or_else(|| explained.reason(), str::to_owned),
            state: state(explained.backend, &explained.view, explained.backend.state().breaker().state(moment.now)),
            weight: explained.backend.weight(),
            effective_weight: if enabled { explained.effective_weight } else { 0.0 },
            probability: if is_in { explained.probability } else { 0.0 },
        }
    }
}

/// Returns why the user gets none of the model's backends, other than by tags.
fn barred(snapshot: &Snapshot, caller: &Caller, model: &Model) -> Option<&'static str> {
    let user = snapshot.config.users.get(&*caller.id)?;
    match () {
        () if !user.enabled => Some("the user is disabled"),
        () if user.expires_at.is_some_and(|at| at <= Timestamp::now()) => Some("the user's token has expired"),
        () if !caller.allows(model) => Some("the user may not call this model"),
        () => None,
    }
}

/// The backends that a chat for the model may get now: each one's state, why it is in or out, and its probability. The
/// request selects nothing and changes nothing. An unknown model or user is a 404, as is a disabled model.
#[utoipa::path(
    get,
    path = "/admin/explain",
    tag = tags::ADMIN,
    params(Query),
    responses((status = 200, body = Explanation), (status = 400, description = "The query is invalid."), (status = 404, description = "There is no such model or user.")),
)]
pub(super) async fn explain(
    State(snapshot): State<Arc<Snapshot>>,
    Params(query): Params<Query>,
) -> Result<Json<Explanation>, Rejection> {
    let name = query.model.ok_or_else(|| missing("model"))?;
    let model = find_model(&snapshot, &name)?;
    if !model.is_enabled() {
        return Err(no_such_model("the model is disabled, so this gateway does not serve it"));
    }
    let caller = match &query.user {
        Some(id) => Some(snapshot.callers.get(id).ok_or_else(|| no_such_user("user"))?),
        None => None,
    };
    let moment = Moment::now();
    let admin = [Arc::from(ADMIN)];
    let tags = caller.map_or(&admin[..], |caller| &caller.tags);
    let (endpoint, policy) = (Some(Endpoint::ChatCompletions), snapshot.tag_policy);
    let context = SelectionContext::default().with_endpoint(endpoint).with_tags(tags).with_tag_policy(policy);
    let barred = caller.and_then(|caller| barred(&snapshot, caller, &model));
    let explained = candidates::explain(&model, &context, moment.now);
    Ok(Json(Explanation {
        model: model.name().to_string(),
        strategy: model.strategy().name(),
        candidates: explained.iter().map(|explained| Candidate::of(explained, barred, &moment)).collect(),
        timestamp: moment.timestamp(),
    }))
}
