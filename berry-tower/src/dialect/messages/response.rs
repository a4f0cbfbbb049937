//! A plain answer.

use serde::{Deserialize, Serialize};

use super::{Block, Other, Role};
use crate::dialect::lenient;

/// A plain answer, and what a stream begins with.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Response {
    /// Anthropic's id of it.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) id: String,
    /// `message`.
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    /// `assistant`.
    #[serde(default = "assistant", deserialize_with = "lenient::or_default")]
    pub(crate) role: Role,
    /// The model that answered.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) model: String,
    /// What it says.
    #[serde(deserialize_with = "lenient::or_null")]
    pub(crate) content: Vec<Block>,
    /// Why it stopped; nothing where a stream begins.
    #[serde(default)]
    pub(crate) stop_reason: Option<StopReason>,
    /// At which text it stopped.
    #[serde(default)]
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
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) input_tokens: Option<u64>,
    /// Of the question, those that were put into a cache.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) cache_creation_input_tokens: Option<u64>,
    /// Of the question, those that came from a cache.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) cache_read_input_tokens: Option<u64>,
    /// Of the answer so far, thoughts included.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) output_tokens: Option<u64>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub(crate) other: Other,
}
