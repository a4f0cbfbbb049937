//! One streamed chat of one token, in the provider's own protocol and without the gateway's layers, so that the result
//! depends on the provider alone.

use std::time::Duration;

use berry_tower::backend::{Dialect, Provider};
use berry_tower::endpoint::Endpoint;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use reqwest::{Client, Response, redirect::Policy};
use reqwest_eventsource::{Error, Event, EventSource, retry::Never};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::remote::{is_loopback, without_address};

/// The most bytes of an error body that are read.
const MAX_ERROR_BYTES: usize = 64 << 10;

const CUT: &str = "the stream ended before the answer was complete";

/// Returns the time to the first output if the stream is complete.
pub(super) async fn one_token(provider: &Provider, model: &str) -> Result<Duration, String> {
    match ask(provider, model, "max_tokens").await {
        // Newer models of OpenAI's use another name.
        Err(why) if why.contains("max_tokens") && is_openai(provider) => {
            ask(provider, model, "max_completion_tokens").await
        }
        other => other,
    }
}

fn is_openai(provider: &Provider) -> bool {
    matches!(provider.dialect(), Dialect::OpenAi)
}

async fn ask(provider: &Provider, model: &str, bound: &str) -> Result<Duration, String> {
    let question = [json!({ "role": "user", "content": "hi" })];
    let (url, body) = match provider.dialect() {
        Dialect::OpenAi => (
            provider.uri(Endpoint::ChatCompletions, model, true),
            json!({ "model": model, "messages": question, "stream": true, bound: 1 }),
        ),
        Dialect::Claude => (
            provider.uri(Endpoint::Messages, model, true),
            match provider.body_version() {
                Some(version) => json!({
                    "anthropic_version": version, "messages": question, "stream": true, "max_tokens": 1,
                }),
                None => json!({ "model": model, "messages": question, "stream": true, "max_tokens": 1 }),
            },
        ),
        Dialect::Gemini => (
            provider.uri(Endpoint::ChatCompletions, model, true),
            json!({
                "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }],
                "generationConfig": { "maxOutputTokens": 1 },
            }),
        ),
        _ => return Err("the provider's format cannot be tested as a stream".to_owned()),
    };
    let url = url.ok_or("the provider has no address for a chat")?;
    let client = Client::builder().connect_timeout(provider.timeouts().connect()).redirect(Policy::none());
    let client = if url.host().is_some_and(is_loopback) { client.no_proxy() } else { client };
    let client = client.build().map_err(|error| error.to_string())?;
    let request = client.post(url.to_string()).headers(headers(provider)).body(body.to_string());
    let mut events = EventSource::new(request).map_err(|error| error.to_string())?;
    // A retry would hide the failure.
    events.set_retry_policy(Box::new(Never));
    let result = read(&mut events, provider).await;
    events.close();
    result
}

fn headers(provider: &Provider) -> HeaderMap {
    let mut headers = provider.headers().clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

async fn read(events: &mut EventSource, provider: &Provider) -> Result<Duration, String> {
    let asked = Instant::now();
    let (mut first, mut opened, mut ended) = (None, false, false);
    let mut within = provider.timeouts().stream_head();
    loop {
        let next = timeout(within, events.next()).await.map_err(|_| silent(within))?;
        let message = match next {
            Some(Ok(Event::Open)) => {
                (within, opened) = (provider.timeouts().idle().unwrap_or(Duration::MAX), true);
                continue;
            }
            Some(Ok(Event::Message(message))) => message,
            Some(Err(Error::StreamEnded)) | None => break,
            // An error after the last event does not concern the answer.
            Some(Err(_)) if ended => break,
            Some(Err(error)) => {
                let why = describe(error, provider).await;
                return Err(if opened { format!("{CUT}: {why}") } else { why });
            }
        };
        if message.data == "[DONE]" {
            break;
        }
        let event: Value = serde_json::from_str(&message.data).map_err(|_| "an event of the stream is not JSON")?;
        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
            let words = error["message"].as_str().unwrap_or("no reason given");
            return Err(provider.mask(&format!("the stream has an error event: {words}")));
        }
        let (output, end) = read_event(&event, provider.dialect());
        if output || end {
            first.get_or_insert_with(|| asked.elapsed());
        }
        ended |= end;
    }
    match first {
        Some(first) if ended => Ok(first),
        _ => Err(CUT.to_owned()),
    }
}

fn silent(within: Duration) -> String {
    format!("the provider was silent for {} s", within.as_secs())
}

/// Whether an event has output, and whether it completes the answer.
fn read_event(event: &Value, dialect: Dialect) -> (bool, bool) {
    match dialect {
        Dialect::OpenAi => {
            let choice = &event["choices"][0];
            let filled = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty()) || value.is_array();
            let delta = choice["delta"].as_object();
            let output = delta.is_some_and(|delta| delta.iter().any(|(key, value)| key != "role" && filled(value)));
            (output, choice["finish_reason"].is_string())
        }
        Dialect::Claude => (event["type"] == "content_block_delta", event["type"] == "message_stop"),
        Dialect::Gemini => {
            let candidate = &event["candidates"][0];
            (candidate["content"]["parts"][0].is_object(), candidate["finishReason"].is_string())
        }
        _ => (false, false),
    }
}

/// Returns why there is no stream, without keys and addresses.
async fn describe(error: Error, provider: &Provider) -> String {
    match error {
        Error::InvalidStatusCode(status, response) => {
            let words = reason(response).await.unwrap_or_else(|| "no reason given".to_owned());
            provider.mask(&format!("{}: {words}", status.as_u16()))
        }
        Error::InvalidContentType(..) => "the response is not a stream".to_owned(),
        Error::Transport(error) => without_address(error),
        other => provider.mask(&other.to_string()),
    }
}

/// Returns the message of the provider's error.
async fn reason(mut response: Response) -> Option<String> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > MAX_ERROR_BYTES {
            return None;
        }
    }
    let value: Value = serde_json::from_slice(&body).ok()?;
    let value = value.get(0).unwrap_or(&value);
    value["error"]["message"].as_str().map(str::to_owned)
}
