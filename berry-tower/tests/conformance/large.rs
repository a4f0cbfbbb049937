//! Large requests are translated on another thread, within a bound on the size of the JSON tree.

use std::{convert::Infallible, sync::Arc};

use berry_tower::{
    auth::{ApiKey, ApiKeys},
    backend::{Backend, Catalog, Dialect, Model, Provider, strategy::Failover},
    body::{Buffered, ByteBudget},
    collect::CollectLayer,
    gateway::{Settings, gateway},
    rate_limit::{Quota, QuotaFromRequest},
};
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{ServiceExt, service_fn};

/// Sends a chat request to a gateway over a backend of Anthropic's format, and returns the status and the body.
async fn ask(body: String, budget: &ByteBudget) -> (u16, Value) {
    let upstream = service_fn(async |request: Request<Buffered>| {
        let message: Value = serde_json::from_slice(request.body().bytes()).unwrap();
        let text = message["messages"][0]["content"].to_string().len().to_string();
        let answer = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "content": [{ "type": "text", "text": text }], "usage": { "input_tokens": 1, "output_tokens": 1 },
        });
        let response = Response::builder().header("content-type", "application/json");
        Ok::<_, Infallible>(response.body(Full::new(Bytes::from(answer.to_string()))).unwrap())
    });
    let provider = Provider::new("p", "http://127.0.0.1:9").unwrap().with_dialect(Dialect::Claude);
    let catalog = Catalog::new([Model::new("m", Arc::new(Failover), [Backend::new(Arc::new(provider), "m")])]).unwrap();
    let settings = Settings::with_transport(catalog, upstream).collect(CollectLayer::new().budget(budget.clone()));
    let unlimited = QuotaFromRequest::new(|_: &Parts| None::<Arc<Quota>>);
    let service = gateway(settings, ApiKeys::new([ApiKey::from_token("t", ())]), unlimited, |_: &(), _: &str| true);
    let request = Request::post("/v1/chat/completions").header("authorization", "Bearer t");
    let response = service.oneshot(request.body(Full::<Bytes>::from(body)).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn chat(content: &Value, tools: usize) -> String {
    let parameters = json!({ "type": "object", "enum": vec![1; tools] });
    let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": parameters } }]);
    json!({ "model": "m", "messages": [{ "role": "user", "content": content }], "tools": tools }).to_string()
}

async fn translates_within_bounds() {
    let budget = ByteBudget::new(16 << 20);
    let (status, answer) = ask(chat(&"a".repeat(1 << 20).into(), 1), &budget).await;
    assert_eq!(status, 200, "{answer}");
    let length: usize = answer["choices"][0]["message"]["content"].as_str().unwrap().parse().unwrap();
    assert!(length >= 1 << 20, "{length}");

    let (status, answer) = ask(chat(&"hi".into(), 300_000), &budget).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("unsupported_parameter")), "{answer}");
    assert_eq!(budget.used(), 0, "the budget is released");
}

#[tokio::test]
async fn translates_large_requests_on_a_current_thread_runtime() {
    translates_within_bounds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn translates_large_requests_on_a_multi_thread_runtime() {
    translates_within_bounds().await;
}
