//! The routes: which handler serves a path, and behind which layers.

mod admin;
mod admin_only;
mod context;
mod cors;
#[cfg(feature = "observability")]
mod dashboard;
mod endpoints;
mod front;
mod health;
#[cfg(not(feature = "observability"))]
mod home;
mod metrics;
mod models;
mod openapi;
#[cfg(feature = "database")]
mod own_usage;
#[cfg(feature = "observability")]
mod prometheus;
mod refusals;
mod smart_ai;
mod status;
#[cfg(feature = "database")]
mod stored;
mod tags;

use std::convert::Infallible;

use axum::{
    Router,
    extract::Request,
    middleware::map_request,
    routing::{MethodRouter, get},
};
use berry_tower::{auth::AuthLayer, endpoint::Endpoint};
use bytes::Bytes;
use http::{HeaderMap, Method};
use tower::ServiceBuilder;
use tower_service::Service;

pub(crate) use self::refusals::overloaded;
use self::{
    admin_only::admins_only,
    cors::cors,
    endpoints::{COUNT_TOKENS, INPUT_TOKENS, MESSAGES, routed},
    front::{RoutedRequestBody, drain_layer},
    refusals::{is_websocket, method_not_allowed, no_websocket, not_found, only_post, refuse_caller},
};
pub(crate) use self::{
    context::Context,
    front::{Answer, Front, Gateways, IncomingBody},
};
use super::{
    access_log::{AccessLogLayer, RequestIdentity},
    error_shape::ErrorShape,
};

/// Returns the service for all requests under one configuration.
pub(crate) fn front<G, B, C, D>(context: &Context, gateways: &Gateways<G, C>) -> Front
where
    C: Service<http::Request<RoutedRequestBody>, Response = http::Response<D>, Error = Infallible>,
    C: Clone + Send + Sync + 'static,
    C::Future: Send + 'static,
    D: http_body::Body<Data = Bytes> + Send + 'static,
    D::Error: Into<axum::BoxError>,
    G: Service<http::Request<RoutedRequestBody>, Response = http::Response<B>, Error = Infallible>,
    G: Clone + Send + Sync + 'static,
    G::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let Context { snapshot, observability, .. } = context;
    let keys = &snapshot.keys;
    let models = Router::new()
        .route("/models", get(models::list))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*model}", get(models::one));
    #[cfg(feature = "database")]
    let models = models
        .route("/v1/usage", get(own_usage::own_usage))
        .route("/v1/responses/{id}", get(stored::one).delete(stored::remove));
    let models = models.route_layer(map_request(fill_identity)).route_layer(AuthLayer::new(keys.clone()));
    let settings = &snapshot.config.settings;
    let mut status = metrics::routes().merge(smart_ai::routes()).merge(openapi::routes(snapshot.public_status));
    #[cfg(feature = "observability")]
    {
        status = status.merge(prometheus::routes()).route("/dashboard/data", get(dashboard::data));
    }
    if !snapshot.public_status {
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
        .merge(admins_only(admin::routes(), keys.clone()));
    // A `POST` to these never reaches the router; `Front` takes it.
    for (path, endpoint) in routed() {
        let refused = async move |method: Method, headers: HeaderMap| match endpoint {
            Endpoint::Responses if method == Method::GET && is_websocket(&headers) => no_websocket(),
            _ => only_post(ErrorShape::OpenAi, None),
        };
        router = router.route(&path, MethodRouter::new().fallback(refused));
    }
    let refused = async |headers: HeaderMap| only_post(ErrorShape::Anthropic, headers.get("x-request-id"));
    router = router.route(MESSAGES, MethodRouter::new().fallback(refused));
    router = router.route(COUNT_TOKENS, MethodRouter::new().fallback(refused));
    let refused = async || only_post(ErrorShape::OpenAi, None);
    router = router.route(INPUT_TOKENS, MethodRouter::new().fallback(refused));
    let layers = ServiceBuilder::new()
        .layer(drain_layer(settings))
        .layer(AccessLogLayer::new(snapshot.clone(), observability.clone(), ErrorShape::OpenAi))
        .option_layer(cors(&settings.cors_allowed_origins));
    let router = router
        .fallback(async |request: Request| refuse_caller(not_found(), &request.into_parts().0))
        .method_not_allowed_fallback(async |request: Request| {
            refuse_caller(method_not_allowed(), &request.into_parts().0)
        })
        .layer(layers)
        .with_state(context.clone());
    Front::new(context, gateways, router)
}

/// Gives the access log the caller of a request.
async fn fill_identity(request: Request) -> Request {
    RequestIdentity::fill_from(request.extensions());
    request
}

#[cfg(feature = "observability")]
fn home() -> Router<Context> {
    dashboard::routes()
}

#[cfg(not(feature = "observability"))]
fn home() -> Router<Context> {
    home::routes()
}
