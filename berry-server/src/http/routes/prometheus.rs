//! The metrics in Prometheus's text format.

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::header;

use std::sync::Arc;

use super::{context::Context, tags};
use crate::{observability::Observability, state::Snapshot};

/// The route.
pub(super) fn routes() -> Router<Context> {
    Router::new().route("/prometheus", get(prometheus))
}

/// `GET /prometheus`
///
/// All metrics with their descriptions.
#[utoipa::path(
    get,
    path = "/prometheus",
    tag = tags::STATUS,
    responses((status = 200, body = String, content_type = "text/plain", description = "Prometheus's text format."))
)]
pub(super) async fn prometheus(
    State(snapshot): State<Arc<Snapshot>>,
    State(observability): State<Observability>,
) -> impl IntoResponse {
    let media = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media)], observability.metrics.render(&snapshot))
}
