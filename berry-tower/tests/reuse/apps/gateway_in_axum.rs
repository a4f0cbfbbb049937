//! The gateway in an axum application, under a path of its own and among tower-http's layers.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use berry_tower::{
    auth::{ApiKey, ApiKeys},
    backend::{Backend, Catalog, Model, Provider, strategy::Random},
    body::Buffered,
    gateway::{Settings, gateway},
    rate_limit::{Limits, PerKey},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body_util::Full;
use tower::{ServiceBuilder, service_fn};
use tower_http::{compression::CompressionLayer, cors::CorsLayer, timeout::TimeoutLayer, trace::TraceLayer};

use crate::support::{axum, send};

#[tokio::test]
async fn serves_the_gateway_under_a_path_among_other_layers() {
    let upstream = service_fn(async |_: Request<Buffered>| {
        let body = Full::<Bytes>::from(format!(r#"{{"data":"{}"}}"#, "x".repeat(1_000)));
        Ok::<_, Infallible>(Response::builder().header("content-type", "application/json").body(body).unwrap())
    });
    let provider = Arc::new(Provider::new("local", "http://127.0.0.1:9").unwrap());
    let catalog = Catalog::new([Model::new("m", Arc::new(Random), [Backend::new(provider, "m")])]).unwrap();
    let keys = ApiKeys::new([ApiKey::from_token("t", "me")]);
    let limit = PerKey::new(Limits::new().per_minute(60), |head: &Parts| head.extensions.get::<&str>().copied());
    let gateway = gateway(Settings::with_transport(catalog, upstream), keys, limit, |_: &&str, _: &str| true);

    let layers = || {
        ServiceBuilder::new()
            .layer(TraceLayer::new_for_http())
            .layer(CompressionLayer::new())
            .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(9)))
            .layer(CorsLayer::permissive())
    };
    // The layers wrap the whole application, or a single route.
    let outside = Router::new().nest_service("/llm", gateway.clone()).layer(layers());
    let per_route = Router::new().route_service("/llm/{*path}", layers().service(gateway)).route("/", get(|| async {}));
    for app in [outside, per_route] {
        let address = axum(app).await;
        let body = r#"{"model":"m","input":"x"}"#;
        let headers = "authorization: Bearer t\r\norigin: http://a\r\naccept-encoding: gzip\r\n";
        let (status, head) = send(address, "POST /llm/v1/embeddings", headers, body).await;
        assert_eq!(status, 200);
        for header in ["content-encoding: gzip", "access-control-allow-origin: *", "x-ratelimit-limit-requests: 60"] {
            assert!(head.contains(header), "{head}");
        }
        let (status, text) = send(address, "POST /llm", "authorization: Bearer t\r\n", body).await;
        assert_eq!(status, 404, "{text}");
        let (status, text) = send(address, "POST /llm/v1/unknown", "authorization: Bearer t\r\n", body).await;
        assert_eq!((status, text.contains("unsupported_endpoint")), (404, true), "{text}");
        assert_eq!(send(address, "GET /llm/v1/embeddings", "authorization: Bearer t\r\n", "").await.0, 405);
    }
}
