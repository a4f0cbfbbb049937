//! A request of a caller.

use serde::Deserialize;

use crate::dialect::{
    hub, lenient,
    unsupported::UnsupportedField,
    value::{Object, Value},
};

/// A request for a response. `null` counts as absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    /// The model's name.
    pub(super) model: String,
    /// The conversation.
    pub(super) input: Option<Input>,
    /// The system prompt.
    pub(super) instructions: Option<String>,
    /// The tools that the model may call.
    #[serde(deserialize_with = "lenient::or_null")]
    pub(super) tools: Vec<Value>,
    /// Whether the model must call a tool.
    pub(super) tool_choice: Option<Value>,
    /// Whether the model may call several tools at once.
    pub(super) parallel_tool_calls: Option<bool>,
    /// The limit of output tokens, reasoning included.
    #[serde(deserialize_with = "hub::tokens")]
    pub(super) max_output_tokens: Option<u64>,
    /// The limit of calls of tools that the provider runs.
    pub(super) max_tool_calls: Option<u64>,
    /// 0 to 2.
    pub(super) temperature: Option<f64>,
    /// 0 to 1.
    pub(super) top_p: Option<f64>,
    /// -2 to 2.
    pub(super) presence_penalty: Option<f64>,
    /// -2 to 2.
    pub(super) frequency_penalty: Option<f64>,
    /// The number of alternatives for each token.
    pub(super) top_logprobs: Option<u64>,
    /// How the model reasons.
    pub(super) reasoning: Option<Reasoning>,
    /// Settings of the text.
    pub(super) text: Option<Text>,
    /// Additional parts of the response.
    #[serde(deserialize_with = "lenient::or_null")]
    pub(super) include: Vec<String>,
    /// Whether the response is streamed.
    pub(super) stream: Option<bool>,
    /// Whether the response is stored.
    pub(super) store: Option<bool>,
    /// `auto` drops the beginning of a conversation that is too long.
    pub(super) truncation: Option<String>,
    /// Data of the caller's.
    pub(super) metadata: Option<Value>,
    /// The caller's user.
    pub(super) user: Option<String>,
    /// The newer name of `user`.
    pub(super) safety_identifier: Option<String>,
    /// A key of the provider's prompt cache.
    pub(super) prompt_cache_key: Option<String>,
    /// How long the prompt cache is kept.
    pub(super) prompt_cache_retention: Option<String>,
    /// The provider's service tier.
    pub(super) service_tier: Option<String>,
    /// Whether the caller does not wait for the response.
    pub(super) background: Option<bool>,
    /// The response that the conversation continues.
    pub(super) previous_response_id: Option<String>,
    /// The conversation that the provider stores.
    pub(super) conversation: Option<Value>,
    /// A prompt that the provider stores.
    pub(super) prompt: Option<Value>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(super) other: Object,
}

/// The conversation: a text of the user's, or items.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "it is a text or a list of items")]
pub(super) enum Input {
    /// A text.
    Text(String),
    /// Items in order.
    Items(Vec<Value>),
}

/// How the model reasons.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reasoning {
    /// The effort.
    pub(super) effort: Option<String>,
    /// `auto`, `concise`, `detailed`.
    pub(super) summary: Option<String>,
}

/// Settings of the text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Text {
    /// The format of the output.
    pub(super) format: Option<Value>,
    /// `low`, `medium`, `high`.
    pub(super) verbosity: Option<String>,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// The field that is not of the format.
    pub(super) fn parse(body: &[u8]) -> Result<Self, UnsupportedField> {
        let mut json = serde_json::Deserializer::from_slice(body);
        serde_path_to_error::deserialize(&mut json).map_err(UnsupportedField::malformed)
    }
}
