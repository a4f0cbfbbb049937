//! `GET` and `DELETE /v1/responses/{id}`: the stored responses of the caller.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use berry_tower::render::Refusal;
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use super::{refusals::refuse, tags};
use crate::{config::build::Caller, database::DatabaseError, responses::Responses, state::Snapshot};

/// A stored response of the caller.
///
/// It is the response as the caller got it; `[responses] store` must be on.
#[utoipa::path(
    get,
    path = "/v1/responses/{id}",
    operation_id = "get_response",
    tag = tags::MODELS,
    params(("id" = String, Path, description = "The id of the response.")),
    responses((status = 200, body = Object), (status = 404, description = "There is no such response of the caller.")),
)]
pub(super) async fn one(
    State(snapshot): State<Arc<Snapshot>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Response {
    let Some(responses) = Responses::of(&snapshot) else { return not_stored() };
    match responses.find(&caller.id, &id).await {
        Ok(Some(record)) => ([(CONTENT_TYPE, "application/json")], record.response).into_response(),
        Ok(None) => not_found(&id),
        Err(error) => unavailable(&error),
    }
}

/// Removes a stored response of the caller.
#[utoipa::path(
    delete,
    path = "/v1/responses/{id}",
    operation_id = "delete_response",
    tag = tags::MODELS,
    params(("id" = String, Path, description = "The id of the response.")),
    responses((status = 200, body = Object), (status = 404, description = "There is no such response of the caller.")),
)]
pub(super) async fn remove(
    State(snapshot): State<Arc<Snapshot>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Response {
    let Some(responses) = Responses::of(&snapshot) else { return not_stored() };
    match responses.remove(&caller.id, &id).await {
        Ok(true) => axum::Json(json!({ "id": id, "object": "response", "deleted": true })).into_response(),
        Ok(false) => not_found(&id),
        Err(error) => unavailable(&error),
    }
}

fn not_found(id: &str) -> Response {
    let message = format!("response with id '{id}' not found");
    refuse(
        &Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("response_not_found").param("id"),
    )
}

fn not_stored() -> Response {
    let message = "this gateway stores no responses; its operator can set `store` in `[responses]`";
    refuse(
        &Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("response_not_found").param("id"),
    )
}

fn unavailable(error: &DatabaseError) -> Response {
    tracing::warn!(%error, "a stored response could not be read");
    let message = "the store of responses is not available; try again shortly";
    refuse(&Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message).code("store_unavailable"))
}
