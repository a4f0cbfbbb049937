//! A plain response.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{Block, Other, Role};
use crate::dialect::{codec::Malformed, lenient, value::Value};

/// A plain response, and the message at the beginning of a stream.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Response {
    /// The message's id.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) id: String,
    /// `message`.
    #[serde(default, rename = "type", deserialize_with = "lenient::or_default")]
    pub(crate) kind: String,
    /// `assistant`.
    #[serde(default = "assistant", deserialize_with = "lenient::or_default")]
    pub(crate) role: Role,
    /// The model that answered.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) model: String,
    /// The content.
    #[serde(deserialize_with = "content")]
    pub(crate) content: Vec<Block>,
    /// The reason why generation stopped; `None` at the beginning of a stream.
    #[serde(default, deserialize_with = "stop_reason")]
    pub(crate) stop_reason: Option<StopReason>,
    /// The stop sequence that the model wrote.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) stop_sequence: Option<String>,
    /// The token counts.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) usage: Usage,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}

fn assistant() -> Role {
    Role::Assistant
}

/// Reads a content: blocks, one block, or a text.
fn content<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Block>, D::Error> {
    let value = Value::deserialize(from)?;
    if value.is_null() {
        return Err(D::Error::custom("a message without a content"));
    }
    if let Some(text) = lenient::text(Some(&value)) {
        return Ok(vec![Block::Text { text, other: Other::default() }]);
    }
    let list = lenient::list(Some(&value), Malformed("a content that is no list")).map_err(D::Error::custom)?;
    let list = list.iter().filter(|block| !lenient::is_blank(Some(block)));
    list.map(|block| match lenient::text(Some(block)) {
        Some(text) => Ok(Block::Text { text, other: Other::default() }),
        None => block.read().ok_or_else(|| D::Error::custom("a block that is none")),
    })
    .collect()
}

/// Reads a reason; an empty text counts as none.
pub(super) fn stop_reason<'de, D: Deserializer<'de>>(from: D) -> Result<Option<StopReason>, D::Error> {
    let reason: Option<StopReason> = lenient::or_default(from)?;
    Ok(reason.filter(|reason| !matches!(reason, StopReason::Other(reason) if reason.is_empty())))
}

/// The reason why generation stopped.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StopReason {
    /// The model reached its natural end.
    EndTurn,
    /// The response reached its token limit.
    MaxTokens,
    /// The model wrote a stop sequence.
    StopSequence,
    /// The model calls tools.
    ToolUse,
    /// The model paused; it continues when its turn is sent back.
    PauseTurn,
    /// A safety rule of Anthropic's stopped the response.
    Refusal,
    /// The context window is full.
    ModelContextWindowExceeded,
    /// An unrecognised reason.
    #[serde(untagged)]
    Other(String),
}

/// Token counts of a request and its response. A count that an event lacks stays as it was.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// Input tokens neither read from a cache nor written to one.
    #[serde(default, deserialize_with = "lenient::count", skip_serializing_if = "Option::is_none")]
    pub(crate) input_tokens: Option<u64>,
    /// Input tokens written to a cache.
    #[serde(default, deserialize_with = "lenient::count", skip_serializing_if = "Option::is_none")]
    pub(crate) cache_creation_input_tokens: Option<u64>,
    /// Input tokens read from a cache.
    #[serde(default, deserialize_with = "lenient::count", skip_serializing_if = "Option::is_none")]
    pub(crate) cache_read_input_tokens: Option<u64>,
    /// Output tokens so far, reasoning included.
    #[serde(default, deserialize_with = "lenient::count", skip_serializing_if = "Option::is_none")]
    pub(crate) output_tokens: Option<u64>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}
