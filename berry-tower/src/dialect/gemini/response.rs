//! The response of `generateContent`; an event of a stream has the same shape.

use serde::{Deserialize, Deserializer};

use super::Content;
use crate::dialect::{codec::Malformed, lenient, value::Value};

/// A response, or an event of a stream.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Response {
    /// The choices.
    #[serde(deserialize_with = "candidates")]
    pub(crate) candidates: Vec<Candidate>,
    /// Google's verdict on the prompt, if there are no candidates.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) prompt_feedback: Option<PromptFeedback>,
    /// The token counts so far.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) usage_metadata: Option<UsageMetadata>,
    /// The model that answers.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) model_version: Option<String>,
    /// The response's id.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) response_id: Option<String>,
    /// The error, in place of candidates.
    #[serde(deserialize_with = "status")]
    pub(crate) error: Option<Status>,
}

/// Reads candidates: a list, or one that stands for a list of one; `null` and empty values are none.
fn candidates<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Candidate>, D::Error> {
    let value = Value::deserialize(from)?;
    let list = lenient::list(Some(&value), Malformed("candidates that are no list"));
    let list = list.map_err(serde::de::Error::custom)?.iter().filter(|it| !lenient::is_blank(Some(it)));
    list.map(|it| it.read().ok_or_else(|| serde::de::Error::custom("a candidate that is none"))).collect()
}

/// Reads a content: an object, a list of parts, or a text; `null` and empty values are none.
fn content_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Content>, D::Error> {
    let value = Value::deserialize(from)?;
    if lenient::is_blank(Some(&value)) {
        return Ok(None);
    }
    let content = match value {
        Value::Array(_) => Value::object([("parts", value)]),
        Value::String(_) => Value::object([("parts", Value::Array(vec![Value::object([("text", value)])]))]),
        value => value,
    };
    content.read().map(Some).ok_or_else(|| serde::de::Error::custom("a content that is none"))
}

/// Reads an error, also one that is a mere text.
fn status<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Status>, D::Error> {
    let value = Value::deserialize(from)?;
    if lenient::is_blank(Some(&value)) {
        return Ok(None);
    }
    let message = lenient::text(Some(&value));
    Ok(Some(value.read().unwrap_or(Status { message, ..Status::default() })))
}

/// A choice.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Candidate {
    /// The zero-based index; the position if it is missing.
    #[serde(deserialize_with = "lenient::count")]
    pub(crate) index: Option<u64>,
    /// The message.
    #[serde(deserialize_with = "content_or_none")]
    pub(crate) content: Option<Content>,
    /// The finish reason; missing while the candidate continues.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) finish_reason: Option<String>,
    /// The log-probabilities of the tokens.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) logprobs_result: Option<LogprobsResult>,
}

/// Google's verdict on the prompt.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PromptFeedback {
    /// The reason why the prompt is blocked.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) block_reason: Option<String>,
}

/// Token counts of a request and its response.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct UsageMetadata {
    /// Input tokens, cached ones included.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) prompt_token_count: u64,
    /// Input tokens that Google's own tools added.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) tool_use_prompt_token_count: u64,
    /// Details of the input tokens.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) cached_content_token_count: u64,
    /// Output tokens without reasoning.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) candidates_token_count: u64,
    /// Reasoning tokens.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) thoughts_token_count: u64,
}

impl UsageMetadata {
    /// Takes over later counts; none of 0 takes back an earlier one.
    pub(super) const fn merge(self, later: Self) -> Self {
        const fn newer(old: u64, new: u64) -> u64 {
            if new > 0 { new } else { old }
        }
        Self {
            prompt_token_count: newer(self.prompt_token_count, later.prompt_token_count),
            tool_use_prompt_token_count: newer(self.tool_use_prompt_token_count, later.tool_use_prompt_token_count),
            cached_content_token_count: newer(self.cached_content_token_count, later.cached_content_token_count),
            candidates_token_count: newer(self.candidates_token_count, later.candidates_token_count),
            thoughts_token_count: newer(self.thoughts_token_count, later.thoughts_token_count),
        }
    }
}

/// The log-probabilities of a candidate's tokens.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LogprobsResult {
    /// The likeliest alternatives of each token.
    pub(crate) top_candidates: Vec<TopCandidates>,
    /// The token counts.
    pub(crate) chosen_candidates: Vec<Token>,
}

/// The likeliest tokens at one place.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct TopCandidates {
    /// The tokens, the likeliest first.
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
    /// The message.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) message: Option<String>,
    /// Its kind: `UNAVAILABLE`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) status: Option<String>,
}
