//! Each edge layer without the others, in axum and over plain hyper.

use std::{convert::Infallible, sync::Arc};

use axum::{Extension, Router, routing::post as on_post};
use berry_tower::{
    auth::{ApiKey, ApiKeys, AuthLayer},
    body::{Buffered, ResponseBody},
    collect::CollectLayer,
    drain::DrainLayer,
    error::Unroutable,
    error_response::ErrorResponseLayer,
    inspect::{InspectLayer, Requested},
    permission::ModelPermissionLayer,
    rate_limit::{Limits, PerKey, RateLimitLayer},
};
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{axum, hello, hyper, post};

fn app() -> Router {
    Router::new().route("/", on_post(|| async { "hello" }))
}

fn keys() -> ApiKeys<Arc<str>> {
    ApiKeys::new([ApiKey::from_token("good", Arc::from("alice"))])
}

#[tokio::test]
async fn auth_works_alone() {
    let handler = |Extension(user): Extension<Arc<str>>| async move { format!("hello {user}") };
    let app = Router::new().route("/", on_post(handler)).layer(AuthLayer::new(keys()));
    let address = axum(app).await;
    let (status, text) = post(address, "authorization: Bearer good\r\n", "").await;
    assert_eq!(status, 200);
    assert!(text.ends_with("hello alice"));
    assert_eq!(post(address, "", "").await.0, 401);

    let address = hyper(AuthLayer::new(keys()).layer(hello())).await;
    assert_eq!(post(address, "authorization: Bearer good\r\n", "").await.0, 200);
    assert_eq!(post(address, "", "").await.0, 401);
}

#[tokio::test]
async fn rate_limit_works_alone() {
    let layer = || {
        RateLimitLayer::new(PerKey::new(Limits::new().per_hour(1), |head: &Parts| head.headers.get("x-user").cloned()))
    };
    for address in [axum(app().layer(layer())).await, hyper(layer().layer(hello())).await] {
        assert_eq!(post(address, "x-user: a\r\n", "").await.0, 200);
        let (status, text) = post(address, "x-user: a\r\n", "").await;
        assert_eq!(status, 429);
        assert!(text.contains("\r\nretry-after: 3600\r\n"), "{text}");
        assert_eq!(post(address, "x-user: b\r\n", "").await.0, 200);
        assert_eq!(post(address, "", "").await.0, 200);
    }
}

#[tokio::test]
async fn inspect_works_alone() {
    let handler = |Extension(requested): Extension<Requested>, body: String| async move {
        format!("{} {}", requested.model, body.len())
    };
    let address =
        axum(Router::new().route("/", on_post(handler)).layer((CollectLayer::new(), InspectLayer::new()))).await;
    let (status, text) = post(address, "", r#"{"model":"fast"}"#).await;
    assert_eq!(status, 200);
    assert!(text.ends_with("fast 16"), "{text}");
    assert_eq!(post(address, "", "[]").await.0, 400);

    let address = hyper(CollectLayer::new().layer(InspectLayer::new().layer(hello()))).await;
    assert_eq!(post(address, "", r#"{"model":"fast"}"#).await.0, 200);
    assert_eq!(post(address, "", "{}").await.0, 400);
}

/// The application adds the identity and the inspected request itself.
#[tokio::test]
async fn permission_works_alone() {
    async fn with_extensions<B>(request: Request<B>) -> Result<Response<ResponseBody<Full<Bytes>>>, Infallible> {
        let service = ModelPermissionLayer::new(|user: &String, model: &str| user == model).layer(hello::<Buffered>());
        let (mut head, _) = request.into_parts();
        let body = Bytes::copy_from_slice(head.headers["x-body"].as_bytes());
        head.extensions.insert(Requested::read(&body).unwrap());
        head.extensions.insert("alice".to_owned());
        service.oneshot(Request::from_parts(head, Buffered::from(body))).await
    }
    let app = Router::new().route_service("/", service_fn(with_extensions));
    for address in [axum(app).await, hyper(service_fn(with_extensions)).await] {
        assert_eq!(post(address, "x-body: {\"model\":\"alice\"}\r\n", "").await.0, 200);
        assert_eq!(post(address, "x-body: {\"model\":\"bob\"}\r\n", "").await.0, 403);
    }
}

#[tokio::test]
async fn error_response_works_alone() {
    async fn fail<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Unroutable> {
        match request.headers().get("x-good") {
            Some(_) => Ok(Response::new(Full::from("hello"))),
            None => Err(Unroutable::UnknownModel),
        }
    }
    let app = Router::new().route_service("/", ErrorResponseLayer::new().layer(service_fn(fail)));
    for address in [axum(app).await, hyper(ErrorResponseLayer::new().layer(service_fn(fail))).await] {
        assert_eq!(post(address, "x-good: 1\r\n", "").await.0, 200);
        assert_eq!(post(address, "", "").await.0, 404);
    }
}

#[tokio::test]
async fn drain_works_alone() {
    let ignore_body =
        service_fn(|_: Request<_>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("unread"))) });
    let body = "x".repeat(3_000_000);
    for address in [axum(app().layer(DrainLayer::new())).await, hyper(DrainLayer::new().layer(ignore_body)).await] {
        assert_eq!(post(address, "", &body).await.0, 200);
    }
}
