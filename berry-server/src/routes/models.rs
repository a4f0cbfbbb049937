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
use serde_json::{Value, json};

use super::refuse;
use crate::{app::Snapshot, config::build::Caller};

/// `GET /v1/models`, `GET /models`
pub(super) async fn list(
    State(snapshot): State<Arc<Snapshot>>,
    Extension(caller): Extension<Arc<Caller>>,
) -> Json<Value> {
    let catalog = snapshot.catalog.load();
    let mut models: Vec<&Arc<Model>> =
        catalog.models().iter().filter(|model| may_call(&snapshot, &caller, model)).collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    let data: Vec<Value> = models.into_iter().map(|model| describe(&snapshot, model)).collect();
    Json(json!({ "object": "list", "data": data }))
}

/// `GET /v1/models/{model}`
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

fn describe(snapshot: &Snapshot, model: &Model) -> Value {
    json!({
        "id": &*model.name,
        "object": "model",
        "created": snapshot.loaded_at.as_second(),
        "owned_by": "berry-api",
    })
}
