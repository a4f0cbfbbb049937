//! A chat request, written for Google.

use bytes::Bytes;

use super::{Body, Content, Part, Reader, config, tools, turns};
use crate::dialect::{Inexpressible, chat, unknown::Unknown};

/// How members that have no word in this format are refused.
pub(super) const UNKNOWN: Unknown = Unknown::to("Google's format");

/// A chat request, written for Google.
///
/// ```
/// use berry_tower::dialect::{chat, gemini};
///
/// let ask = |body: &str| gemini::Request::from_chat(&chat::Request::read(body.as_bytes()).unwrap());
/// let request = ask(r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"max_tokens":9}"#).unwrap();
/// assert_eq!(
///     request.write(),
///     r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}],"generationConfig":{"maxOutputTokens":9}}"#
/// );
/// let refused = ask(r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"audio":{"voice":"ash"}}"#);
/// assert_eq!(refused.unwrap_err().param, "audio");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    body: Body,
    model: String,
    turns: usize,
}

impl Request {
    /// Writes a chat request for Google.
    ///
    /// # Errors
    /// The field that Google's format has no words for.
    pub fn from_chat(chat: &chat::Request) -> Result<Self, Inexpressible> {
        refuse_unknown(chat)?;
        let (system, contents) = turns::contents(&chat.messages)?;
        if contents.is_empty() {
            return Err(Inexpressible::new("messages", "Google's format needs a message of the user"));
        }
        let (tools, tool_config) = tools::tools(chat)?;
        let body = Body {
            system_instruction: system.map(|text| Content { role: None, parts: vec![Part::text(text)] }),
            contents,
            tools,
            tool_config,
            generation_config: config::generation(chat)?,
        };
        Ok(Self { body, model: chat.model.clone(), turns: chat.messages.len() })
    }

    /// The request as types.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The request as JSON. The model stands in the URL, and whether the answer is streamed.
    #[must_use]
    pub fn write(&self) -> Bytes {
        // Only a map with keys that are no texts could fail, and there is none.
        serde_json::to_vec(&self.body).unwrap_or_default().into()
    }

    /// What reads the answer. It is told as made at `created`, in seconds since 1970.
    #[must_use]
    pub fn reader(&self, created: u64) -> Reader {
        let choices = self.body.generation_config.as_ref().and_then(|config| config.candidate_count);
        Reader::new(choices.unwrap_or(1), created, self.model.clone(), self.turns)
    }
}

fn refuse_unknown(chat: &chat::Request) -> Result<(), Inexpressible> {
    let neutral = |name: &str, value: &serde_json::Value| match name {
        "modalities" => value.as_array().is_some_and(|them| them.iter().all(|it| it == "text")),
        "verbosity" => value == "medium",
        _ => chat::HINTS.contains(&name),
    };
    UNKNOWN.members("", chat.other.iter().filter(|(name, value)| !neutral(name, value)))?;
    let options = chat.stream_options.iter().flat_map(|options| &options.other);
    UNKNOWN.members("stream_options", options)
}
