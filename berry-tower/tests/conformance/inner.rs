//! Tower's contract for the layers between the edge and the upstream.

use std::{sync::Arc, time::Duration};

use berry_tower::{
    attempt::Attempt,
    backend::{Backend, Catalog, Model, Provider, strategy::RoundRobin},
    body::Buffered,
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    classify::Class,
    client::BackendClient,
    commit::CommitLayer,
    early::EarlyLayer,
    error::Unroutable,
    inspect::Requested,
    resume::ResumeLayer,
    retry::{BackoffPolicy, RetryLayer},
    select::{SelectLayer, Selected},
};
use http::Request;
use tower::{Layer, ServiceExt, layer::layer_fn};

use crate::support::{Behaviour, Strict, check};

const BODY: &str = r#"{"model":"fast"}"#;
const PATH: &str = "/v1/audio/speech";

fn pool() -> Vec<Backend> {
    let provider = Arc::new(Provider::new("p", "http://127.0.0.1:9").unwrap());
    ["a", "b"].map(|model| Backend::new(provider.clone(), model)).into()
}

fn inspected_request() -> Request<Buffered> {
    let requested = Requested::read(&BODY.into()).unwrap().with_path(PATH);
    Request::post(PATH).extension(requested).body(Buffered::from(BODY)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn retry_keeps_the_contract() {
    check(RetryLayer::new(BackoffPolicy::default()).total_timeout(Some(Duration::from_secs(60))), inspected_request)
        .await;
}

#[tokio::test(start_paused = true)]
async fn early_keeps_the_contract() {
    check(EarlyLayer::new(Some(Duration::from_secs(1))).commit_after(Some(Duration::from_secs(1))), inspected_request)
        .await;
}

#[tokio::test]
async fn resume_and_commit_keep_the_contract() {
    check(ResumeLayer, inspected_request).await;
    check(CommitLayer, inspected_request).await;
}

#[tokio::test]
async fn breaker_keeps_the_contract() {
    check(CircuitBreakerLayer::new(BreakerPolicy::default()), inspected_request).await;
}

#[tokio::test]
async fn client_keeps_the_contract() {
    let selected = || {
        let backend = Arc::new(pool().remove(0));
        let mut request = inspected_request();
        request.extensions_mut().insert(Selected::new(backend).with_last_resort(true));
        request
    };
    check(layer_fn(BackendClient::new), selected).await;
}

#[tokio::test]
async fn select_keeps_the_contract() {
    let catalog = Catalog::new([Model::new("fast", Arc::new(RoundRobin::default()), pool())]).unwrap();
    check(SelectLayer::new(catalog.clone()), inspected_request).await;
    let in_flight =
        || catalog.load().states().map(|(_, live)| live.view(tokio::time::Instant::now()).in_flight).sum::<u32>();
    assert_eq!(in_flight(), 0, "every slot is released");

    // A rejection is an error and releases the inner service.
    let strict = Strict::new(1, Behaviour::Hangs);
    let mut request = inspected_request();
    let tried = catalog.load().models()[0].backends().iter().fold(Attempt::first(), |attempt, backend| {
        attempt.record_backend(backend.id().clone());
        attempt.next(Class::Auth, false)
    });
    request.extensions_mut().insert(tried);
    let error = SelectLayer::new(catalog.clone()).layer(strict).oneshot(request).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Unroutable::NoCandidates { has_fallback: false }));
    assert_eq!(in_flight(), 0);
}
