//! A request.

use serde::{Deserialize, Serialize};

use super::{Content, Other};
use crate::dialect::{unsupported::UnsupportedField, value::Value};

/// A request for a message. `null` counts as absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Request {
    /// The model's name; skipped while it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) model: String,
    /// The turns of the conversation.
    pub(crate) messages: Vec<Message>,
    /// The limit of output tokens, reasoning included; required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u64>,
    /// The system prompt: a text, or blocks of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system: Option<Content>,
    /// The stop sequences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_sequences: Option<Vec<String>>,
    /// Whether the response is streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<bool>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    /// The number of likeliest tokens to sample from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_k: Option<u64>,
    /// The tools that the model may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<Vec<Tool>>,
    /// Whether the model must call a tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<ToolChoice>,
    /// Whether the model thinks before it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thinking: Option<Thinking>,
    /// Settings of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_config: Option<OutputConfig>,
    /// The older name of `output_config.format`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_format: Option<OutputFormat>,
    /// Data about the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Metadata>,
    /// `auto`, `standard_only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_tier: Option<String>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// The field that is not of the format, or is missing.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, UnsupportedField> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let request: Self = serde_path_to_error::deserialize(&mut json).map_err(UnsupportedField::malformed)?;
        match request.max_tokens {
            Some(_) => Ok(request),
            None => Err(UnsupportedField::new("max_tokens", "it is required")),
        }
    }
}

/// The author of the message.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// The user; also tool results.
    #[default]
    User,
    /// The model.
    Assistant,
    /// Instructions of the application within the conversation.
    #[serde(alias = "developer")]
    System,
}

/// A turn of the conversation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Message {
    /// The author of the message.
    pub(crate) role: Role,
    /// The content.
    pub(crate) content: Content,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// A tool that the model may call.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Tool {
    /// A tool that the caller runs.
    Custom(CustomTool),
    /// A tool that Anthropic runs: web search, code execution, …
    Other(Value),
}

/// A tool that the caller runs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct CustomTool {
    /// `custom`, or absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<CustomKind>,
    /// Its name.
    pub(crate) name: String,
    /// A description of what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// A JSON schema of its input, an object.
    pub(crate) input_schema: Value,
    /// Whether the input must fit the schema exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
    /// Unrecognised members, such as `cache_control`.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// The type of a tool that the caller runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CustomKind {
    /// The only type.
    #[default]
    Custom,
}

/// Whether the model must call a tool.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToolChoice {
    /// The model decides whether to call a tool.
    Auto {
        /// Whether at most one tool may be called.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disable_parallel_tool_use: Option<bool>,
    },
    /// The model must call a tool.
    Any {
        /// Whether exactly one tool must be called.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disable_parallel_tool_use: Option<bool>,
    },
    /// The model must call this tool.
    Tool {
        /// Zero-based index of the block.
        name: String,
        /// Whether the tool must be called exactly once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disable_parallel_tool_use: Option<bool>,
    },
    /// The model must not call a tool.
    None,
    /// An unrecognised choice.
    #[serde(untagged)]
    Other(Value),
}

/// Whether the model thinks before it answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Thinking {
    /// Thinking with a budget.
    Enabled {
        /// The most thinking tokens: at least 1024 and fewer than `max_tokens`.
        budget_tokens: u64,
        /// Unrecognised members.
        #[serde(flatten)]
        other: Other,
    },
    /// Thinking as much as the model sees fit.
    Adaptive {
        /// Unrecognised members.
        #[serde(flatten)]
        other: Other,
    },
    /// No thinking.
    Disabled,
    /// An unrecognised kind of thinking.
    #[serde(untagged)]
    Other(Value),
}

/// Settings of the output.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct OutputConfig {
    /// The effort: `low`, `medium`, `high`, `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) effort: Option<String>,
    /// The format that the output must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<OutputFormat>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// The format that the output must have.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum OutputFormat {
    /// JSON that fits a schema.
    JsonSchema {
        /// The schema.
        schema: Value,
    },
    /// An unrecognised format.
    #[serde(untagged)]
    Other(Value),
}

/// Data about the request.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Metadata {
    /// A pseudonymous id of the caller's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<String>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}
