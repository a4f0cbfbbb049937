//! The metrics in Prometheus's text format.

use std::sync::Arc;

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::header;

use super::openapi::tag;
use crate::app::Snapshot;

/// The route.
pub(super) fn routes() -> Router<Arc<Snapshot>> {
    Router::new().route("/prometheus", get(prometheus))
}

/// `GET /prometheus`
///
/// All metrics, with their descriptions.
#[utoipa::path(
    get,
    path = "/prometheus",
    tag = tag::STATUS,
    responses((status = 200, body = String, content_type = "text/plain", description = "Prometheus's text format."))
)]
pub(super) async fn prometheus(State(snapshot): State<Arc<Snapshot>>) -> impl IntoResponse {
    let media = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media)], snapshot.shared.metrics.render(&snapshot))
}
