//! The answer of `generateContent`, plain or an event of a stream: both have one shape.

use serde::Deserialize;
use serde_json::Value;

use super::wire::Content;
use crate::dialect::lenient;

/// An answer, or a piece of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    /// The answers.
    #[serde(deserialize_with = "lenient::or_null")]
    pub candidates: Vec<Candidate>,
    /// What Google thinks of the question; the reason why there are no candidates.
    #[serde(deserialize_with = "lenient::or_default")]
    pub prompt_feedback: Option<PromptFeedback>,
    /// The tokens so far.
    #[serde(deserialize_with = "lenient::or_default")]
    pub usage_metadata: Option<UsageMetadata>,
    /// The model that answers.
    #[serde(deserialize_with = "lenient::or_default")]
    pub model_version: Option<String>,
    /// The answer's id.
    #[serde(deserialize_with = "lenient::or_default")]
    pub response_id: Option<String>,
    /// What comes instead.
    pub error: Option<Status>,
}

/// One of the answers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Candidate {
    /// Which; where it is missing, the position counts.
    pub index: Option<u32>,
    /// What the model says.
    pub content: Option<Content>,
    /// Why it stopped; missing while it goes on.
    pub finish_reason: Option<String>,
    /// The tokens' log-probabilities.
    #[serde(deserialize_with = "lenient::or_default")]
    pub logprobs_result: Option<LogprobsResult>,
}

/// What Google thinks of a question.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PromptFeedback {
    /// Why it is not answered.
    pub block_reason: Option<String>,
}

/// The tokens of a question and its answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageMetadata {
    /// Of the question, those from a cache included.
    #[serde(deserialize_with = "lenient::number")]
    pub prompt_token_count: u64,
    /// Of what Google's own tools added to it.
    #[serde(deserialize_with = "lenient::number")]
    pub tool_use_prompt_token_count: u64,
    /// How many of the question's came from a cache.
    #[serde(deserialize_with = "lenient::number")]
    pub cached_content_token_count: u64,
    /// Of the answers, without the thoughts.
    #[serde(deserialize_with = "lenient::number")]
    pub candidates_token_count: u64,
    /// Of the thoughts.
    #[serde(deserialize_with = "lenient::number")]
    pub thoughts_token_count: u64,
}

/// The log-probabilities of a candidate's tokens.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct LogprobsResult {
    /// For every token, the likeliest ones.
    pub top_candidates: Vec<TopCandidates>,
    /// The tokens.
    pub chosen_candidates: Vec<Token>,
}

/// The likeliest tokens at one place.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct TopCandidates {
    /// The likeliest first.
    pub candidates: Vec<Token>,
}

/// A token and how likely it was.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Token {
    /// Its text.
    pub token: String,
    /// The logarithm of its probability.
    pub log_probability: f64,
}

/// An error.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Status {
    /// An HTTP status.
    pub code: Option<Value>,
    /// Its words.
    pub message: Option<String>,
    /// Its kind: `UNAVAILABLE`.
    pub status: Option<String>,
}
