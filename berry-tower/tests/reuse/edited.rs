//! Custom layers that edit the body between Inspect and BackendClient.

use std::{
    convert::Infallible,
    sync::{Arc, mpsc},
};

use berry_tower::{
    backend::{Backend, Catalog, Model, Provider, strategy::Failover},
    body::Buffered,
    client::BackendClient,
    collect::CollectLayer,
    inspect::InspectLayer,
    select::SelectLayer,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// Returns the body that the backend receives when a layer between Inspect and Select applies `edit`.
async fn upstream_body(edit: impl Fn(&Bytes) -> String + Clone) -> Value {
    let provider = Arc::new(Provider::new("p", "http://127.0.0.1:9").unwrap());
    let catalog = Catalog::new([Model::new("fast", Arc::new(Failover), [Backend::new(provider, "gpt-4o")])]).unwrap();
    let (sender, receiver) = mpsc::channel();
    let upstream = service_fn(move |request: Request<Buffered>| {
        sender.send(request.into_body().into_bytes()).unwrap();
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("{}")))))
    });
    let service = ServiceBuilder::new()
        .layer(CollectLayer::new())
        .layer(InspectLayer::new())
        .map_request(move |request: Request<Buffered>| request.map(|body| edit(body.bytes()).into()))
        .layer(SelectLayer::new(catalog))
        .service(BackendClient::new(upstream));
    let request = Request::post("/v1/chat/completions").body(Full::<Bytes>::from(r#"{"model":"fast","messages":[]}"#));
    assert_eq!(service.oneshot(request.unwrap()).await.unwrap().status(), 200);
    serde_json::from_slice(&receiver.recv().unwrap()).unwrap()
}

#[tokio::test]
async fn splices_the_model_into_the_edited_body() {
    let rewritten = upstream_body(|body| {
        let mut body: Value = serde_json::from_slice(body).unwrap();
        body["messages"] = json!([{ "role": "system", "content": "be nice" }]);
        body.to_string()
    });
    let expected = json!({ "model": "gpt-4o", "messages": [{ "role": "system", "content": "be nice" }] });
    assert_eq!(rewritten.await, expected);

    let prefixed = upstream_body(|body| String::from_utf8_lossy(body).replacen('{', r#"{"user":"u-17","#, 1));
    assert_eq!(prefixed.await, json!({ "user": "u-17", "model": "gpt-4o", "messages": [] }));
}
