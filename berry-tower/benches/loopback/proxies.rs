//! The two proxies that are compared.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::{any, post_service},
};
use berry_tower::{
    auth::{ApiKey, ApiKeys},
    backend::{Backend, Catalog, Model, Provider, strategy::WeightedFailover},
    gateway::{Settings, gateway},
    rate_limit::{Limits, Quota, QuotaFromRequest},
};
use http::{HeaderValue, header, request::Parts};
use tower::ServiceExt;

use crate::Thread;

/// The token of the caller, which is not forwarded.
pub(crate) const TOKEN: &str = "a-token-of-mine-that-is-long-enough";

/// Starts a minimal proxy, which only replaces the API key of a request.
pub(crate) fn bare(upstream: SocketAddr) -> Thread {
    serve(move || {
        let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().expect("a client");
        Router::new().route("/v1/chat/completions", any(forward)).with_state((client, upstream))
    })
}

async fn forward(State((client, upstream)): State<(reqwest::Client, SocketAddr)>, request: Request) -> Response {
    let (mut head, body) = request.into_parts();
    head.headers.remove(header::HOST);
    head.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer sk-upstream"));
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let request = client.request(head.method, format!("http://{upstream}{}", head.uri.path()));
    let response = request.headers(head.headers).body(body).send().await.expect("a response");
    http::Response::from(response).map(Body::new)
}

/// Starts the standard stack with two backends and every layer.
pub(crate) fn berry(upstream: SocketAddr) -> Thread {
    serve(move || {
        let backends = ["a", "b"].map(|name| {
            let provider = Provider::new(name, &format!("http://{upstream}")).and_then(|p| p.with_key("sk-upstream"));
            Backend::new(Arc::new(provider.expect("an address")), "gpt-4o-mini")
        });
        let catalog = Catalog::new([Model::new("fast", Arc::new(WeightedFailover), backends)]).expect("one model");
        let quota = Arc::new(Quota::new(Limits::new().per_minute(u32::MAX).per_hour(u32::MAX)));
        let keys = ApiKeys::new([ApiKey::from_token(TOKEN, User(quota))]);
        let limit = QuotaFromRequest::new(|head: &Parts| head.extensions.get::<User>().map(|user| user.0.clone()));
        let stack = gateway(Settings::new(catalog), keys, limit, |_: &User, model: &str| model == "fast");
        let stack = stack.map_response(|response| response.map(Body::new));
        Router::new().route("/v1/chat/completions", post_service(stack))
    })
}

#[derive(Clone)]
struct User(Arc<Quota>);

fn serve(router: impl FnOnce() -> Router + Send + 'static) -> Thread {
    Thread::start(async |listener| {
        use axum::serve::ListenerExt;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router()).await.expect("a server");
    })
}
