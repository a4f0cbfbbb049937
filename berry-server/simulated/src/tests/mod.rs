//! Tests of each endpoint and each fault through a client.

mod chat;
mod control;
mod dialects;
mod endpoints;
mod faults;
mod responses;
mod scripts;
mod streams;

use super::{Config, End, Provider};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::future::Future;
use std::time::Duration;

/// A sent request and its provider.
struct Call {
    provider: Provider,
    response: reqwest::Response,
}

/// The body that a client has read, up to its end or break.
struct Read {
    bytes: Vec<u8>,
    whole: bool,
}

async fn start() -> Provider {
    Provider::start(Config::named("one")).await.unwrap()
}

/// Returns the result of a future that completes soon. Panics after 20 seconds.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("the future did not complete within 20 seconds")
}

fn chat(model: &str, stream: bool) -> Value {
    json!({
        "model": model,
        "stream": stream,
        "messages": [{"role": "user", "content": "How are you?"}],
    })
}

fn post(provider: &Provider, path: &str, body: &Value) -> reqwest::RequestBuilder {
    reqwest::Client::new().post(format!("{}{path}", provider.base_url())).bearer_auth(provider.key()).json(body)
}

/// Sends a chat request to a new provider whose responses have 60 tokens.
async fn ask(model: &str, stream: bool) -> Call {
    ask_with(&chat(model, stream)).await
}

async fn ask_with(body: &Value) -> Call {
    let config = Config { tokens: Some(60), ..Config::named("one") };
    let provider = Provider::start(config).await.unwrap();
    let response = soon(post(&provider, "/chat/completions", body).send()).await;
    Call { provider, response: response.unwrap() }
}

impl Call {
    async fn read(self) -> (Provider, Read) {
        (self.provider, soon(read(self.response)).await)
    }
}

async fn read(response: reqwest::Response) -> Read {
    let mut body = response.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(_) => {
                return Read { bytes, whole: false };
            }
        }
    }
    Read { bytes, whole: true }
}

impl Read {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    /// Returns the data of each event.
    fn data(&self) -> Vec<&str> {
        let lines = self.text().lines();
        lines.filter_map(|line| line.strip_prefix("data: ")).collect()
    }

    /// Returns the events whose data is JSON.
    fn events(&self) -> Vec<Value> {
        let events = self.data();
        events.iter().filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    fn done(&self) -> bool {
        self.data().last() == Some(&"[DONE]")
    }

    /// Returns the texts of all content deltas.
    fn contents(&self) -> Vec<String> {
        let content = |event: &Value| {
            let text = event["choices"][0]["delta"]["content"].as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        self.events().iter().filter_map(content).collect()
    }

    fn finish(&self) -> Option<String> {
        let finish = |event: &Value| {
            let reason = event["choices"][0]["finish_reason"].as_str();
            reason.map(str::to_owned)
        };
        self.events().iter().find_map(finish)
    }
}

/// Returns how the only request of the provider ended.
async fn end(provider: &Provider) -> End {
    soon(provider.wait_idle()).await;
    let seen = provider.seen();
    assert_eq!(seen.len(), 1);
    seen[0].end().unwrap()
}
