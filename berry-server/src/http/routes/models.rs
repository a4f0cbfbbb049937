//! The models that a user may call.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use berry_tower::{
    backend::Model,
    render::Refusal,
    select::candidates::{Ask, open_to},
};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{refusals::refuse, tags};
use crate::{config::build::Caller, state::Snapshot};

/// The models that a user may call.
#[derive(Serialize, ToSchema)]
#[schema(as = Models::List)]
pub(super) struct List {
    /// `list`
    object: &'static str,
    /// By name.
    data: Vec<Entry>,
}

/// A model, as OpenAI's API tells of one.
#[derive(Serialize, ToSchema)]
#[schema(as = Models::Model)]
pub(super) struct Entry {
    /// The public name.
    id: String,
    /// `model`
    object: &'static str,
    /// When the configuration was read, in Unix seconds.
    created: i64,
    /// `berry-api`
    owned_by: &'static str,
}

/// The models that the caller may call, by name.
#[utoipa::path(get, path = "/v1/models", operation_id = "list_models", tag = tags::MODELS, responses((status = 200, body = List)))]
pub(super) async fn list(
    State(snapshot): State<Arc<Snapshot>>,
    Extension(caller): Extension<Arc<Caller>>,
) -> Json<List> {
    let catalog = snapshot.catalog.load();
    let mut models: Vec<&Arc<Model>> =
        catalog.models().iter().filter(|model| may_call(&snapshot, &caller, model)).collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    let data = models.into_iter().map(|model| describe(&snapshot, model)).collect();
    Json(List { object: "list", data })
}

/// One of the models that the caller may call.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    operation_id = "get_model",
    tag = tags::MODELS,
    params(("model" = String, Path, description = "The model's public name or table id; it may hold slashes.")),
    responses((status = 200, body = Entry), (status = 404, description = "There is no such model for the caller.")),
)]
pub(super) async fn one(
    State(snapshot): State<Arc<Snapshot>>,
    Extension(caller): Extension<Arc<Caller>>,
    name: Result<Path<String>, PathRejection>,
) -> Response {
    // A name that is no text is the name of no model.
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    match snapshot.catalog.load().find(&name).filter(|model| may_call(&snapshot, &caller, model)) {
        Some(model) => Json(describe(&snapshot, model)).into_response(),
        None => refuse(
            &Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", "the model does not exist on this gateway")
                .code("model_not_found")
                .param("model"),
        ),
    }
}

/// Enabled, on the user's list, and with a backend that the user's tags open.
fn may_call(snapshot: &Snapshot, caller: &Caller, model: &Model) -> bool {
    let ask = Ask { tags: &caller.tags, policy: snapshot.tag_policy, ..Ask::default() };
    let open = |b: &Arc<berry_tower::backend::Backend>| b.enabled && b.provider.enabled && open_to(b, &ask);
    model.enabled && caller.allows(model) && model.backends.iter().any(open)
}

fn describe(snapshot: &Snapshot, model: &Model) -> Entry {
    Entry {
        id: model.name.to_string(),
        object: "model",
        created: snapshot.loaded_at.as_second(),
        owned_by: "berry-api",
    }
}
