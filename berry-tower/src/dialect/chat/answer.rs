//! A plain chat answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Message, Other};

/// A plain answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Answer {
    /// The provider's id of it.
    #[serde(default)]
    pub id: String,
    /// `chat.completion`.
    #[serde(default)]
    pub object: String,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub created: u64,
    /// The model that answered.
    #[serde(default)]
    pub model: String,
    /// The answers.
    pub choices: Vec<Choice>,
    /// The tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub other: Other,
}

/// One of the answers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Choice {
    /// Which, from 0.
    #[serde(default)]
    pub index: u32,
    /// What the model says.
    pub message: Message,
    /// Why it stopped.
    pub finish_reason: Option<FinishReason>,
    /// The tokens' log-probabilities.
    #[serde(default)]
    pub logprobs: Option<Value>,
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
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Of the answer, thoughts included.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Both.
    #[serde(default)]
    pub total_tokens: u64,
    /// How many of the question's came from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<CachedTokens>,
    /// How many of the answer's were thoughts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<ReasoningTokens>,
}

/// Of a question's tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct CachedTokens {
    /// Those that came from a cache.
    #[serde(default)]
    pub cached_tokens: u64,
}

/// Of an answer's tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct ReasoningTokens {
    /// Those that were thoughts.
    #[serde(default)]
    pub reasoning_tokens: u64,
}
