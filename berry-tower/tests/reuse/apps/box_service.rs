//! An application whose service is a `BoxService`, which cannot be cloned.

use std::sync::Arc;

use berry_tower::{
    auth::{ApiKey, ApiKeys, AuthLayer},
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    early::EarlyLayer,
    error_response::ErrorResponseLayer,
    rate_limit::{Limits, PerKey, RateLimitLayer},
};
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxService};

type Body = UnsyncBoxBody<Bytes, BoxError>;

fn service() -> BoxService<Request<()>, Response<Body>, BoxError> {
    let mut calls = 0;
    BoxService::new(service_fn(move |request: Request<()>| {
        calls += 1;
        let text = format!("call {calls} of {}", request.extensions().get::<Arc<str>>().unwrap());
        let body = Full::<Bytes>::from(text).map_err(Into::into).boxed_unsync();
        std::future::ready(Ok(Response::new(body)))
    }))
}

#[tokio::test]
async fn wraps_a_service_that_cannot_be_cloned() {
    let user = |head: &Parts| head.extensions.get::<Arc<str>>().cloned();
    let mut app = ServiceBuilder::new()
        .layer(ErrorResponseLayer::new())
        .layer(AuthLayer::new(ApiKeys::new([ApiKey::from_token("t", Arc::<str>::from("me"))])))
        .layer(RateLimitLayer::new(PerKey::new(Limits::new().per_minute(2), user)))
        .layer(EarlyLayer::new(None))
        .layer(CircuitBreakerLayer::new(BreakerPolicy::default()))
        .service(service());

    for (token, status, text) in [
        ("t", 200, "call 1 of me"),
        ("wrong", 401, "invalid_api_key"),
        ("t", 200, "call 2 of me"),
        ("t", 429, "requests"),
    ] {
        let request = Request::builder().header("x-api-key", token).body(()).unwrap();
        let response = app.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), status);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(std::str::from_utf8(&body).unwrap().contains(text), "{body:?}");
    }
}
