use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::endpoint::Endpoint;

async fn echo(request: Request<Buffered>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert!(request.extensions().get::<Requested>().is_some());
    Ok(Response::new(Full::new(request.into_body().into_bytes())))
}

async fn ask(body: impl Into<Bytes>) -> (StatusCode, Bytes) {
    let response = Inspect::new(service_fn(echo)).oneshot(Request::new(Buffered::from(body))).await.unwrap();
    (response.status(), response.into_body().collect().await.unwrap().to_bytes())
}

fn error(body: &[u8]) -> (Value, Value) {
    let error: Value = serde_json::from_slice(body).unwrap();
    (error["error"]["param"].clone(), error["error"]["code"].clone())
}

#[tokio::test]
async fn passes_the_body_on_byte_for_byte() {
    let body = r#" { "model" : "m",  "x":[1, 2] } "#;
    assert_eq!(ask(body).await, (StatusCode::OK, Bytes::from(body)));
}

#[tokio::test]
async fn reads_the_endpoint_from_the_path() {
    let service = Inspect::new(service_fn(|request: Request<Buffered>| async move {
        let endpoint = request.extensions().get::<Requested>().unwrap().endpoint;
        assert_eq!(endpoint, Some(Endpoint::Embeddings));
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let request = Request::post("/v1/embeddings").body(Buffered::from(r#"{"model":"m"}"#)).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn rejects_an_invalid_body_and_names_the_field() {
    for (body, param) in [
        ("[]", Value::Null),
        ("", Value::Null),
        ("{}", "model".into()),
        (r#"{"model":7}"#, "model".into()),
        (r#"{"model":"m","tools":1,"tools":2}"#, "tools".into()),
        (r#"{"model":"m","Tools":1}"#, "Tools".into()),
        (r#"{"model":"m","stream":"true"}"#, "stream".into()),
    ] {
        let (status, answer) = ask(body).await;
        assert_eq!((status, error(&answer)), (StatusCode::BAD_REQUEST, (param, Value::Null)), "{body}");
    }
}

#[tokio::test]
async fn reads_a_large_body_off_the_worker() {
    let large = format!(r#"{{"x":"{}","model":"m"}}"#, "a".repeat(crate::offload::LARGE));
    assert_eq!(ask(large.clone()).await, (StatusCode::OK, Bytes::from(large)));
    let invalid = format!(r#"{{"x":"{}","model":7}}"#, "a".repeat(crate::offload::LARGE));
    let (status, answer) = ask(invalid).await;
    assert_eq!((status, error(&answer).0), (StatusCode::BAD_REQUEST, "model".into()));
}

#[test]
fn inserts_the_default_model_into_an_object() {
    let model = DefaultModel("mod\"x".into());
    let with = |body: &str| model.insert_into(body.as_bytes()).map(|body| String::from_utf8(body.to_vec()).unwrap());
    assert_eq!(with(r#" {"input":1}"#).unwrap(), r#" {"model":"mod\"x","input":1}"#);
    assert_eq!(with("{ }").unwrap(), r#"{"model":"mod\"x" }"#);
    assert_eq!((with("[]"), with("")), (None, None));
}
