//! The end of a Responses stream that could not be finished: `response.failed`, with what the client has.

use bytes::Bytes;
use http::{StatusCode, header::RETRY_AFTER};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    error::{BoxError, Failure, find},
    render::Refusal,
    stream_events::{Events, data},
};

/// The longest event that is kept, in bytes.
const MAX_EVENT: usize = 8 << 20;

/// What a client has of a Responses stream.
#[derive(Debug)]
pub(crate) struct SentEvents {
    events: Events,
    /// The event `response.created`.
    created: Option<Bytes>,
    /// The finished items, each in its event.
    items: Vec<Bytes>,
    /// The last event with data.
    last: Option<Bytes>,
    /// Whether an event was too long to be kept.
    has_gap: bool,
}

#[derive(Deserialize)]
struct Numbered {
    sequence_number: Option<u64>,
}

#[derive(Deserialize)]
struct Created<'a> {
    #[serde(borrow)]
    response: &'a RawValue,
}

#[derive(Deserialize)]
struct Item {
    item: Value,
}

impl Default for SentEvents {
    fn default() -> Self {
        Self { events: Events::new(MAX_EVENT), created: None, items: Vec::new(), last: None, has_gap: false }
    }
}

impl SentEvents {
    /// Records bytes that go to the client.
    pub(crate) fn record(&mut self, bytes: &[u8]) {
        if self.has_gap {
            return;
        }
        self.events.push(bytes);
        loop {
            match self.events.next() {
                Ok(Some(event)) => self.record_event(event),
                Ok(None) => break,
                Err(_) => {
                    self.has_gap = true;
                    self.events = Events::new(0);
                    break;
                }
            }
        }
    }

    fn record_event(&mut self, event: Bytes) {
        let has = |name: &[u8]| memchr::memmem::find(&event[..event.len().min(128)], name).is_some();
        if event.starts_with(b":") {
            return;
        }
        if self.created.is_none() && has(b"response.created") {
            self.created = Some(event.clone());
        } else if has(b"response.output_item.done") {
            self.items.push(event.clone());
        }
        self.last = Some(event);
    }

    /// Returns the events that end the stream with this refusal. A stream without any event is begun first.
    pub(crate) fn failed(&self, refusal: &Refusal, error: &BoxError) -> Vec<u8> {
        let mut response = self.response();
        let last = self.last.as_deref().and_then(parsed::<Numbered>).and_then(|event| event.sequence_number);
        let mut number = last.map_or(0, |last| last.saturating_add(1));
        let mut out = Vec::new();
        let mut event = |kind: &str, response: &Value| {
            let data = json!({ "type": kind, "sequence_number": number, "response": response });
            out.extend_from_slice(format!("event: {kind}\ndata: {data}\n\n").as_bytes());
            number += 1;
        };
        if self.last.is_none() {
            event("response.created", &response);
            event("response.in_progress", &response);
        }
        let items = self.items.iter().filter_map(|item| parsed::<Item>(item));
        response["output"] = items.map(|item| item.item).collect();
        response["status"] = "failed".into();
        let (code, message) = told(refusal, error);
        response["error"] = json!({ "code": code, "message": message });
        event("response.failed", &response);
        out
    }

    fn response(&self) -> Value {
        let text = self.created.as_deref().and_then(|event| data(std::str::from_utf8(event).ok()?));
        let created: Option<Created<'_>> = text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let created = created.and_then(|created| serde_json::from_str::<Value>(created.response.get()).ok());
        created.filter(Value::is_object).unwrap_or_else(empty)
    }
}

fn parsed<T: serde::de::DeserializeOwned>(event: &[u8]) -> Option<T> {
    serde_json::from_str(&data(std::str::from_utf8(event).ok()?)?).ok()
}

/// A response of which nothing is known.
fn empty() -> Value {
    json!({
        "id": "resp_0", "object": "response", "created_at": 0, "completed_at": null, "status": "in_progress",
        "error": null, "incomplete_details": null, "instructions": null, "max_output_tokens": null,
        "max_tool_calls": null, "model": "", "output": [], "parallel_tool_calls": true,
        "previous_response_id": null, "reasoning": { "effort": null, "summary": null }, "service_tier": "default",
        "store": false, "background": false, "temperature": 1.0, "top_p": 1.0, "top_logprobs": 0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "text": { "format": { "type": "text" } },
        "tool_choice": "auto", "tools": [], "truncation": "disabled", "usage": null, "metadata": {},
        "safety_identifier": null, "prompt_cache_key": null,
    })
}

/// Returns the code and the message that a client of Responses knows. Codes by which clients decide whether to try
/// again are those of the API.
fn told(refusal: &Refusal, error: &BoxError) -> (String, String) {
    let event = match find::<Failure>(&**error) {
        Some(Failure::ErrorEvent(event)) => Some(event),
        _ => None,
    };
    let message = refusal.message.clone().into_owned();
    let says = |word: &str| {
        let words = event.map(|event| [&event.code, &event.kind, &event.reason]);
        refusal.code.as_deref() == Some(word) || words.into_iter().flatten().flatten().any(|said| said == word)
    };
    if says("context_length_exceeded") || event.is_some_and(|event| event.is_too_long()) {
        return ("context_length_exceeded".to_owned(), message);
    }
    if says("insufficient_quota") {
        return ("insufficient_quota".to_owned(), message);
    }
    let is_limited = event.and_then(|event| event.class).is_some_and(|class| class.name() == "rate_limit");
    if says("rate_limit_exceeded") || is_limited || refusal.status == StatusCode::TOO_MANY_REQUESTS {
        let wait = refusal.headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok());
        let message = match wait.filter(|_| !message.contains("try again in")) {
            Some(seconds) => format!("{message}. Please try again in {seconds} s."),
            None => message,
        };
        return ("rate_limit_exceeded".to_owned(), message);
    }
    (refusal.code.as_deref().unwrap_or("server_error").to_owned(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bytes: &[u8]) -> Vec<Value> {
        let text = std::str::from_utf8(bytes).unwrap();
        let blocks = text.split("\n\n").filter(|block| !block.is_empty());
        blocks.map(|block| serde_json::from_str(block.split_once("data: ").unwrap().1).unwrap()).collect()
    }

    #[test]
    fn ends_with_what_the_client_has() {
        let mut sent = SentEvents::default();
        let stream = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"model\":\"m\",\"output\":[]}}\n\n: keep-alive\n\nevent: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"sequence_number\":6,\"item\":{\"id\":\"msg_1\"}}\n\n";
        for byte in stream.as_bytes() {
            sent.record(&[*byte]);
        }
        let refusal = Refusal::new(StatusCode::BAD_GATEWAY, "server_error", "cut").code("upstream_stream_interrupted");
        let told = events(&sent.failed(&refusal, &"cut".into()));
        assert_eq!(told.len(), 1);
        assert_eq!((&told[0]["sequence_number"], &told[0]["type"]), (&json!(7), &json!("response.failed")));
        let response = &told[0]["response"];
        assert_eq!(response["output"], json!([{ "id": "msg_1" }]));
        assert_eq!(response["status"], "failed");
        assert_eq!(response["error"], json!({ "code": "upstream_stream_interrupted", "message": "cut" }));
    }

    #[test]
    fn begins_a_stream_that_has_not_begun() {
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "requests", "slow down")
            .code("upstream_rate_limited")
            .retry_after(std::time::Duration::from_secs(7));
        let told = events(&SentEvents::default().failed(&refusal, &"x".into()));
        let kinds: Vec<_> = told.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["response.created", "response.in_progress", "response.failed"]);
        let error = &told[2]["response"]["error"];
        assert_eq!(error["code"], "rate_limit_exceeded");
        assert_eq!(error["message"], "slow down. Please try again in 7 s.");
    }
}
