//! The page and its files, which are compiled into the binary.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{Html, IntoResponse},
    routing::get,
};
use http::{HeaderName, HeaderValue, header};

use crate::{http::routes::context::Context, state::Snapshot};

const PAGE: &str = include_str!("../../../../dashboard/index.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! file {
    ($path:literal, $mime:expr) => {
        file!($path, $path, $mime)
    };
    ($path:literal, $file:literal, $mime:expr) => {
        (concat!("/dashboard/", $path), $mime, include_str!(concat!("../../../../dashboard/", $file)))
    };
}

/// Path, type and content of each file.
const FILES: [(&str, &str, &str); 19] = [
    file!("icon.svg", "image/svg+xml"),
    file!("style.css", STYLE),
    file!("theme.js", SCRIPT),
    file!("app.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("attention.js", SCRIPT),
    file!("charts.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("events.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("keys.js", SCRIPT),
    file!("models.js", SCRIPT),
    file!("playground.js", SCRIPT),
    file!("reload.js", SCRIPT),
    file!("states.js", SCRIPT),
    file!("usage.js", SCRIPT),
    file!("views.js", SCRIPT),
    file!("uplot.js", "vendor/uPlot.iife.min.js", SCRIPT),
    file!("uplot.css", "vendor/uPlot.min.css", STYLE),
];

/// The page connects to this server only, runs only its own files, and cannot be framed.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    // A new version of the server has a new page.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

/// The routes of the page and its files.
pub(in crate::http::routes) fn routes() -> Router<Context> {
    let router = Router::new().route("/", get(page));
    FILES.into_iter().fold(router, |router, (path, mime, content)| {
        router.route(path, get(async move || (HEADERS, [(header::CONTENT_TYPE, mime)], content)))
    })
}

/// `GET /`
///
/// The page, which knows whether its data needs a token.
async fn page(State(snapshot): State<Arc<Snapshot>>) -> impl IntoResponse {
    let status = if snapshot.public_status { "open" } else { "closed" };
    let page = PAGE.replace("{version}", env!("CARGO_PKG_VERSION")).replace("{status}", status);
    (HEADERS, Html(page))
}
