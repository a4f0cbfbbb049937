//! What a request meets first. What is posted to a model's endpoint is nearly all that a gateway is
//! asked for, and goes past the router, which would box its body, its future and its answer several
//! times over.

use std::{convert::Infallible, fmt, future::Future, pin::Pin, sync::Arc};

use axum::{Router, body::Body};
use berry_tower::{
    drain::{RequestBody, ResponseBody},
    endpoint::Endpoint,
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

use super::{Errors, Gateways, MESSAGES, cors, drain};
use crate::{
    app::Snapshot,
    http::access_log::{AccessBody, AccessLayer},
    http::body_log::{LogBodies, Watched},
};

/// The endpoints of OpenAI's API that go through the gateway.
pub(super) const ROUTED: [Endpoint; 7] = [
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::Responses,
    Endpoint::Moderations,
    Endpoint::ImagesGenerations,
    Endpoint::AudioSpeech,
];

/// The body of a request as it came, from a connection or from within.
pub(crate) type Came = Either<Incoming, Body>;

/// The body of a request for the gateway, logged or not.
pub(crate) type Posted = Either<RequestBody<Came>, Watched<RequestBody<Came>>>;

/// The body of an answer: a gateway's, boxed before the layers around it move it on, or the router's.
pub(crate) type Given = Either<ResponseBody<AccessBody<Body>, Came>, Body>;

/// An answer on its way.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<Given>, Infallible>> + Send>>;
type Serve = Arc<dyn Fn(Request<Came>) -> Answer + Send + Sync>;

/// The endpoints by their paths, and the router for all else.
pub(crate) struct Front {
    posted: Vec<(String, Serve)>,
    /// Outside of what is boxed, since it is large and most servers do without.
    cors: Option<CorsLayer>,
    router: Router,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("router", &self.router).finish_non_exhaustive()
    }
}

impl Front {
    pub(super) fn new<G, B>(snapshot: &Arc<Snapshot>, gateways: &Gateways<G>, router: Router) -> Self
    where
        G: Service<Request<Posted>, Response = Response<B>, Error = Infallible>,
        G: Clone + Send + Sync + 'static,
        G::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let log = LogBodies::new(&snapshot.config);
        let openai = ROUTED.map(|endpoint| (format!("/v1{}", endpoint.path()), &gateways.openai, Errors::OpenAi));
        let messages = (MESSAGES.to_owned(), &gateways.messages, Errors::Anthropic);
        let posted = openai.into_iter().chain([messages]).map(|(path, gateway, errors)| {
            let access = AccessLayer::new(snapshot.clone(), errors).of(&path);
            (path, serve(snapshot, access, gateway.clone(), log.clone()))
        });
        Self { posted: posted.collect(), cors: cors(&snapshot.config.settings.cors_allowed_origins), router }
    }

    pub(crate) fn call(&self, request: Request<Came>) -> Answer {
        let path = request.uri().path();
        if request.method() == Method::POST
            && let Some((_, serve)) = self.posted.iter().find(|(known, _)| known == path)
        {
            return match &self.cors {
                None => serve(request),
                Some(cors) => {
                    let serve = serve.clone();
                    let served = service_fn(move |request| serve(request).map_ok(|answer| answer.map(Body::new)));
                    Box::pin(cors.layer(served).oneshot(request).map_ok(routed))
                }
            };
        }
        Box::pin(self.router.clone().oneshot(request.map(Body::new)).map_ok(routed))
    }
}

fn routed(answer: Response<Body>) -> Response<Given> {
    answer.map(Either::Right)
}

/// A gateway behind the layers around everything, its bodies logged where that is asked for.
fn serve<G, B>(snapshot: &Snapshot, access: AccessLayer, gateway: G, log: Option<LogBodies>) -> Serve
where
    G: Service<Request<Posted>, Response = Response<B>, Error = Infallible>,
    G: Clone + Send + Sync + 'static,
    G::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let around = ServiceBuilder::new().layer(drain(&snapshot.config.settings)).layer(access);
    match log {
        Some(log) => boxed(around.service(log.layer(gateway).map_response(bodied))),
        None => {
            let unlogged = |request: Request<RequestBody<Came>>| request.map(Either::Left);
            boxed(around.service(gateway.map_request(unlogged).map_response(bodied)))
        }
    }
}

fn bodied<B>(answer: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    answer.map(Body::new)
}

fn boxed<S>(service: S) -> Serve
where
    S: Service<Request<Came>, Response = Response<ResponseBody<AccessBody<Body>, Came>>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    Arc::new(move |request| {
        let answer = service.clone().oneshot(request);
        Box::pin(answer.map_ok(|answer| answer.map(Either::Left)))
    })
}
