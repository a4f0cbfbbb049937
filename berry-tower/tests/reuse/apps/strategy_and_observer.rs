//! A gateway with a strategy and an observer of its own.

use std::{
    convert::Infallible,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use berry_tower::{
    attempt::{BackendId, ServedBy},
    backend::{Backend, Catalog, Model, Provider},
    body::Buffered,
    inspect::InspectLayer,
    observe::{AttemptEnd, BackendObserver, Observer},
    select::{
        SelectLayer,
        strategy::{Candidate, Strategy},
    },
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use rand::Rng;
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// Picks the last backend of the model.
#[derive(Debug)]
struct Last;

impl Strategy for Last {
    fn name(&self) -> &'static str {
        "last"
    }
    fn pick(&self, candidates: &[Candidate<'_>], _: &mut dyn Rng) -> usize {
        candidates.len() - 1
    }
    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        (1..=candidates.len()).map(|i| f64::from(u8::from(i == candidates.len()))).collect()
    }
    fn effective_weight(&self, _: &Candidate<'_>) -> f64 {
        1.0
    }
}

#[derive(Clone, Debug, Default)]
struct Ended(Arc<AtomicUsize>);

impl Observer for Ended {
    fn backend(&self, _: &BackendId) -> Arc<dyn BackendObserver> {
        Arc::new(self.clone())
    }
}

impl BackendObserver for Ended {
    fn attempt_ended(&self, _: &AttemptEnd<'_>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn follows_a_strategy_and_tells_an_observer() {
    let provider = Arc::new(Provider::new("local", "http://127.0.0.1:9").unwrap());
    let backends = ["a", "b"].map(|name| Backend::new(provider.clone(), name));
    let ended = Ended::default();
    let catalog = Catalog::new([Model::new("m", Arc::new(Last), backends)]).observed_by(Arc::new(ended.clone()));
    let upstream =
        service_fn(async |_: Request<Buffered>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    let app = ServiceBuilder::new().layer(InspectLayer::new()).layer(SelectLayer::new(catalog)).service(upstream);

    let response = app.oneshot(Request::post("/v1/embeddings").body(Buffered::from(r#"{"model":"m"}"#)).unwrap()).await;
    let response = response.unwrap();
    assert_eq!(response.extensions().get::<ServedBy>().unwrap().0.to_string(), "local:b");
    response.into_body().collect().await.unwrap();
    assert_eq!(ended.0.load(Relaxed), 1);
}
