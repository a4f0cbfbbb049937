//! The models that a user may call.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use berry_tower::{
    backend::Model,
    render::Refusal,
    select::candidates::{SelectionContext, shares_tags},
};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{refusals::refuse_caller, status::rfc3339, tags};
use crate::{config::build::Caller, state::Snapshot};

/// A list in the shape of OpenAI's API.
#[derive(Serialize, ToSchema)]
#[schema(as = Models::List)]
pub(super) struct List {
    /// `list`
    object: &'static str,
    /// The models by name.
    data: Vec<Entry>,
}

/// A model in the shape of OpenAI's API.
#[derive(Serialize, ToSchema)]
#[schema(as = Models::Model)]
pub(super) struct Entry {
    /// The public name.
    id: String,
    /// `model`
    object: &'static str,
    /// When the configuration was loaded, in Unix seconds.
    created: i64,
    /// `berry-api`
    owned_by: &'static str,
}

/// A list in the shape of Anthropic's API.
#[derive(Serialize, ToSchema)]
#[schema(as = Models::AnthropicList)]
pub(super) struct AnthropicList {
    /// The models by name.
    data: Vec<AnthropicModel>,
    /// The name of the first model.
    first_id: Option<String>,
    /// Whether there are further pages: never.
    has_more: bool,
    /// The name of the last model.
    last_id: Option<String>,
}

/// A model in the shape of Anthropic's API.
#[derive(Serialize, ToSchema)]
#[schema(as = Models::AnthropicModel)]
pub(super) struct AnthropicModel {
    /// `model`
    r#type: &'static str,
    /// The public name.
    id: String,
    /// The public name.
    display_name: String,
    /// When the configuration was loaded, in RFC 3339.
    created_at: String,
}

/// The list in the shape of the caller's API.
#[derive(Serialize, ToSchema)]
#[schema(as = Models::AnyList)]
#[serde(untagged)]
pub(super) enum AnyList {
    OpenAi(List),
    Anthropic(AnthropicList),
}

/// A model in the shape of the caller's API.
#[derive(Serialize, ToSchema)]
#[schema(as = Models::AnyModel)]
#[serde(untagged)]
pub(super) enum AnyModel {
    OpenAi(Entry),
    Anthropic(AnthropicModel),
}

/// The models that the caller may call, by name.
///
/// A caller that sends `anthropic-version` gets the shape of Anthropic's API.
#[utoipa::path(get, path = "/v1/models", operation_id = "list_models", tag = tags::MODELS, responses((status = 200, body = AnyList)))]
pub(super) async fn list(
    State(snapshot): State<Arc<Snapshot>>,
    Extension(caller): Extension<Arc<Caller>>,
    headers: HeaderMap,
) -> Json<AnyList> {
    let catalog = snapshot.catalog.load();
    let mut models: Vec<&Arc<Model>> =
        catalog.models().iter().filter(|model| may_call(&snapshot, &caller, model)).collect();
    models.sort_by(|a, b| a.name().cmp(b.name()));
    if !is_anthropic(&headers) {
        let data = models.into_iter().map(|model| entry(&snapshot, model)).collect();
        return Json(AnyList::OpenAi(List { object: "list", data }));
    }
    let data: Vec<_> = models.into_iter().map(|model| anthropic_model(&snapshot, model)).collect();
    let id = |model: Option<&AnthropicModel>| model.map(|model| model.id.clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    Json(AnyList::Anthropic(AnthropicList { data, first_id, has_more: false, last_id }))
}

/// One of the models that the caller may call.
///
/// A caller that sends `anthropic-version` gets the shape of Anthropic's API.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    operation_id = "get_model",
    tag = tags::MODELS,
    params(("model" = String, Path, description = "The model's public name or table id; it may hold slashes.")),
    responses((status = 200, body = AnyModel), (status = 404, description = "There is no such model for the caller.")),
)]
pub(super) async fn one(
    State(snapshot): State<Arc<Snapshot>>,
    Extension(caller): Extension<Arc<Caller>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    // A name that is not UTF-8 is the name of no model.
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    match snapshot.catalog.load().find(&name).filter(|model| may_call(&snapshot, &caller, model)) {
        Some(model) if is_anthropic(request.headers()) => {
            Json(AnyModel::Anthropic(anthropic_model(&snapshot, model))).into_response()
        }
        Some(model) => Json(AnyModel::OpenAi(entry(&snapshot, model))).into_response(),
        None => {
            let message = "the model does not exist on this gateway";
            let refusal = Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
            refuse_caller(refusal.code("model_not_found").param("model"), &request.into_parts().0)
        }
    }
}

/// Whether the caller uses Anthropic's API, all of whose clients send this header.
fn is_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// Whether the model is enabled, on the user's list, and has a backend that the user's tags permit.
fn may_call(snapshot: &Snapshot, caller: &Caller, model: &Model) -> bool {
    let context = SelectionContext::default().with_tags(&caller.tags).with_tag_policy(snapshot.tag_policy);
    let open = |b: &Arc<berry_tower::backend::Backend>| b.is_enabled() && shares_tags(b, &context);
    model.is_enabled() && caller.allows(model) && model.backends().iter().any(open)
}

fn entry(snapshot: &Snapshot, model: &Model) -> Entry {
    Entry {
        id: model.name().to_string(),
        object: "model",
        created: snapshot.loaded_at.as_second(),
        owned_by: "berry-api",
    }
}

fn anthropic_model(snapshot: &Snapshot, model: &Model) -> AnthropicModel {
    AnthropicModel {
        r#type: "model",
        id: model.name().to_string(),
        display_name: model.name().to_string(),
        created_at: rfc3339(snapshot.loaded_at),
    }
}
