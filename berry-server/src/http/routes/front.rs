//! The first service that a request meets.
//!
//! Model requests are nearly all of the traffic. They bypass the router, which would box their bodies, futures and
//! responses several times.

use std::{convert::Infallible, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use berry_tower::{
    backend::Model,
    drain::{DrainLayer, RequestBody},
    endpoint::Endpoint,
    inspect::DefaultModel,
};
use bytes::Bytes;
use futures_util::TryFutureExt;
use http::{Method, Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    context::Context,
    cors::cors,
    endpoints::{COUNT_TOKENS, INPUT_TOKENS, MESSAGES, routed},
};
use crate::{
    config::Settings,
    http::{
        access_log::AccessLogLayer,
        body_log::{BodyLogLayer, LoggedBody},
        error_shape::ErrorShape,
    },
    state::Snapshot,
};

/// How many bytes beyond the longest allowed body are read and discarded after an early response.
const DRAIN_EXTRA_BYTES: u64 = 8 << 20;
/// How long a request is read and discarded after an early response.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The gateway stack, once for each API: the two differ in the error shape and in the header of the token.
#[derive(Debug)]
pub(crate) struct Gateways<G, C> {
    pub(crate) openai: G,
    pub(crate) messages: G,
    /// Counts the tokens of OpenAI's requests.
    pub(crate) openai_counter: C,
    /// Counts the tokens of Anthropic's requests.
    pub(crate) messages_counter: C,
}

/// The body of a request, from a connection or from within the process.
pub(crate) type IncomingBody = Either<Incoming, Body>;

/// The body of a request to the gateway, logged or not.
pub(crate) type RoutedRequestBody = Either<RequestBody<IncomingBody>, LoggedBody<RequestBody<IncomingBody>>>;

/// The future of a response.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;
type Serve = Arc<dyn Fn(Request<IncomingBody>) -> Answer + Send + Sync>;

/// The endpoints of model requests by path, and the router for everything else.
pub(crate) struct Front {
    endpoints: Vec<(String, Serve)>,
    /// Outside of the boxed services, because it is large and most servers do without.
    cors: Option<CorsLayer>,
    router: Router,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("router", &self.router).finish_non_exhaustive()
    }
}

impl Front {
    pub(super) fn new<G, B, C, D>(context: &Context, gateways: &Gateways<G, C>, router: Router) -> Self
    where
        C: Service<Request<RoutedRequestBody>, Response = Response<D>, Error = Infallible>,
        C: Clone + Send + Sync + 'static,
        C::Future: Send + 'static,
        D: http_body::Body<Data = Bytes> + Send + 'static,
        D::Error: Into<axum::BoxError>,
        G: Service<Request<RoutedRequestBody>, Response = Response<B>, Error = Infallible>,
        G: Clone + Send + Sync + 'static,
        G::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let Context { snapshot, observability, .. } = context;
        let settings = &snapshot.config.settings;
        let body_log = BodyLogLayer::new(&snapshot.config);
        let openai = routed().map(|(path, endpoint)| (path, endpoint, &gateways.openai, ErrorShape::OpenAi));
        let messages = (MESSAGES.to_owned(), Endpoint::Messages, &gateways.messages, ErrorShape::Anthropic);
        let endpoints = openai.chain([messages]).map(|(path, endpoint, gateway, errors)| {
            let access_log = AccessLogLayer::new(snapshot.clone(), observability.clone(), errors).with_endpoint(&path);
            let serve = serve(settings, access_log, gateway.clone(), body_log.clone());
            (path, with_default_model(serve, default_model(snapshot, endpoint)))
        });
        let counters = [
            (INPUT_TOKENS, &gateways.openai_counter, ErrorShape::OpenAi),
            (COUNT_TOKENS, &gateways.messages_counter, ErrorShape::Anthropic),
        ];
        let counters = counters.map(|(path, counter, errors)| {
            let access_log = AccessLogLayer::new(snapshot.clone(), observability.clone(), errors).with_endpoint(path);
            (path.to_owned(), serve(settings, access_log, counter.clone(), body_log.clone()))
        });
        Self { endpoints: endpoints.chain(counters).collect(), cors: cors(&settings.cors_allowed_origins), router }
    }

    pub(crate) fn call(&self, request: Request<IncomingBody>) -> Answer {
        let path = request.uri().path();
        if request.method() == Method::POST
            && let Some((_, serve)) = self.endpoints.iter().find(|(known, _)| known == path)
        {
            return match &self.cors {
                None => serve(request),
                Some(cors) => {
                    let serve = serve.clone();
                    Box::pin(cors.layer(service_fn(move |request| serve(request))).oneshot(request))
                }
            };
        }
        Box::pin(self.router.clone().oneshot(request.map(Body::new)))
    }
}

/// Returns the layer that reads a request on after an early response, so that the client can read the response.
pub(super) fn drain_layer(settings: &Settings) -> DrainLayer {
    let bytes = settings.max_request_body_bytes.saturating_add(DRAIN_EXTRA_BYTES);
    DrainLayer::new().max_bytes(bytes).max_time(DRAIN_TIME)
}

/// Puts the outer layers around a gateway, and the body log if it is on.
fn serve<G, B>(settings: &Settings, access_log: AccessLogLayer, gateway: G, body_log: Option<BodyLogLayer>) -> Serve
where
    G: Service<Request<RoutedRequestBody>, Response = Response<B>, Error = Infallible>,
    G: Clone + Send + Sync + 'static,
    G::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let around = ServiceBuilder::new().layer(drain_layer(settings)).layer(access_log);
    match body_log {
        Some(log) => boxed(around.service(log.layer(gateway))),
        None => {
            let unlogged = |request: Request<RequestBody<IncomingBody>>| request.map(Either::Left);
            boxed(around.service(gateway.map_request(unlogged)))
        }
    }
}

/// Returns the model of requests that name none: the one that is marked, or the only one that serves the endpoint.
fn default_model(snapshot: &Snapshot, endpoint: Endpoint) -> Option<DefaultModel> {
    if endpoint != Endpoint::Moderations {
        return None;
    }
    let models = || snapshot.config.models.values().filter(|model| model.enabled);
    if let Some(model) = models().find(|model| model.default_for.iter().any(|name| name == "moderations")) {
        return Some(DefaultModel(model.name.as_str().into()));
    }
    let catalog = snapshot.catalog.load();
    let serves =
        |model: &&Arc<Model>| model.is_enabled() && model.backends().iter().any(|b| b.provider().serves(endpoint));
    let mut serving = catalog.models().iter().filter(serves);
    let only = serving.next().filter(|_| serving.next().is_none())?;
    Some(DefaultModel(only.name().clone()))
}

fn with_default_model(serve: Serve, model: Option<DefaultModel>) -> Serve {
    let Some(model) = model else { return serve };
    Arc::new(move |mut request| {
        request.extensions_mut().insert(model.clone());
        serve(request)
    })
}

/// Boxes the future and the body of a response. The gateway's body is small, so that it is not boxed before.
fn boxed<S, B>(service: S) -> Serve
where
    S: Service<Request<IncomingBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    Arc::new(move |request| Box::pin(service.clone().oneshot(request).map_ok(|response| response.map(Body::new))))
}
