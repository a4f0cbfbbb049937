//! A plain answer.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{Block, Other, Role};
use crate::dialect::{codec::Malformed, lenient, value::Value};

/// A plain answer, and what a stream begins with.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Response {
    /// Anthropic's id of it.
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
    /// What it says.
    #[serde(deserialize_with = "content")]
    pub(crate) content: Vec<Block>,
    /// Why it stopped; nothing where a stream begins.
    #[serde(default, deserialize_with = "stop_reason")]
    pub(crate) stop_reason: Option<StopReason>,
    /// At which text it stopped.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) stop_sequence: Option<String>,
    /// The tokens.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) usage: Usage,
    /// Members that are not in the types.
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
        return Ok(vec![Block::Text { text, other: Other::new() }]);
    }
    let list = lenient::list(Some(&value), Malformed("a content that is no list")).map_err(D::Error::custom)?;
    let list = list.iter().filter(|block| !lenient::is_blank(Some(block)));
    list.map(|block| match lenient::text(Some(block)) {
        Some(text) => Ok(Block::Text { text, other: Other::new() }),
        None => block.read().ok_or_else(|| D::Error::custom("a block that is none")),
    })
    .collect()
}

/// Reads a reason; an empty text counts as none.
pub(super) fn stop_reason<'de, D: Deserializer<'de>>(from: D) -> Result<Option<StopReason>, D::Error> {
    let reason: Option<StopReason> = lenient::or_default(from)?;
    Ok(reason.filter(|reason| !matches!(reason, StopReason::Other(reason) if reason.is_empty())))
}

/// Why a model stopped.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StopReason {
    /// It had said everything.
    EndTurn,
    /// It had no tokens left.
    MaxTokens,
    /// It came to a stop text.
    StopSequence,
    /// It calls tools.
    ToolUse,
    /// It rests, and goes on when it is sent its turn again.
    PauseTurn,
    /// Anthropic's rules forbid more.
    Refusal,
    /// Its context was full.
    ModelContextWindowExceeded,
    /// A reason that is not in the types.
    #[serde(untagged)]
    Other(String),
}

/// The tokens of a question and its answer. What is absent from an event is as an earlier one told it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// Of the question, those that no cache had to do with.
    #[serde(default, deserialize_with = "lenient::count", skip_serializing_if = "Option::is_none")]
    pub(crate) input_tokens: Option<u64>,
    /// Of the question, those that were put into a cache.
    #[serde(default, deserialize_with = "lenient::count", skip_serializing_if = "Option::is_none")]
    pub(crate) cache_creation_input_tokens: Option<u64>,
    /// Of the question, those that came from a cache.
    #[serde(default, deserialize_with = "lenient::count", skip_serializing_if = "Option::is_none")]
    pub(crate) cache_read_input_tokens: Option<u64>,
    /// Of the answer so far, thoughts included.
    #[serde(default, deserialize_with = "lenient::count", skip_serializing_if = "Option::is_none")]
    pub(crate) output_tokens: Option<u64>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub(crate) other: Other,
}
