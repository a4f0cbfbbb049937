//! What a client has seen of one answer.

use std::time::Duration;

use berry_tower::dialect::ResponseGrammar;
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

/// The API that the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// OpenAI's chat completions.
    Chat,
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Responses.
    Responses,
}

impl Front {
    /// Every API that is translated.
    pub(crate) const ALL: [Self; 3] = [Self::Chat, Self::Messages, Self::Responses];
}

impl Front {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) front: Front,
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
    pub(crate) async fn read(front: Front, response: reqwest::Response, began: Instant) -> Self {
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
        Self { front, status, headers, text, clean, head, end: began.elapsed(), pieces }
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

    /// The mark that says that a stream is whole.
    pub(crate) fn done(&self) -> bool {
        match self.front {
            Front::Chat | Front::Responses => self.data().last() == Some(&"[DONE]"),
            Front::Messages => self.events().last().is_some_and(|event| event["type"] == "message_stop"),
        }
    }

    pub(crate) fn finish_reason(&self) -> Option<String> {
        let reason = |event: &Value| {
            let reason = match self.front {
                Front::Chat => &event["choices"][0]["finish_reason"],
                Front::Messages if self.is_stream() => &event["delta"]["stop_reason"],
                Front::Messages => &event["stop_reason"],
                Front::Responses if !self.is_stream() => &event["status"],
                Front::Responses => match event["type"].as_str() {
                    Some("response.completed" | "response.incomplete") => &event["response"]["status"],
                    _ => &Value::Null,
                },
            };
            reason.as_str().map(str::to_owned)
        };
        if self.is_stream() { self.events().iter().find_map(reason) } else { reason(&self.json()) }
    }

    /// What the assistant has said.
    pub(crate) fn content(&self) -> String {
        let said = |value: &Value, stream: bool| {
            let (chat, text) = (&value["choices"][0], |text: &Value| text.as_str().unwrap_or_default().to_owned());
            match (self.front, stream) {
                (Front::Chat, true) => text(&chat["delta"]["content"]),
                (Front::Chat, false) => text(&chat["message"]["content"]),
                (Front::Messages, true) => text(&value["delta"]["text"]),
                (Front::Messages, false) => {
                    value["content"].as_array().into_iter().flatten().map(|block| text(&block["text"])).collect()
                }
                (Front::Responses, true) if value["type"] != "response.output_text.delta" => String::new(),
                (Front::Responses, true) => text(&value["delta"]),
                (Front::Responses, false) => {
                    let items = value["output"].as_array().into_iter().flatten();
                    let parts = items.flat_map(|item| item["content"].as_array().into_iter().flatten());
                    parts.map(|part| text(&part["text"])).collect()
                }
            }
        };
        if self.is_stream() {
            self.events().iter().map(|event| said(event, true)).collect()
        } else {
            said(&self.json(), false)
        }
    }

    /// The code of the error that it is, or ends with; Anthropic's API has none, but a type.
    pub(crate) fn code(&self) -> Option<String> {
        let last = if self.is_stream() { self.events().pop()? } else { self.json() };
        let error = match self.front {
            Front::Responses if self.is_stream() => last["response"].get("error"),
            _ => last.get("error"),
        };
        let error = error.filter(|error| !error.is_null())?;
        let name = match self.front {
            Front::Chat | Front::Responses => "code",
            Front::Messages => "type",
        };
        Some(error[name].as_str().unwrap_or_default().to_owned())
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
        let ended = match (self.is_stream(), self.front) {
            (false, Front::Chat) => self.finish_reason().is_some(),
            (false, Front::Messages) => self.json()["type"] == "message" && self.finish_reason().is_some(),
            (false, Front::Responses) => self.json()["object"] == "response" && self.finish_reason().is_some(),
            (true, Front::Responses) => self.done() && self.finish_reason().is_some() && self.is_in_grammar(),
            (true, Front::Chat) => self.done() && self.finish_reason().is_some(),
            (true, Front::Messages) => self.done() && self.finish_reason().is_some() && self.is_in_grammar(),
        };
        self.status == 200 && self.clean && ended && self.code().is_none()
    }

    /// As far as it goes, a stream of responses keeps to its grammar.
    fn is_response(&self) -> bool {
        let mut grammar = ResponseGrammar::new();
        let mut name = "";
        self.text.lines().all(|line| {
            name = line.strip_prefix("event: ").unwrap_or(name);
            line.strip_prefix("data: ").is_none_or(|data| grammar.event(name, data).is_ok())
        })
    }

    /// As far as it goes, a stream of messages or of responses keeps to its grammar.
    pub(crate) fn is_in_grammar(&self) -> bool {
        if self.front == Front::Responses {
            return self.is_response();
        }
        let names = self.text.lines().filter_map(|line| line.strip_prefix("event: "));
        // What one block or the message as a whole is in.
        let (mut block, mut blocks, mut state) = (None, 0, "begin");
        let mut is_next = |event: &Value| {
            let kind = event["type"].as_str().unwrap_or_default();
            let next = match (kind, state, block) {
                ("ping", ..) => return true,
                ("message_start", "begin", None) => "blocks",
                ("content_block_start", "blocks", None) if event["index"] == blocks => {
                    block = Some(blocks);
                    "blocks"
                }
                ("content_block_delta", "blocks", Some(at)) if event["index"] == at => "blocks",
                ("content_block_stop", "blocks", Some(at)) if event["index"] == at => {
                    (block, blocks) = (None, blocks + 1);
                    "blocks"
                }
                ("message_delta", "blocks" | "delta", None) => "delta",
                ("message_stop", "delta", None) | ("error", "begin" | "blocks" | "delta", _) => "over",
                _ => return false,
            };
            state = next;
            true
        };
        let events = self.events();
        names.eq(events.iter().map(|event| event["type"].as_str().unwrap_or_default()))
            && events.iter().all(&mut is_next)
    }
}
