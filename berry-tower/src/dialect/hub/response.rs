//! A plain response.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Message, Other, response_message};
use crate::dialect::{lenient, value::Value};

/// A plain response.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Response {
    /// The response's id.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) id: String,
    /// `chat.completion`.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) object: String,
    /// The creation time in seconds since 1970.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) created: u64,
    /// The model that answered.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) model: String,
    /// The choices.
    pub(crate) choices: Vec<Choice>,
    /// The token counts.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// A choice.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Choice {
    /// Zero-based index.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) index: u32,
    /// The message.
    #[serde(deserialize_with = "response_message::message")]
    pub(crate) message: Message,
    /// The reason why generation stopped.
    #[serde(default, deserialize_with = "finish_reason")]
    pub(crate) finish_reason: Option<FinishReason>,
    /// The log-probabilities of the tokens.
    #[serde(default)]
    pub(crate) logprobs: Option<Value>,
}

/// Some write an empty text while there is no reason.
pub(super) fn finish_reason<'de, D: Deserializer<'de>>(from: D) -> Result<Option<FinishReason>, D::Error> {
    let reason: Option<FinishReason> = lenient::or_default(from)?;
    Ok(reason.filter(|reason| !matches!(reason, FinishReason::Other(reason) if reason.is_empty())))
}

/// The reason why generation stopped.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FinishReason {
    /// The model reached its natural end or a stop sequence.
    Stop,
    /// The response reached its token limit.
    Length,
    /// The model calls tools.
    ToolCalls,
    /// A content filter of the provider stopped the response.
    ContentFilter,
    /// An unrecognised reason.
    #[serde(untagged)]
    Other(String),
}

/// Token counts of a request and its response.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// Input tokens, cached ones included.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) prompt_tokens: u64,
    /// Output tokens, reasoning included.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) completion_tokens: u64,
    /// Input and output tokens.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) total_tokens: u64,
    /// Details of the input tokens.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_tokens_details: Option<CachedTokens>,
    /// Details of the output tokens.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) completion_tokens_details: Option<ReasoningTokens>,
}

/// Details of input tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct CachedTokens {
    /// Tokens read from a cache.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) cached_tokens: u64,
    /// Tokens written to a cache. OpenAI's format has no place for them.
    #[serde(default, deserialize_with = "lenient::number", skip_serializing)]
    pub(crate) cache_write_tokens: u64,
}

/// Details of output tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct ReasoningTokens {
    /// Reasoning tokens.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) reasoning_tokens: u64,
}
