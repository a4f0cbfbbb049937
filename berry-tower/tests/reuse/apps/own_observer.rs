//! A custom observer that counts successful attempts.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use berry_tower::{
    attempt::BackendId,
    backend::{Backend, Catalog, Model, Provider, strategy::Random},
    body::Buffered,
    classify::Class,
    inspect::InspectLayer,
    observe::{AttemptEnd, BackendObserver, Observer},
    select::SelectLayer,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{ServiceBuilder, ServiceExt, service_fn};

#[derive(Clone, Debug, Default)]
struct Served(Arc<AtomicUsize>);

impl Observer for Served {
    fn backend(&self, _: &BackendId) -> Arc<dyn BackendObserver> {
        Arc::new(self.clone())
    }
}

impl BackendObserver for Served {
    fn attempt_ended(&self, attempt: &AttemptEnd<'_>) {
        self.0.fetch_add(usize::from(attempt.class == Class::Success), Relaxed);
    }
}

#[tokio::test]
async fn observes_attempts_at_the_end_of_their_bodies() {
    let provider = Arc::new(Provider::new("local", "http://127.0.0.1:9").unwrap());
    let served = Served::default();
    let catalog = Catalog::new([Model::new("m", Arc::new(Random), [Backend::new(provider, "m")])]).unwrap();
    let catalog = catalog.observed_by(Arc::new(served.clone()));
    let upstream =
        service_fn(async |_: Request<Buffered>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("{}"))));
    let app = ServiceBuilder::new().layer(InspectLayer::new()).layer(SelectLayer::new(catalog)).service(upstream);

    let request = Request::post("/v1/embeddings").body(Buffered::from(r#"{"model":"m"}"#)).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(served.0.load(Relaxed), 0);
    response.into_body().collect().await.unwrap();
    assert_eq!(served.0.load(Relaxed), 1);
}
