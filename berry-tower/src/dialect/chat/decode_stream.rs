//! Reads answers of OpenAI's format, for callers who speak another.

use serde::Deserialize;

use super::decode_response;
use crate::dialect::{
    codec::{DecodeResponse, Malformed, StreamItem, WireError},
    hub::{Chunk, Response},
    lenient,
    value::Value,
};

/// Reads chat answers.
#[derive(Debug)]
pub(crate) struct ResponseDecoder {
    /// Which answers are finished.
    finished: Vec<bool>,
    /// Whether nothing more is read.
    over: bool,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    error: Option<Value>,
    #[serde(flatten)]
    chunk: Chunk,
}

impl ResponseDecoder {
    /// A reader of the answer to a request for `choices` answers (`n`).
    #[must_use]
    pub(crate) fn new(choices: u32) -> Self {
        Self { finished: vec![false; choices.clamp(1, 128) as usize], over: false }
    }

    fn is_whole(&self) -> bool {
        self.finished.iter().all(|finished| *finished)
    }

    fn finish(&mut self, out: &mut Vec<StreamItem>) {
        if !std::mem::replace(&mut self.over, true) {
            out.push(StreamItem::Done);
        }
    }
}

impl DecodeResponse for ResponseDecoder {
    fn decode_response(&mut self, body: &[u8]) -> Result<Response, Malformed> {
        decode_response::decode_response(body)
    }

    fn decode_event(&mut self, _name: &str, data: &str, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        if self.over {
            return Ok(());
        }
        if data == "[DONE]" {
            if self.is_whole() {
                self.finish(out);
            }
            return Ok(());
        }
        let Ok(event) = serde_json::from_str::<Event>(data) else {
            lenient::unreadable(data, Malformed("an event that is no chat chunk"), out)?;
            self.over = true;
            return Ok(());
        };
        if let Some(error) = event.error.filter(|error| !error.is_null()) {
            self.over = true;
            out.push(StreamItem::Error(told(&error)));
            return Ok(());
        }
        for choice in event.chunk.choices.iter().filter(|choice| choice.finish_reason.is_some()) {
            if let Some(finished) = self.finished.get_mut(choice.index as usize) {
                *finished = true;
            }
        }
        out.push(StreamItem::Chunk(event.chunk));
        Ok(())
    }

    fn decode_end(&mut self, out: &mut Vec<StreamItem>) {
        if self.is_whole() {
            self.finish(out);
        }
    }
}

fn told(error: &Value) -> WireError {
    let text = |name: &str| match error.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let message = text("message").or_else(|| error.as_str().map(str::to_owned)).unwrap_or_default();
    WireError { kind: text("type"), code: text("code"), message }
}
