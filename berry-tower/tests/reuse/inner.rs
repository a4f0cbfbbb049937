//! Each layer between the edge and the upstream without the others.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Body, error_handling::HandleErrorLayer, routing::post as on_post};
use berry_tower::{
    body::Buffered,
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    classify::{ErrorBody, HttpVerdict},
    collect::CollectLayer,
    commit::CommitLayer,
    early::EarlyLayer,
    error::Failure,
    error_response::ErrorResponseLayer,
    resume::ResumeLayer,
    retry::{BackoffPolicy, Decision, FailedAttempt, RetryLayer, RetryPolicy},
    upstream_time::UpstreamTime,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::support::{axum, hello, hyper, post};

#[tokio::test]
async fn breaker_works_in_axum() {
    let policy = BreakerPolicy::new().with_failure_threshold(2);
    let open = |error: BoxError| async move { (StatusCode::SERVICE_UNAVAILABLE, error.to_string()) };
    let layers = ServiceBuilder::new().layer(HandleErrorLayer::new(open)).layer(CircuitBreakerLayer::new(policy));
    let broken = on_post(|| async { StatusCode::INTERNAL_SERVER_ERROR });
    let address = axum(Router::new().route("/", broken).layer(layers)).await;
    for status in [500, 500, 503, 503] {
        assert_eq!(post(address, "", "").await.0, status);
    }
}

#[tokio::test]
async fn breaker_works_over_hyper() {
    let policy = BreakerPolicy::new().with_failure_threshold(1);
    let broken = service_fn(async |_| {
        let response = Response::builder().status(500).body(Full::new(Bytes::from("broken")));
        Ok::<_, Infallible>(response.unwrap())
    });
    let service = ErrorResponseLayer::new().layer(CircuitBreakerLayer::new(policy).layer(broken));
    let address = hyper(service).await;
    assert_eq!(post(address, "", "").await.0, 500);
    let (status, text) = post(address, "", "").await;
    assert_eq!(status, 503);
    assert!(text.contains("no_backend_available") && text.to_lowercase().contains("retry-after"), "{text}");
}

#[tokio::test]
async fn retries_an_ordinary_service() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let flaky = service_fn(move |_: Request<Buffered>| {
        let status = if counted.fetch_add(1, Relaxed) == 0 { 503 } else { 200 };
        std::future::ready(Ok::<_, Infallible>(Response::builder().status(status).body(Body::from("hello")).unwrap()))
    });
    let policy = BackoffPolicy::new().with_backoff(Duration::from_millis(1));
    let stack = ServiceBuilder::new()
        .layer(ErrorResponseLayer::new())
        .layer(CollectLayer::new())
        .layer(RetryLayer::new(policy))
        .service(flaky);
    let address = axum(Router::new().route_service("/", stack)).await;
    let (status, text) = post(address, "", r#"{"model":"m"}"#).await;
    assert_eq!((status, calls.load(Relaxed)), (200, 2));
    assert!(text.ends_with("hello"), "{text}");
}

#[tokio::test]
async fn a_policy_that_cannot_be_cloned_takes_every_setting() {
    struct Twice(AtomicU32);
    impl RetryPolicy for Twice {
        fn decide(&self, _: &FailedAttempt<'_>) -> Decision {
            if self.0.fetch_add(1, Relaxed) < 2 { Decision::RetryAfter(Duration::ZERO) } else { Decision::Stop }
        }
    }
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let failing = service_fn(move |_: Request<Buffered>| {
        counted.fetch_add(1, Relaxed);
        std::future::ready(Ok::<_, Infallible>(Response::builder().status(503).body(Body::empty()).unwrap()))
    });
    let layer = RetryLayer::new(Twice(AtomicU32::new(0)))
        .total_timeout(Some(Duration::from_secs(60)))
        .budget(Arc::default())
        .classify(HttpVerdict);
    let response = layer.layer(failing).oneshot(Request::default()).await.unwrap();
    assert_eq!((response.status().as_u16(), calls.load(Relaxed)), (503, 3));
}

#[tokio::test(start_paused = true)]
async fn waits_between_attempts_count_as_upstream_time() {
    let calls = Arc::new(AtomicU32::new(0));
    let flaky = service_fn(move |request: Request<Buffered>| {
        drop(request.extensions().get().map(UpstreamTime::wait));
        let status = if calls.fetch_add(1, Relaxed) == 0 { 503 } else { 200 };
        std::future::ready(Ok::<_, Infallible>(
            Response::builder().status(status).body(Full::<Bytes>::default()).unwrap(),
        ))
    });
    let (time, started) = (UpstreamTime::default(), Instant::now());
    let request = Request::builder().extension(time.clone()).body(Buffered::from("{}")).unwrap();
    let policy = BackoffPolicy::new().with_backoff(Duration::from_secs(3));
    let response = RetryLayer::new(policy).layer(flaky).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(started.elapsed() > Duration::from_millis(100), "the retry waited");
    assert_eq!(time.total(), Some(started.elapsed()));
}

#[tokio::test]
async fn does_not_retry_a_client_error_in_a_stream() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let reject = service_fn(move |_: Request<Buffered>| {
        counted.fetch_add(1, Relaxed);
        let error = ErrorBody::default().with_code("content_policy_violation").with_message("not this");
        std::future::ready(Err::<Response<Body>, BoxError>(Failure::ErrorEvent(Box::new(error)).into()))
    });
    let stack = ServiceBuilder::new()
        .layer(ErrorResponseLayer::new())
        .layer(CollectLayer::new())
        .layer(RetryLayer::new(BackoffPolicy::default()))
        .service(reject);
    let address = axum(Router::new().route_service("/", stack)).await;
    let (status, text) = post(address, "", r#"{"model":"m","stream":true}"#).await;
    assert_eq!((status, calls.load(Relaxed)), (400, 1));
    assert!(text.contains("content_policy_violation") && text.contains("not this"), "{text}");
}

#[tokio::test]
async fn stream_layers_leave_other_responses_unchanged() {
    let app = || Router::new().route("/", on_post(|| async { "hello" }));
    let early = || EarlyLayer::new(Some(Duration::from_secs(1)));
    for address in
        [axum(app().layer(early())).await, hyper(early().layer(hello())).await, hyper(CommitLayer.layer(hello())).await]
    {
        let (status, text) = post(address, "", "").await;
        assert_eq!(status, 200);
        assert!(text.ends_with("hello") && text.contains("content-length: 5"), "{text}");
    }
    // Resume needs a body that can be sent again.
    let resume = ServiceBuilder::new().layer(CollectLayer::new()).layer(ResumeLayer).service(hello());
    let (status, text) = post(hyper(resume).await, "", r#"{"model":"m"}"#).await;
    assert_eq!(status, 200);
    assert!(text.ends_with("hello") && text.contains("content-length: 5"), "{text}");
}
