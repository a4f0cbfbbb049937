//! The page at `/` of a server that is built without the dashboard.

use axum::{Router, response::Html, routing::get};

use super::context::Context;

pub(super) fn routes() -> Router<Context> {
    let page = include_str!("home.html").replace("{version}", env!("CARGO_PKG_VERSION"));
    Router::new().route("/", get(async || Html(page)))
}
