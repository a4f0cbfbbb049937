//! A gateway with custom layers between the edge and the core: a concurrency limit, and a layer that
//! chooses the model.

use std::{convert::Infallible, sync::Arc};

use berry_tower::{
    auth::{ApiKey, ApiKeys},
    backend::{Backend, Catalog, Model, Provider, strategy::Random},
    body::Buffered,
    collect::CollectLayer,
    gateway::{Settings, core, edge},
    rate_limit::{Limits, PerKey},
    render::ApiErrors,
};
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Full};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::limit::RequestBodyLimitLayer;

/// Sends requests of users without a plan to the small model.
fn choose_model(request: Request<Buffered>) -> Request<Buffered> {
    let model = if request.extensions().get() == Some(&"paying") { "large" } else { "small" };
    request.map(|body| String::from_utf8_lossy(body.bytes()).replace("auto", model).into())
}

#[tokio::test]
async fn runs_custom_layers_between_edge_and_core() {
    let provider = Arc::new(Provider::new("local", "http://127.0.0.1:9").unwrap());
    let model = |name: &str| Model::new(name, Arc::new(Random), [Backend::new(provider.clone(), format!("{name}-1"))]);
    let catalog = Catalog::new([model("small"), model("large")]).unwrap();
    let echo = service_fn(async |request: Request<Buffered>| {
        let body = format!(r#"{{"data":[{}]}}"#, String::from_utf8_lossy(request.body().bytes()));
        Ok::<_, Infallible>(
            Response::builder().header("content-type", "application/json").body(Full::<Bytes>::from(body)).unwrap(),
        )
    });
    let inner = ServiceBuilder::new()
        .layer(RequestBodyLimitLayer::new(1 << 20))
        .concurrency_limit(100)
        .layer(CollectLayer::new())
        .map_request(choose_model)
        .service(core(Settings::with_transport(catalog, echo), |_: &&str, _: &str| true));
    let keys = ApiKeys::new([ApiKey::from_token("a", "trial"), ApiKey::from_token("b", "paying")]);
    let limit = PerKey::new(Limits::new().per_minute(9), |head: &Parts| head.extensions.get::<&str>().copied());
    let app = edge(inner, keys, limit, ApiErrors);

    for (token, model) in [("a", "small-1"), ("b", "large-1")] {
        let request = Request::post("/v1/embeddings").header("x-api-key", token);
        let request = request.body(Full::<Bytes>::from(r#"{"model":"auto","input":"x"}"#)).unwrap();
        let body = app.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!(r#"{{"data":[{{"model":"{model}","input":"x"}}]}}"#));
    }
}
