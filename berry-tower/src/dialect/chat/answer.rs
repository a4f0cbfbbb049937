//! A plain chat answer.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Message, Other, spoken};
use crate::dialect::lenient;

/// A plain answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Answer {
    /// The provider's id of it.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub id: String,
    /// `chat.completion`.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub object: String,
    /// When it was made, in seconds since 1970.
    #[serde(default, deserialize_with = "lenient::number")]
    pub created: u64,
    /// The model that answered.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub model: String,
    /// The answers.
    pub choices: Vec<Choice>,
    /// The tokens.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub other: Other,
}

/// One of the answers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Choice {
    /// Which, from 0.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub index: u32,
    /// What the model says.
    #[serde(deserialize_with = "spoken::message")]
    pub message: Message,
    /// Why it stopped.
    #[serde(default, deserialize_with = "finish_reason")]
    pub finish_reason: Option<FinishReason>,
    /// The tokens' log-probabilities.
    #[serde(default)]
    pub logprobs: Option<Value>,
}

/// Some write an empty text while there is no reason.
pub(super) fn finish_reason<'de, D: Deserializer<'de>>(from: D) -> Result<Option<FinishReason>, D::Error> {
    let reason: Option<FinishReason> = lenient::or_default(from)?;
    Ok(reason.filter(|reason| !matches!(reason, FinishReason::Other(reason) if reason.is_empty())))
}

/// Why a model stopped.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
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
pub struct Usage {
    /// Of the question, those from a cache included.
    #[serde(default, deserialize_with = "lenient::number")]
    pub prompt_tokens: u64,
    /// Of the answer, thoughts included.
    #[serde(default, deserialize_with = "lenient::number")]
    pub completion_tokens: u64,
    /// Both.
    #[serde(default, deserialize_with = "lenient::number")]
    pub total_tokens: u64,
    /// How many of the question's came from a cache.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<CachedTokens>,
    /// How many of the answer's were thoughts.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<ReasoningTokens>,
}

/// Of a question's tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct CachedTokens {
    /// Those that came from a cache.
    #[serde(default, deserialize_with = "lenient::number")]
    pub cached_tokens: u64,
}

/// Of an answer's tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct ReasoningTokens {
    /// Those that were thoughts.
    #[serde(default, deserialize_with = "lenient::number")]
    pub reasoning_tokens: u64,
}
