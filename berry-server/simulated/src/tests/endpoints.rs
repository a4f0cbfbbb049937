//! Responses of each endpoint without faults, and rejected requests.

use super::{Call, ask_with, chat, post, read, soon, start};
use crate::{Config, End, Provider};
use serde_json::{Value, json};

async fn answer(path: &str, body: Value) -> Value {
    let provider = start().await;
    let response = soon(post(&provider, path, &body).send()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    soon(response.json()).await.unwrap()
}

#[tokio::test]
async fn plain_chat_echoes_and_counts_tokens() {
    let provider = start().await;
    let response = soon(post(&provider, "/chat/completions", &chat("sim", false)).send()).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "req_one_0");
    assert!(response.headers().contains_key("content-length"));
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "sim");
    assert_eq!(body["created"], 1_750_000_000);
    assert_eq!(body["system_fingerprint"], "fp_one");
    let message = &body["choices"][0]["message"];
    assert!(message["content"].as_str().unwrap().contains("How are you?"));
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let usage = &body["usage"];
    let sum = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
    soon(provider.wait_idle()).await;
    assert_eq!(provider.seen()[0].end(), Some(End::Complete));
}

#[tokio::test]
async fn text_completions_work_plain_and_streamed() {
    let body = json!({"model": "sim", "prompt": "Once"});
    let plain = answer("/completions", body.clone()).await;
    assert_eq!(plain["object"], "text_completion");
    let text = plain["choices"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("Once"));

    let provider = start().await;
    let mut body = body;
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let response = post(&provider, "/completions", &body).send().await.unwrap();
    let read = soon(read(response)).await;
    let part = |e: &Value| e["choices"][0]["text"].as_str().map(str::to_owned);
    let joined: String = read.events().iter().filter_map(part).collect();
    assert_eq!(joined, text);
    assert_eq!(read.finish().as_deref(), Some("stop"));
    assert_eq!(read.events().last().unwrap()["usage"], plain["usage"]);
    assert!(read.done());
}

#[tokio::test]
async fn responses_work_plain_and_streamed() {
    let mut body = json!({"model": "sim", "input": "Once"});
    let plain = answer("/responses", body.clone()).await;
    assert_eq!((&plain["object"], &plain["status"]), (&json!("response"), &json!("completed")));
    let text = plain["output"][0]["content"][0]["text"].clone();
    assert!(text.as_str().unwrap().contains("Once"));

    body["stream"] = json!(true);
    let provider = start().await;
    let response = post(&provider, "/responses", &body).send().await.unwrap();
    let read = soon(read(response)).await;
    let events = read.events();
    assert_eq!(events[0]["type"], "response.created");
    let numbers: Vec<_> = events.iter().map(|e| e["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let deltas = events.iter().filter(|e| e["type"] == "response.output_text.delta");
    let joined: String = deltas.map(|e| e["delta"].as_str().unwrap()).collect();
    assert_eq!(text, joined);
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["usage"], plain["usage"]);
    assert!(!read.text().contains("[DONE]"));
    assert!(read.text().starts_with("event: response.created\ndata: {"));
}

#[tokio::test]
async fn embeddings_support_both_encodings() {
    let body = json!({"model": "sim", "input": ["a", "b"], "dimensions": 8});
    let plain = answer("/embeddings", body.clone()).await;
    assert_eq!(plain["data"].as_array().unwrap().len(), 2);
    assert_eq!(plain["data"][1]["embedding"].as_array().unwrap().len(), 8);
    let mut body = body;
    body["encoding_format"] = json!("base64");
    let coded = answer("/embeddings", body).await;
    // 8 floats are 32 bytes, which base64 writes in 44 characters.
    assert_eq!(coded["data"][0]["embedding"].as_str().unwrap().len(), 44);
    let tokens = answer("/embeddings", json!({"model": "sim", "input": [1, 2, 3]})).await;
    assert_eq!(tokens["usage"]["prompt_tokens"], 3);
}

#[tokio::test]
async fn serves_moderations_images_and_speech() {
    let body = json!({"model": "sim", "input": ["a", "b"]});
    let moderation = answer("/moderations", body).await;
    assert_eq!(moderation["results"].as_array().unwrap().len(), 2);
    assert_eq!(moderation["results"][0]["categories"]["hate"], false);

    let body = json!({"model": "sim", "prompt": "a cat", "n": 2});
    let images = answer("/images/generations", body).await;
    assert_eq!(images["data"].as_array().unwrap().len(), 2);
    assert!(images["data"][0]["b64_json"].as_str().unwrap().starts_with("iVBOR"));

    let provider = start().await;
    let body = json!({"model": "sim", "input": "one two three", "voice": "alloy"});
    let speech = post(&provider, "/audio/speech", &body).send().await.unwrap();
    assert_eq!(speech.headers()["content-type"], "audio/mpeg");
    let sound = soon(read(speech)).await;
    assert!(sound.whole && sound.bytes.starts_with(b"ID3"));
    assert_eq!(sound.bytes.len(), 3 * 1024);
}

#[tokio::test]
async fn lists_and_finds_models() {
    let config = Config { models: vec!["b/large".into(), "a".into()], ..Config::default() };
    let provider = Provider::start(config).await.unwrap();
    let get = async |path: &str| {
        let url = format!("{}{path}", provider.base_url());
        let request = reqwest::Client::new().get(url).bearer_auth(provider.key());
        let response = soon(request.send()).await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, list) = get("/models").await;
    assert_eq!((status, &list["data"][0]["id"]), (200, &json!("b/large")));
    assert_eq!(get("/models/b/large").await.0, 200);
    let (status, error) = get("/models/c").await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(provider.counts().calls, 0);
    assert_eq!(provider.counts().requests, 3);
}

async fn refusal(build: impl AsyncFnOnce(&Provider) -> reqwest::Response) -> (u16, Value) {
    let provider = start().await;
    let response = soon(build(&provider)).await;
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn rejects_a_wrong_key() {
    let wrong = ["", "Bearer", "Bearer sk-other", "sk-simulated-one", "Basic sk-simulated-one"];
    for value in wrong {
        let (status, body) = refusal(async |provider| {
            let url = format!("{}/chat/completions", provider.base_url());
            let request = reqwest::Client::new().post(url).header("authorization", value);
            request.json(&chat("sim", false)).send().await.unwrap()
        })
        .await;
        assert_eq!(status, 401, "{value:?}");
        assert_eq!(body["error"]["code"], "invalid_api_key");
    }
}

#[tokio::test]
async fn rejects_invalid_requests() {
    let cases = [
        ("/chat/completions", json!({"model": "other"}), 404, "model_not_found"),
        ("/chat/completions", json!({"model": "sim-mini"}), 404, "model_not_found"),
        ("/chat/completions", json!({"messages": []}), 400, ""),
        ("/chat/completions", json!([1]), 400, ""),
        ("/nothing", json!({}), 404, ""),
        ("/models", json!({}), 405, "method_not_supported"),
    ];
    for (path, body, status, code) in cases {
        let (seen, error) = refusal(async |provider| post(provider, path, &body).send().await.unwrap()).await;
        assert_eq!(seen, status, "{path} {body}");
        assert_eq!(error["error"]["code"].as_str().unwrap_or(""), code);
        assert!(error["error"].as_object().unwrap().contains_key("param"));
    }
    let (status, _) = refusal(async |provider| {
        let request = post(provider, "/chat/completions", &json!({}));
        request.body("{\"model\":").send().await.unwrap()
    })
    .await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let provider = start().await;
    let client = reqwest::Client::new();
    for number in 0..5 {
        let stream = number % 2 == 0;
        let request = client.post(format!("{}/chat/completions", provider.base_url()));
        let request = request.bearer_auth(provider.key()).json(&chat("sim", stream));
        let response = soon(request.send()).await.unwrap();
        assert!(soon(read(response)).await.whole);
    }
    let counts = provider.counts();
    assert_eq!((counts.calls, counts.connections), (5, 1));
}

#[tokio::test]
async fn request_keeps_its_provider_alive() {
    let Call { provider, response } = ask_with(&chat("sim", true)).await;
    assert!(soon(read(response)).await.done());
    drop(provider);
}
