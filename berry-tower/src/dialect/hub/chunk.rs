//! A piece of a streamed chat answer.

use serde::{Deserialize, Serialize};

use super::{ExtraContent, FinishReason, FunctionKind, Other, Role, Usage, response::finish_reason};
use crate::dialect::{lenient, value::Value};

/// A piece of a streamed answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Chunk {
    /// The provider's id of the answer.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) id: String,
    /// `chat.completion.chunk`.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) object: String,
    /// When the answer was begun, in seconds since 1970.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) created: u64,
    /// The model that answers.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) model: String,
    /// The answers' next pieces; none in the chunk that tells the usage.
    #[serde(default, deserialize_with = "lenient::or_null")]
    pub(crate) choices: Vec<ChunkChoice>,
    /// The tokens, in the last chunk.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// The next piece of one answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct ChunkChoice {
    /// Which, from 0.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) index: u32,
    /// What is new.
    #[serde(default, deserialize_with = "lenient::or_null")]
    pub(crate) delta: Delta,
    /// Why the model stopped, in the last piece.
    #[serde(default, deserialize_with = "finish_reason")]
    pub(crate) finish_reason: Option<FinishReason>,
    /// The tokens' log-probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs: Option<Value>,
}

/// What is new in an answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Delta {
    /// Who speaks, in the first piece.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<Role>,
    /// More text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    /// More of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<String>,
    /// More thoughts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_content: Option<String>,
    /// More of the calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tool_calls: Option<Vec<ToolCallDelta>>,
    /// What a provider wants to see again with the message; lists go on, in order.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) extra_content: Option<ExtraContent>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// What is new in a call.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct ToolCallDelta {
    /// Which of the calls, from 0.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) index: u32,
    /// Its id, in its first piece.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// `function`, in its first piece.
    #[serde(
        default,
        rename = "type",
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) kind: Option<FunctionKind>,
    /// More of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) function: Option<FunctionDelta>,
    /// What a provider wants to see again with the call.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) extra_content: Option<ExtraContent>,
}

/// What is new in a called function.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct FunctionDelta {
    /// Its name, in the first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// More of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arguments: Option<String>,
}
