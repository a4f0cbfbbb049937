//! Selection with a custom strategy.

use std::{convert::Infallible, sync::Arc};

use berry_tower::{
    attempt::ServedBy,
    backend::{
        Backend, Catalog, Model, Provider,
        strategy::{Candidate, Strategy},
    },
    body::Buffered,
    inspect::InspectLayer,
    select::SelectLayer,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// Picks the last backend of the model.
#[derive(Debug)]
struct Last;

impl Strategy for Last {
    fn name(&self) -> &'static str {
        "last"
    }

    fn pick(&self, candidates: &[Candidate<'_>], _: &mut dyn FnMut() -> f64) -> usize {
        candidates.len() - 1
    }

    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        (1..=candidates.len()).map(|i| f64::from(u8::from(i == candidates.len()))).collect()
    }
}

#[tokio::test]
async fn selects_with_a_custom_strategy() {
    let provider = Arc::new(Provider::new("local", "http://127.0.0.1:9").unwrap());
    let backends = ["a", "b"].map(|name| Backend::new(provider.clone(), name));
    let catalog = Catalog::new([Model::new("m", Arc::new(Last), backends)]).unwrap();
    let upstream =
        service_fn(async |_: Request<Buffered>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    let app = ServiceBuilder::new().layer(InspectLayer::new()).layer(SelectLayer::new(catalog)).service(upstream);

    let request = Request::post("/v1/embeddings").body(Buffered::from(r#"{"model":"m"}"#)).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.extensions().get::<ServedBy>().unwrap().0.to_string(), "local:b");
}
