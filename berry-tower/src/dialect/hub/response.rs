//! A plain chat answer.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Message, Other, response_message};
use crate::dialect::{lenient, value::Value};

/// A plain answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Response {
    /// The provider's id of it.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) id: String,
    /// `chat.completion`.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) object: String,
    /// When it was made, in seconds since 1970.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) created: u64,
    /// The model that answered.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) model: String,
    /// The answers.
    pub(crate) choices: Vec<Choice>,
    /// The tokens.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// One of the answers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Choice {
    /// Which, from 0.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) index: u32,
    /// What the model says.
    #[serde(deserialize_with = "response_message::message")]
    pub(crate) message: Message,
    /// Why it stopped.
    #[serde(default, deserialize_with = "finish_reason")]
    pub(crate) finish_reason: Option<FinishReason>,
    /// The tokens' log-probabilities.
    #[serde(default)]
    pub(crate) logprobs: Option<Value>,
}

/// Some write an empty text while there is no reason.
pub(super) fn finish_reason<'de, D: Deserializer<'de>>(from: D) -> Result<Option<FinishReason>, D::Error> {
    let reason: Option<FinishReason> = lenient::or_default(from)?;
    Ok(reason.filter(|reason| !matches!(reason, FinishReason::Other(reason) if reason.is_empty())))
}

/// Why a model stopped.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FinishReason {
    /// It had said everything, or came to a stop text.
    Stop,
    /// It had no tokens left.
    Length,
    /// It calls tools.
    ToolCalls,
    /// The provider's rules forbid more.
    ContentFilter,
    /// A reason that is not in the types.
    #[serde(untagged)]
    Other(String),
}

/// The tokens of a question and its answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// Of the question, those from a cache included.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) prompt_tokens: u64,
    /// Of the answer, thoughts included.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) completion_tokens: u64,
    /// Both.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) total_tokens: u64,
    /// How many of the question's came from a cache.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_tokens_details: Option<CachedTokens>,
    /// How many of the answer's were thoughts.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) completion_tokens_details: Option<ReasoningTokens>,
}

/// Of a question's tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct CachedTokens {
    /// Those that came from a cache.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) cached_tokens: u64,
}

/// Of an answer's tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct ReasoningTokens {
    /// Those that were thoughts.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) reasoning_tokens: u64,
}
