//! A chunk of a streamed response.

use serde::{Deserialize, Serialize};

use super::{ExtraContent, FinishReason, FunctionKind, Other, Role, Usage, response::finish_reason};
use crate::dialect::{lenient, value::Value};

/// A chunk of a streamed response.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Chunk {
    /// The response's id.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) id: String,
    /// `chat.completion.chunk`.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) object: String,
    /// The creation time in seconds since 1970.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) created: u64,
    /// The model that answers.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) model: String,
    /// Pieces of choices; none in the chunk that reports token counts.
    #[serde(default, deserialize_with = "lenient::or_null")]
    pub(crate) choices: Vec<ChunkChoice>,
    /// The token counts, in the last chunk.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// A piece of a choice.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct ChunkChoice {
    /// Zero-based index.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) index: u32,
    /// The new piece.
    #[serde(default, deserialize_with = "lenient::or_null")]
    pub(crate) delta: Delta,
    /// The reason why generation stopped, in the last piece.
    #[serde(default, deserialize_with = "finish_reason")]
    pub(crate) finish_reason: Option<FinishReason>,
    /// The log-probabilities of the tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs: Option<Value>,
}

/// A piece of a message.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Delta {
    /// The author of the message, in the first piece.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<Role>,
    /// A piece of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    /// A piece of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<String>,
    /// A piece of the reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_content: Option<String>,
    /// Pieces of tool calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tool_calls: Option<Vec<ToolCallDelta>>,
    /// Data of the provider's that must be sent back with the message; lists continue those of earlier pieces.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) extra_content: Option<ExtraContent>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// A piece of a tool call.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct ToolCallDelta {
    /// Zero-based index of the tool call.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) index: u32,
    /// The id, in the first piece.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// `function`, in the first piece.
    #[serde(
        default,
        rename = "type",
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) kind: Option<FunctionKind>,
    /// A piece of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) function: Option<FunctionDelta>,
    /// Data of the provider's that must be sent back with the call.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) extra_content: Option<ExtraContent>,
}

/// A piece of a called function.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct FunctionDelta {
    /// The name, in the first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// A piece of the arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arguments: Option<String>,
}
