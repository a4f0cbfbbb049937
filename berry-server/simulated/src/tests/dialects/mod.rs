//! Tests of the dialects: rules, responses and faults.

mod answers;
mod azure;
mod claude;
mod faults;
mod fold;
mod gemini;
mod openai;

use super::{Read, read, soon};
use crate::{Config, Dialect, Provider};
use fold::fold;
use serde_json::{Value, json};

const ALL: [Dialect; 4] = [Dialect::OpenAi, Dialect::Azure, Dialect::Claude, Dialect::Gemini];

/// An image of one grey pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";
const PNG_BYTES: usize = 67;

thread_local! {
    /// The client of the test's thread, because creating one is slow.
    static CLIENT: reqwest::Client = reqwest::Client::new();
}

fn client() -> reqwest::Client {
    CLIENT.with(Clone::clone)
}

async fn start(dialect: Dialect) -> Provider {
    let config = Config { dialect, tokens: Some(12), ..Config::named("one") };
    Provider::start(config).await.unwrap()
}

/// Returns a minimal request of the dialect.
fn question(dialect: Dialect) -> Value {
    let messages = json!([{"role": "user", "content": "How are you?"}]);
    match dialect {
        Dialect::Claude => json!({"max_tokens": 100, "messages": messages}),
        Dialect::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "How are you?"}]}]}),
        _ => json!({"messages": messages}),
    }
}

/// Returns a complete request with key and version.
fn request(provider: &Provider, dialect: Dialect, model: &str, stream: bool, body: &Value) -> reqwest::RequestBuilder {
    let mut body = body.clone();
    let path = match dialect {
        Dialect::Azure => format!("/openai/deployments/{model}/chat/completions?api-version=2024-10-21"),
        Dialect::Claude => "/messages".to_owned(),
        Dialect::Gemini if stream => format!("/models/{model}:streamGenerateContent?alt=sse"),
        Dialect::Gemini => format!("/models/{model}:generateContent"),
        Dialect::OpenAi => "/chat/completions".to_owned(),
    };
    if dialect != Dialect::Gemini && body.is_object() {
        body["stream"] = json!(stream);
        if dialect != Dialect::Azure {
            body["model"] = json!(model);
        }
    }
    let request = client().post(format!("{}{path}", provider.base_url())).json(&body);
    match dialect {
        Dialect::Azure => request.header("api-key", provider.key()),
        Dialect::Claude => request.header("x-api-key", provider.key()).header("anthropic-version", "2023-06-01"),
        Dialect::Gemini => request.header("x-goog-api-key", provider.key()),
        Dialect::OpenAi => request.bearer_auth(provider.key()),
    }
}

async fn send(dialect: Dialect, model: &str, stream: bool, body: &Value) -> (Provider, reqwest::Response) {
    let provider = start(dialect).await;
    let response = soon(request(&provider, dialect, model, stream, body).send()).await.unwrap();
    (provider, response)
}

/// Sends a request and returns the plain response, which must be a success.
async fn plain(dialect: Dialect, model: &str, body: &Value) -> Value {
    let (_provider, response) = send(dialect, model, false, body).await;
    let status = response.status();
    let answer = soon(response.json::<Value>()).await.unwrap();
    assert_eq!(status, 200, "{dialect:?} {model} {answer}");
    answer
}

/// Sends a request and reads the stream, which may be incomplete.
async fn stream(dialect: Dialect, model: &str, body: &Value) -> Read {
    let (_provider, response) = send(dialect, model, true, body).await;
    assert_eq!(response.status(), 200, "{dialect:?} {model}");
    soon(read(response)).await
}

/// Sends an invalid request and returns the status, body and message of the error.
async fn refusal(dialect: Dialect, body: &Value) -> (u16, Value, String) {
    let (_provider, response) = send(dialect, "sim", false, body).await;
    let status = response.status().as_u16();
    let body: Value = soon(response.json()).await.unwrap();
    let message = body["error"]["message"].as_str().unwrap_or_default().to_owned();
    (status, body, message)
}

/// Checks that each change of a valid request is rejected with a 400 that names the field.
async fn refuses(dialect: Dialect, good: &Value, changes: &[(&str, Value, &str)]) {
    plain(dialect, "sim", good).await;
    for (pointer, value, names) in changes {
        let mut body = good.clone();
        set(&mut body, pointer, value.clone());
        let (status, _, message) = refusal(dialect, &body).await;
        assert_eq!(status, 400, "{pointer} = {value}: {message}");
        assert!(message.contains(names), "{pointer} = {value}: {message}");
    }
}

/// Sets the value at a JSON pointer. A null removes it.
fn set(body: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match body.pointer_mut(parent).unwrap() {
        Value::Object(fields) if value.is_null() => {
            fields.remove(name);
        }
        Value::Array(all) if name == "-" => all.push(value),
        Value::Array(all) => all[name.parse::<usize>().unwrap()] = value,
        parent => parent[name] = value,
    }
}

/// Returns the text of a plain response, without calls and reasoning.
fn text(dialect: Dialect, answer: &Value) -> String {
    let texts = |parts: &Value| -> String {
        let said = parts.as_array().into_iter().flatten().filter(|part| part["thought"] != json!(true));
        said.filter_map(|part| part["text"].as_str()).collect()
    };
    match dialect {
        Dialect::Claude => texts(&answer["content"]),
        Dialect::Gemini => texts(&answer["candidates"][0]["content"]["parts"]),
        _ => answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Returns the names and inputs of the calls in a plain response.
fn calls(dialect: Dialect, answer: &Value) -> Vec<(String, Value)> {
    let name = |value: &Value| value.as_str().unwrap().to_owned();
    let parts = match dialect {
        Dialect::Claude => &answer["content"],
        Dialect::Gemini => &answer["candidates"][0]["content"]["parts"],
        _ => &answer["choices"][0]["message"]["tool_calls"],
    };
    let call = |part: &Value| match dialect {
        Dialect::Claude => (part["type"] == "tool_use").then(|| (name(&part["name"]), part["input"].clone())),
        Dialect::Gemini => {
            part.get("functionCall").map(|call| (name(&call["name"]), call.get("args").unwrap().clone()))
        }
        _ => {
            let function = &part["function"];
            let input = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
            Some((name(&function["name"]), input))
        }
    };
    parts.as_array().into_iter().flatten().filter_map(call).collect()
}

/// Returns the finish reason of a plain response.
fn finish(dialect: Dialect, answer: &Value) -> String {
    let reason = match dialect {
        Dialect::Claude => &answer["stop_reason"],
        Dialect::Gemini => &answer["candidates"][0]["finishReason"],
        _ => &answer["choices"][0]["finish_reason"],
    };
    reason.as_str().unwrap_or_default().to_owned()
}
