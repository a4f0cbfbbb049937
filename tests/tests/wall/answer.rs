//! What a client has seen of one answer.

use std::time::Duration;

use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// HTTP says that the body is whole.
    pub(crate) clean: bool,
    /// When the head was there.
    pub(crate) head: Duration,
    /// When it was over.
    pub(crate) end: Duration,
    /// When each piece came.
    pub(crate) pieces: Vec<(Duration, String)>,
}

impl Answer {
    pub(crate) async fn read(response: reqwest::Response, began: Instant) -> Self {
        let (status, headers, head) = (response.status(), response.headers().clone(), began.elapsed());
        let mut body = response.bytes_stream();
        let (mut pieces, mut whole, mut clean) = (Vec::new(), Vec::new(), true);
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => {
                    whole.extend_from_slice(&chunk);
                    pieces.push((began.elapsed(), String::from_utf8_lossy(&chunk).into_owned()));
                }
                Err(_) => clean = false,
            }
        }
        let text = String::from_utf8(whole).unwrap();
        Self { status, headers, text, clean, head, end: began.elapsed(), pieces }
    }

    /// When its last word came; a connection that is to break gets a moment more.
    pub(crate) fn told(&self) -> Duration {
        self.pieces.last().map_or(self.end, |(at, _)| *at)
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.header("content-type").starts_with("text/event-stream")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The data of each event.
    pub(crate) fn data(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
    }

    /// The events that are JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.data().iter().filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    pub(crate) fn done(&self) -> bool {
        self.data().last() == Some(&"[DONE]")
    }

    pub(crate) fn finish_reason(&self) -> Option<String> {
        let reason = |event: &Value| event["choices"][0]["finish_reason"].as_str().map(str::to_owned);
        self.events().iter().find_map(reason)
    }

    /// What the assistant has said.
    pub(crate) fn content(&self) -> String {
        if !self.is_stream() {
            return self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        }
        let events = self.events();
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
    }

    /// The code of the error that it is, or ends with.
    pub(crate) fn code(&self) -> Option<String> {
        let error = if self.is_stream() {
            self.events().pop()?.get("error").cloned()?
        } else {
            self.json().get("error").cloned()?
        };
        Some(error["code"].as_str().unwrap_or_default().to_owned())
    }

    /// A client that trusts it takes it for a whole answer.
    pub(crate) fn looks_whole(&self) -> bool {
        if !self.status.is_success() || !self.clean || self.code().is_some() {
            return false;
        }
        !self.is_stream() || self.done() || self.finish_reason().is_some()
    }

    /// It is a whole answer by its grammar.
    pub(crate) fn is_whole(&self) -> bool {
        let ended = if self.is_stream() {
            self.done() && self.finish_reason().is_some()
        } else {
            self.json()["choices"][0]["finish_reason"].is_string()
        };
        self.status == 200 && self.clean && ended && self.code().is_none()
    }
}
