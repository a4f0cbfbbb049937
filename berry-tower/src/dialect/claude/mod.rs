//! Anthropic's Messages behind the gateway: chat requests are asked as Messages, and the answers come
//! back as chat answers.
//!
//! ```
//! use berry_tower::dialect::{Read, Sampling, chat, claude};
//!
//! let question = br#"{"model":"any","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]}"#;
//! let request = claude::Request::from_chat(&chat::Request::read(question).unwrap()).unwrap();
//! assert_eq!(
//!     request.write("claude-x", Sampling::All, false),
//!     r#"{"model":"claude-x","messages":[{"role":"user","content":"Hi"}],"max_tokens":4096,"system":"Be brief."}"#
//! );
//!
//! let body = br#"{"id":"msg_1","model":"claude-x","content":[{"type":"text","text":"Hello!"}],"stop_reason":"end_turn"}"#;
//! let answer = request.reader(1_700_000_000).answer(body).unwrap();
//! assert_eq!(answer.choices[0].finish_reason, Some(chat::FinishReason::Stop));
//!
//! let several = chat::Request { n: Some(2), ..chat::Request::default() };
//! assert_eq!(claude::Request::from_chat(&several).unwrap_err().param, "n");
//! ```

mod answer;
mod ask;
mod blocks;
mod format;
mod reader;
mod thinking;
mod tools;
mod turns;

use bytes::Bytes;
use serde::Serialize;

pub use reader::Reader;

use super::{Inexpressible, Sampling, chat, messages};

/// A chat request in Anthropic's words: what all backends that speak them are sent, and what is to be
/// known about it to read the answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// All but what is written beside it.
    wire: messages::Request,
    temperature: Option<f64>,
    top_p: Option<f64>,
    /// The tool whose input is the answer.
    json_tool: Option<Box<str>>,
}

/// What is sent: what depends on the backend, and the rest.
#[derive(Serialize)]
struct Written<'a> {
    model: &'a str,
    #[serde(flatten)]
    wire: &'a messages::Request,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

impl Request {
    /// Translates a chat request.
    ///
    /// # Errors
    /// The field that Anthropic's format has no words for.
    pub fn from_chat(chat: &chat::Request) -> Result<Self, Inexpressible> {
        ask::translate(chat)
    }

    /// The body for `model`, with as much of the request's wishes about chance as `sampling` allows.
    #[must_use]
    pub fn write(&self, model: &str, sampling: Sampling, stream: bool) -> Bytes {
        let (temperature, top_p) = match sampling {
            Sampling::All => (self.temperature, self.top_p),
            Sampling::Temperature if self.temperature.is_some() => (self.temperature, None),
            Sampling::Temperature => (None, self.top_p),
            Sampling::None => (None, None),
        };
        let written = Written { model, wire: &self.wire, temperature, top_p, stream };
        // Only a map with keys that are no texts could fail, and there is none.
        serde_json::to_vec(&written).unwrap_or_default().into()
    }

    /// What reads one answer; `created` is its time in seconds since 1970, which Anthropic does not tell.
    #[must_use]
    pub fn reader(&self, created: u64) -> Reader {
        Reader::new(self.json_tool.clone(), created)
    }
}
