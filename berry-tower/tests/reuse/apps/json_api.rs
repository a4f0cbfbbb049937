//! A JSON API with retries and a circuit breaker that use a custom classifier and retry policy.

use std::{convert::Infallible, error::Error, time::Duration};

use berry_tower::{
    body::Buffered,
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    classify::{Class, RequestFacts},
    collect::CollectLayer,
    error_response::ErrorResponseLayer,
    retry::{Decision, FailedAttempt, RetryLayer},
};
use bytes::Bytes;
use http::{Method, Request, Response, response::Parts};
use http_body_util::{BodyExt, Full};
use tokio::sync::watch;
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// Classifies responses of an API that returns 200 with `x-busy` when it is busy.
fn classify(_: &RequestFacts, outcome: Result<&Parts, &(dyn Error + 'static)>) -> Class {
    match outcome {
        Ok(head) if head.headers.contains_key("x-busy") => Class::Server,
        Ok(_) => Class::Success,
        Err(_) => Class::Network,
    }
}

/// Retries requests that are safe to repeat, up to three attempts.
fn policy(failed: &FailedAttempt<'_>) -> Decision {
    match (failed.request().method(), failed.attempts()) {
        (&Method::PUT, n @ 1..=2) => Decision::RetryAfter(Duration::from_millis(50) * n),
        _ => Decision::Stop,
    }
}

#[tokio::test(start_paused = true)]
async fn retries_with_custom_classifier_and_policy() {
    let (calls, counter) = watch::channel(0);
    let api = service_fn(move |request: Request<Buffered>| {
        calls.send_modify(|calls| *calls += 1);
        let busy = *calls.borrow() % 3 != 0;
        let response = Response::builder().header(if busy { "x-busy" } else { "x-ok" }, "1");
        let body = Full::<Bytes>::from(request.into_body().into_bytes());
        std::future::ready(Ok::<_, Infallible>(response.body(body).unwrap()))
    });
    let app = ServiceBuilder::new()
        .layer(ErrorResponseLayer::new())
        .layer(CollectLayer::new().max_body(1 << 10))
        .layer(RetryLayer::new(policy).classify(classify))
        .layer(CircuitBreakerLayer::new(BreakerPolicy::default()).classify(classify))
        .service(api);
    let send = |method| app.clone().oneshot(Request::builder().method(method).body(Full::<Bytes>::from("{}")).unwrap());

    let response = send(Method::PUT).await.unwrap();
    assert!(response.headers().contains_key("x-ok"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{}");
    assert_eq!(*counter.borrow(), 3);
    assert!(send(Method::POST).await.unwrap().headers().contains_key("x-busy"));
    assert_eq!(*counter.borrow(), 4);
}
