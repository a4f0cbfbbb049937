//! The layers among those of tower and tower-http: bodies that these make by themselves, limits that
//! they put around requests, and requests that they turn away.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use berry_tower::{
    auth::{ApiKey, ApiKeys, AuthLayer},
    backend::{Backend, Catalog, Model, Provider, strategy::Random},
    body::Buffered,
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    client::BackendClient,
    collect::CollectLayer,
    commit::CommitLayer,
    drain::DrainLayer,
    early::EarlyLayer,
    error::find,
    error_response::ErrorResponseLayer,
    inspect::InspectLayer,
    rate_limit::{Limits, PerKey, RateLimitLayer},
    resume::ResumeLayer,
    retry::{BackoffPolicy, RetryLayer},
    select::SelectLayer,
    spend::SpendLayer,
    store::Memory,
};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body::{Body, Frame};
use http_body_util::{Full, Limited, StreamBody};
use tokio::time::{Instant, sleep};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{cors::CorsLayer, limit::RequestBodyLimitLayer, timeout::TimeoutLayer};

use crate::support::hello;

/// Sends a preflight request through `Cors` and `Timeout` around a service. Both answer by themselves.
async fn check_preflight<S, A, B>(service: S)
where
    S: Service<Request<A>, Response = Response<B>, Error: Into<BoxError>>,
    A: Default,
    B: Body + Default,
{
    let service = ServiceBuilder::new()
        .layer(CorsLayer::permissive())
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(9)))
        .service(service);
    let request = Request::builder().method(Method::OPTIONS).header("origin", "http://a").body(A::default()).unwrap();
    let response = service.oneshot(request).await.map_err(Into::into).unwrap();
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn layers_that_answer_by_themselves_stand_directly_outside_of_each_layer() {
    type Unread = Full<Bytes>;
    let limit = PerKey::new(Limits::new().per_minute(9), |_: &Parts| Some(()));
    let catalog = Catalog::new([]).unwrap();
    check_preflight::<_, Unread, _>(AuthLayer::new(ApiKeys::new([ApiKey::from_token("t", ())])).layer(hello())).await;
    check_preflight::<_, Unread, _>(RateLimitLayer::new(limit).layer(hello())).await;
    check_preflight::<_, Unread, _>(DrainLayer::new().layer(hello())).await;
    check_preflight::<_, Unread, _>(ErrorResponseLayer::new().layer(hello())).await;
    check_preflight::<_, Unread, _>(CollectLayer::new().layer(hello())).await;
    check_preflight::<_, Unread, _>(EarlyLayer::new(None).layer(hello())).await;
    check_preflight::<_, Unread, _>(CommitLayer.layer(hello())).await;
    check_preflight::<_, Unread, _>(CircuitBreakerLayer::new(BreakerPolicy::default()).layer(hello())).await;
    check_preflight::<_, Buffered, _>(InspectLayer::new().layer(hello())).await;
    check_preflight::<_, Buffered, _>(SpendLayer::new(Arc::new(Memory::new()), |_| None).layer(hello())).await;
    check_preflight::<_, Buffered, _>(ResumeLayer.layer(hello())).await;
    check_preflight::<_, Buffered, _>(RetryLayer::new(BackoffPolicy::default()).layer(hello())).await;
    check_preflight::<_, Buffered, _>(SelectLayer::new(catalog).layer(hello())).await;
    check_preflight::<_, Buffered, _>(BackendClient::new(hello())).await;
}

/// Returns a body of 400 bytes without an announced length.
fn unannounced() -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
    StreamBody::new(stream::iter((0..4).map(|_| Ok(Frame::data(Bytes::from(vec![b'x'; 100]))))))
}

#[tokio::test]
async fn collect_rejects_a_body_over_the_limit_of_an_outer_layer_as_too_large() {
    let limited = ServiceBuilder::new().layer(RequestBodyLimitLayer::new(250)).layer(CollectLayer::new());
    let response = limited.service(hello()).oneshot(Request::new(unannounced())).await.unwrap();
    assert_eq!(response.status(), 413);

    // As axum wraps the errors of bodies.
    let wrapped = axum::body::Body::new(Limited::new(unannounced(), 250));
    assert_eq!(CollectLayer::new().layer(hello()).oneshot(Request::new(wrapped)).await.unwrap().status(), 413);

    let cut = StreamBody::new(stream::iter([Err::<Frame<Bytes>, _>(BoxError::from("cut"))]));
    assert_eq!(CollectLayer::new().layer(hello()).oneshot(Request::new(cut)).await.unwrap().status(), 400);
}

#[tokio::test]
async fn error_of_a_transport_is_found_behind_all_layers() {
    let unplugged = service_fn(async |_: Request<Buffered>| Err::<Response<Full<Bytes>>, _>(fmt::Error));
    let provider = Arc::new(Provider::new("p", "http://127.0.0.1:9").unwrap());
    let catalog = Catalog::new([Model::new("m", Arc::new(Random), [Backend::new(provider, "m")])]).unwrap();
    let service = ServiceBuilder::new()
        .layer(InspectLayer::new())
        .layer(RetryLayer::new(BackoffPolicy::new().with_max_retries(0)))
        .layer(CommitLayer)
        .layer(SelectLayer::new(catalog))
        .layer(CircuitBreakerLayer::new(BreakerPolicy::default()))
        .service(BackendClient::new(unplugged));
    let request = Request::post("/v1/embeddings").body(Buffered::from(r#"{"model":"m"}"#)).unwrap();
    let error = service.oneshot(request).await.unwrap_err();
    assert!(find::<fmt::Error>(&*error).is_some(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn shed_load_is_a_503_and_no_failure_of_the_service() {
    let slow = service_fn(async |_: Request<()>| {
        sleep(Duration::from_secs(1)).await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let breaker = CircuitBreakerLayer::new(BreakerPolicy::new().with_failure_threshold(1));
    let app = ServiceBuilder::new()
        .layer(ErrorResponseLayer::new())
        .layer(breaker.clone())
        .load_shed()
        .concurrency_limit(1)
        .service(slow);
    let (served, shed) = tokio::join!(app.clone().oneshot(Request::new(())), app.oneshot(Request::new(())));
    let shed = shed.unwrap();
    assert_eq!((served.unwrap().status().as_u16(), shed.status().as_u16()), (200, 503));
    assert_eq!(shed.headers()["retry-after"], "1");
    assert!(breaker.breaker().state(Instant::now()).is_closed());
}
