//! A gateway with a custom transport, which signs each upstream request.

use std::sync::Arc;

use berry_tower::{
    backend::{Backend, Catalog, Model, Provider, strategy::Failover},
    body::Buffered,
    error::BoxError,
    gateway::{Settings, core},
};
use bytes::Bytes;
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use tower::{ServiceBuilder, ServiceExt, service_fn};

#[derive(Clone)]
struct User;

/// Responds for one of two hosts and fails for the other.
async fn send(request: Request<Buffered>) -> Result<Response<Full<Bytes>>, BoxError> {
    let host = request.uri().host().unwrap_or_default().to_owned();
    if host == "down.example" {
        return Err("the host is not reachable".into());
    }
    assert_eq!(request.uri().path(), "/v1/embeddings");
    assert_eq!(request.headers()[AUTHORIZATION], "Bearer sk-upstream");
    let body = format!(r#"{{"data":["{host}"],"signature":{:?}}}"#, request.headers()["x-signature"]);
    Ok(Response::builder().header("content-type", "application/json").body(body.into())?)
}

#[tokio::test]
async fn reaches_upstreams_through_a_custom_transport() {
    let transport = ServiceBuilder::new()
        .map_request(|mut request: Request<Buffered>| {
            let length = request.body().bytes().len();
            request.headers_mut().insert("x-signature", format!("signed {length} bytes").parse().unwrap());
            request
        })
        .service(service_fn(send));
    let backends = [("down", 0), ("up", 1)].map(|(name, priority)| {
        let provider =
            Provider::new(name, &format!("https://{name}.example")).unwrap().with_key("sk-upstream").unwrap();
        Backend::new(Arc::new(provider), "m").with_priority(priority)
    });
    let catalog = Catalog::new([Model::new("m", Arc::new(Failover), backends)]).unwrap();
    let app = core(Settings::with_transport(catalog, transport), |_: &User, _: &str| true);

    let request = Request::post("/any/prefix/v1/embeddings").extension(User);
    let response = app.oneshot(request.body(Buffered::from(r#"{"model":"m","input":"x"}"#)).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, r#"{"data":["up.example"],"signature":"signed 25 bytes"}"#);
}
