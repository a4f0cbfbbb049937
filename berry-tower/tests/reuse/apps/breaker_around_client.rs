//! A client with a circuit breaker around hyper-util's pooling client.

use std::{
    convert::Infallible,
    sync::Arc,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use berry_tower::{
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    error::BreakerOpen,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::support::hyper;

#[tokio::test]
async fn stops_calling_a_server_that_fails() {
    let status = Arc::new(AtomicU16::new(404));
    let current = status.clone();
    let server = hyper(service_fn(move |_| {
        let response = Response::builder().status(current.load(Relaxed)).body(Full::<Bytes>::from("hello"));
        async { Ok::<_, Infallible>(response.unwrap()) }
    }))
    .await;

    let client = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(BreakerPolicy::default()))
        .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
    let get = || {
        let request = Request::get(format!("http://{server}/")).body(Full::default()).unwrap();
        client.clone().oneshot(request)
    };

    // Client errors do not open the breaker.
    for _ in 0..10 {
        let response = get().await.unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
    status.store(500, Relaxed);
    for _ in 0..5 {
        assert_eq!(get().await.unwrap().status(), 500);
    }
    let error = get().await.unwrap_err();
    assert!(error.is::<BreakerOpen>(), "{error}");
}
