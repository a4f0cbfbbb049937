//! The answer of `generateContent`, plain or an event of a stream: both have one shape.

use serde::Deserialize;

use super::Content;
use crate::dialect::{lenient, value::Value};

/// An answer, or a piece of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Response {
    /// The answers.
    #[serde(deserialize_with = "lenient::or_null")]
    pub(crate) candidates: Vec<Candidate>,
    /// What Google thinks of the question; the reason why there are no candidates.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) prompt_feedback: Option<PromptFeedback>,
    /// The tokens so far.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) usage_metadata: Option<UsageMetadata>,
    /// The model that answers.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) model_version: Option<String>,
    /// The answer's id.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) response_id: Option<String>,
    /// What comes instead.
    pub(crate) error: Option<Status>,
}

/// One of the answers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Candidate {
    /// Which; where it is missing, the position counts.
    pub(crate) index: Option<u32>,
    /// What the model says.
    pub(crate) content: Option<Content>,
    /// Why it stopped; missing while it goes on.
    pub(crate) finish_reason: Option<String>,
    /// The tokens' log-probabilities.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) logprobs_result: Option<LogprobsResult>,
}

/// What Google thinks of a question.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PromptFeedback {
    /// Why it is not answered.
    pub(crate) block_reason: Option<String>,
}

/// The tokens of a question and its answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct UsageMetadata {
    /// Of the question, those from a cache included.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) prompt_token_count: u64,
    /// Of what Google's own tools added to it.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) tool_use_prompt_token_count: u64,
    /// How many of the question's came from a cache.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) cached_content_token_count: u64,
    /// Of the answers, without the thoughts.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) candidates_token_count: u64,
    /// Of the thoughts.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) thoughts_token_count: u64,
}

/// The log-probabilities of a candidate's tokens.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LogprobsResult {
    /// For every token, the likeliest ones.
    pub(crate) top_candidates: Vec<TopCandidates>,
    /// The tokens.
    pub(crate) chosen_candidates: Vec<Token>,
}

/// The likeliest tokens at one place.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct TopCandidates {
    /// The likeliest first.
    pub(crate) candidates: Vec<Token>,
}

/// A token and how likely it was.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Token {
    /// Its text.
    pub(crate) token: String,
    /// The logarithm of its probability.
    pub(crate) log_probability: f64,
}

/// An error.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Status {
    /// An HTTP status.
    pub(crate) code: Option<Value>,
    /// Its words.
    pub(crate) message: Option<String>,
    /// Its kind: `UNAVAILABLE`.
    pub(crate) status: Option<String>,
}
