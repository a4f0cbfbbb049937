//! Every layer over the body types of other crates: data, trailers and errors pass, and a layer that is
//! applied twice shares its state.

use std::{convert::Infallible, fmt::Debug};

use axum::body::Body as AxumBody;
use berry_tower::{
    auth::{ApiKey, ApiKeys, AuthLayer},
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    collect::CollectLayer,
    drain::DrainLayer,
    early::EarlyLayer,
    error_response::ErrorResponseLayer,
    rate_limit::{Limits, PerKey, RateLimitLayer},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response, request::Parts};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{
    compression::CompressionLayer, limit::RequestBodyLimitLayer, timeout::TimeoutLayer, trace::TraceLayer,
};

/// One chunk of data, then a trailer.
fn with_trailers() -> impl Body<Data = Bytes, Error = Infallible> + Send + Sync + Unpin + 'static {
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())]);
    let frames = [Frame::data(Bytes::from("hello")), Frame::trailers(trailers)];
    StreamBody::new(stream::iter(frames.map(Ok)))
}

/// Sends a request through a service and expects the data and the trailer.
async fn check_passes<S, B>(service: S)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug>,
    B: Body<Data = Bytes, Error: Debug>,
{
    let request = Request::post("/").header("authorization", "Bearer t").body(Full::default()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let read = response.into_body().collect().await.unwrap();
    assert_eq!(read.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(read.to_bytes(), "hello");
}

/// Builds a service for any request body that responds with the given body.
macro_rules! respond {
    ($body:expr) => {
        service_fn(|_: Request<_>| async { Ok::<_, Infallible>(Response::new($body)) })
    };
}

/// Runs `check_passes` with every layer, and with all of them, over a service with this response body.
macro_rules! layers_pass {
    ($body:expr) => {{
        let keys = ApiKeys::new([ApiKey::from_token("t", "me")]);
        let limit = PerKey::new(Limits::new().per_minute(9).concurrent(1), |_: &Parts| Some(()));
        let breaker = CircuitBreakerLayer::new(BreakerPolicy::default());
        check_passes(AuthLayer::new(keys.clone()).layer(respond!($body))).await;
        check_passes(RateLimitLayer::new(limit.clone()).layer(respond!($body))).await;
        check_passes(ErrorResponseLayer::new().layer(respond!($body))).await;
        check_passes(CollectLayer::new().layer(respond!($body))).await;
        check_passes(DrainLayer::new().layer(respond!($body))).await;
        check_passes(EarlyLayer::new(None).layer(respond!($body))).await;
        check_passes(breaker.clone().layer(respond!($body))).await;
        let all = ServiceBuilder::new()
            .layer(DrainLayer::new())
            .layer(ErrorResponseLayer::new())
            .layer(AuthLayer::new(keys))
            .layer(RateLimitLayer::new(limit))
            .layer(CollectLayer::new())
            .layer(EarlyLayer::new(None))
            .layer(breaker);
        check_passes(all.service(respond!($body))).await;
    }};
}

#[tokio::test]
async fn layers_pass_bodies_of_other_crates() {
    layers_pass!(with_trailers());
    layers_pass!(with_trailers().boxed());
    layers_pass!(with_trailers().boxed_unsync());
    layers_pass!(with_trailers().map_err(|never| -> BoxError { match never {} }).boxed_unsync());
    layers_pass!(http_body_util::Either::<_, Empty<Bytes>>::Left(with_trailers()));
    layers_pass!(AxumBody::new(with_trailers()));
}

#[tokio::test]
async fn layers_work_inside_and_outside_of_tower_http_layers() {
    let keys = ApiKeys::new([ApiKey::from_token("t", "me")]);
    let limit = PerKey::new(Limits::new().per_minute(9), |_: &Parts| Some(()));
    let timeout =
        || TimeoutLayer::with_status_code(http::StatusCode::GATEWAY_TIMEOUT, std::time::Duration::from_secs(9));
    let breaker = CircuitBreakerLayer::new(BreakerPolicy::default());
    let outside = ServiceBuilder::new()
        .layer(ErrorResponseLayer::new())
        .layer(AuthLayer::new(keys.clone()))
        .layer(RateLimitLayer::new(limit.clone()))
        .layer(EarlyLayer::new(None))
        .layer(breaker.clone())
        .layer(TraceLayer::new_for_http())
        .layer(CompressionLayer::new())
        .layer(RequestBodyLimitLayer::new(1_000));
    check_passes(outside.service(respond!(with_trailers()))).await;
    let inside = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CompressionLayer::new())
        .layer(RequestBodyLimitLayer::new(1_000))
        .layer(timeout())
        .layer(ErrorResponseLayer::new())
        .layer(AuthLayer::new(keys))
        .layer(RateLimitLayer::new(limit))
        .layer(EarlyLayer::new(None))
        .layer(breaker);
    check_passes(inside.service(respond!(AxumBody::new(with_trailers())))).await;
}

#[tokio::test]
async fn layer_applied_twice_shares_its_state() {
    let inner =
        || service_fn(|_: Request<Full<Bytes>>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
    let keys = ApiKeys::new([ApiKey::from_token("t", "me")]);
    let auth = AuthLayer::new(keys.clone());
    let limit = RateLimitLayer::new(PerKey::new(Limits::new().per_minute(1), |_: &Parts| Some(())));
    let request = || Request::post("/").header("authorization", "Bearer t").body(Full::<Bytes>::default()).unwrap();

    assert_eq!(limit.layer(inner()).oneshot(request()).await.unwrap().status(), 200);
    assert_eq!(limit.layer(inner()).oneshot(request()).await.unwrap().status(), 429);

    let (first, second) = (auth.layer(inner()), auth.layer(inner()));
    assert_eq!(first.clone().oneshot(request()).await.unwrap().status(), 200);
    keys.replace([]);
    assert_eq!(first.oneshot(request()).await.unwrap().status(), 401);
    assert_eq!(second.oneshot(request()).await.unwrap().status(), 401);

    let breaker = CircuitBreakerLayer::new(BreakerPolicy::default());
    let fails =
        || service_fn(|_: Request<Full<Bytes>>| async { Err::<Response<Full<Bytes>>, _>(BoxError::from("down")) });
    for _ in 0..5 {
        assert!(breaker.layer(fails()).oneshot(request()).await.is_err());
    }
    assert!(breaker.layer(inner()).oneshot(request()).await.unwrap_err().is::<berry_tower::error::BreakerOpen>());
}
