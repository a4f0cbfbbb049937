//! The routes: which path is served by what, and behind which layers.

mod admin;
mod admin_only;
#[cfg(feature = "observability")]
mod dashboard;
mod front;
mod health;
mod metrics;
mod models;
mod openapi;
#[cfg(feature = "observability")]
mod prometheus;
mod smart_ai;
mod status;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::map_request,
    response::Response,
    routing::{MethodRouter, get},
};
use berry_tower::{
    auth::{ApiKeys, AuthLayer},
    drain::DrainLayer,
    render::{OpenAiErrors, Refusal, Render},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::ALLOW};
use tower::ServiceBuilder;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_service::Service;

pub(crate) use self::front::{Answer, Came, Front};
use self::{
    admin_only::admins_only,
    front::{Posted, ROUTED},
};
pub(crate) use super::error_shape::Errors;
use crate::{
    app::Snapshot,
    config::{Settings, build::Caller},
    http::access_log::{AccessLayer, Who},
};

/// The stack, once for each API in front: they differ in the shape of refusals, and in where a token
/// may stand.
#[derive(Debug)]
pub(crate) struct Gateways<G> {
    pub(crate) openai: G,
    pub(crate) messages: G,
}

/// The endpoint of Anthropic's.
pub(crate) const MESSAGES: &str = "/v1/messages";

/// How much more than the longest body is read and thrown away after an early refusal.
const DRAINED_BEYOND: u64 = 8 << 20;
/// And for how long.
const DRAINED_FOR: Duration = Duration::from_secs(2);

/// How long a browser may remember what it was allowed.
const PREFLIGHT: Duration = Duration::from_secs(600);

/// All that one configuration serves.
pub(crate) fn front<G, B>(snapshot: &Arc<Snapshot>, gateways: &Gateways<G>, keys: ApiKeys<Arc<Caller>>) -> Front
where
    G: Service<http::Request<Posted>, Response = http::Response<B>, Error = Infallible>,
    G: Clone + Send + Sync + 'static,
    G::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let models = Router::new()
        .route("/models", get(models::list))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*model}", get(models::one))
        .route_layer(map_request(learn))
        .route_layer(AuthLayer::new(keys.clone()));
    let settings = &snapshot.config.settings;
    let mut status = metrics::routes().merge(smart_ai::routes()).merge(openapi::routes(settings.public_status));
    #[cfg(feature = "observability")]
    {
        status = status.merge(prometheus::routes()).route("/dashboard/data", get(dashboard::data));
    }
    if !settings.public_status {
        status = admins_only(status, keys.clone());
    }
    let mut router = Router::new()
        .merge(home())
        .route("/health", get(health::health))
        .route("/v1/health", get(health::v1_health))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .merge(models)
        .merge(status)
        .merge(admins_only(admin::routes(), keys));
    // What is posted to these has not come here.
    for endpoint in ROUTED {
        let refused = async || with_allow(Errors::OpenAi, None);
        router = router.route(&format!("/v1{}", endpoint.path()), MethodRouter::new().fallback(refused));
    }
    let refused = async |headers: HeaderMap| with_allow(Errors::Anthropic, headers.get("x-request-id"));
    router = router.route(MESSAGES, MethodRouter::new().fallback(refused));
    let layers = ServiceBuilder::new()
        .layer(drain(settings))
        .layer(AccessLayer::new(snapshot.clone(), Errors::OpenAi))
        .option_layer(cors(&settings.cors_allowed_origins));
    let router = router
        .fallback(async || refuse(&not_found()))
        .method_not_allowed_fallback(async || refuse(&method_not_allowed()))
        .layer(layers)
        .with_state(snapshot.clone());
    Front::new(snapshot, gateways, router)
}

/// The refusal of what is not posted to an endpoint that only takes that.
fn with_allow(errors: Errors, id: Option<&HeaderValue>) -> Response {
    let mut response = errors.render(method_not_allowed(), id).map(Body::from);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// What is read on of a request that was answered before its end.
fn drain(settings: &Settings) -> DrainLayer {
    let bytes = settings.max_request_body_bytes.saturating_add(DRAINED_BEYOND);
    DrainLayer::new().max_bytes(bytes).max_time(DRAINED_FOR)
}

/// Tells the access log who asks.
async fn learn(request: Request) -> Request {
    Who::learn(request.extensions());
    request
}

/// A refusal as a response of this server's.
pub(crate) fn refuse(refusal: &Refusal) -> Response {
    OpenAiErrors.render(refusal.clone(), None).map(Body::from)
}

fn not_found() -> Refusal {
    let message = "this gateway has no such path; the OpenAI API is under /v1";
    Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("not_found")
}

fn method_not_allowed() -> Refusal {
    let message = "this path of the gateway does not take this method";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message).code("method_not_allowed")
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let exposed = [
        "x-request-id",
        "request-id",
        "x-upstream-request-id",
        "x-berry-backend",
        "x-berry-attempts",
        "x-should-retry",
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ];
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(exposed.map(HeaderName::from_static))
            .max_age(PREFLIGHT),
    )
}

/// The dashboard.
#[cfg(feature = "observability")]
fn home() -> Router<Arc<Snapshot>> {
    dashboard::routes()
}

/// A page that stands in for it.
#[cfg(not(feature = "observability"))]
fn home() -> Router<Arc<Snapshot>> {
    let page = include_str!("home.html").replace("{version}", env!("CARGO_PKG_VERSION"));
    Router::new().route("/", get(async || axum::response::Html(page)))
}
