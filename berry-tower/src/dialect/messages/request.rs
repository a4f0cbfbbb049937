//! A request for a message.

use serde::{Deserialize, Serialize};

use super::{Content, Other};
use crate::dialect::{unsupported::UnsupportedField, value::Value};

/// A request for a message. `null` counts as absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Request {
    /// The model's name; left out while it is empty, for who writes it beside the rest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) model: String,
    /// The conversation: turns of the user and the assistant by turns, the user's first.
    pub(crate) messages: Vec<Message>,
    /// The most tokens of the answer, thoughts included; Anthropic insists on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u64>,
    /// What the application tells the model: a text, or blocks of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system: Option<Content>,
    /// Where to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_sequences: Option<Vec<String>>,
    /// Whether the answer is streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<bool>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    /// Among how many of the likeliest tokens to choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_k: Option<u64>,
    /// What the model may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<Vec<Tool>>,
    /// Whether it must.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<ToolChoice>,
    /// Whether the model thinks before it speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thinking: Option<Thinking>,
    /// What the answer is like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_config: Option<OutputConfig>,
    /// The older place of `output_config.format`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_format: Option<OutputFormat>,
    /// About the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Metadata>,
    /// `auto`, `standard_only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_tier: Option<String>,
    /// What is not in the types.
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
        let request: Self = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| UnsupportedField::new(error.path().to_string(), error.into_inner().to_string()))?;
        match request.max_tokens {
            Some(_) => Ok(request),
            None => Err(UnsupportedField::new("max_tokens", "it is required")),
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// The user, tools' results with it.
    #[default]
    User,
    /// The model.
    Assistant,
    /// The application, within the conversation.
    #[serde(alias = "developer")]
    System,
}

/// A turn of the conversation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Message {
    /// Who speaks.
    pub(crate) role: Role,
    /// What is said.
    pub(crate) content: Content,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// Something that the model may call.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Tool {
    /// A tool of the caller's.
    Custom(CustomTool),
    /// One of Anthropic's own: web search, code execution, …
    Other(Value),
}

/// A tool of the caller's.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct CustomTool {
    /// `custom`, or absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<CustomKind>,
    /// Its name.
    pub(crate) name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// A JSON schema of its input, an object.
    pub(crate) input_schema: Value,
    /// Whether the input must fit the schema exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
    /// Members that are not in the types, such as `cache_control`.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// The kind of a tool that is the caller's.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CustomKind {
    /// The only one.
    #[default]
    Custom,
}

/// Whether the model must call a tool.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToolChoice {
    /// As it likes.
    Auto {
        /// Whether it may call one at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disable_parallel_tool_use: Option<bool>,
    },
    /// It must call one.
    Any {
        /// Whether it must call exactly one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disable_parallel_tool_use: Option<bool>,
    },
    /// It must call this one.
    Tool {
        /// Which.
        name: String,
        /// Whether it must call it exactly once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disable_parallel_tool_use: Option<bool>,
    },
    /// Not at all.
    None,
    /// A choice that is not in the types.
    #[serde(untagged)]
    Other(Value),
}

/// Whether the model thinks before it speaks.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Thinking {
    /// It does.
    Enabled {
        /// With so many tokens at most: 1024 or more, and fewer than `max_tokens`.
        budget_tokens: u64,
        /// Members that are not in the types.
        #[serde(flatten)]
        other: Other,
    },
    /// As much as it sees fit.
    Adaptive {
        /// Members that are not in the types.
        #[serde(flatten)]
        other: Other,
    },
    /// It does not.
    Disabled,
    /// A way that is not in the types.
    #[serde(untagged)]
    Other(Value),
}

/// What the answer is like.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct OutputConfig {
    /// How much work to put into it: `low`, `medium`, `high`, `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) effort: Option<String>,
    /// What it must look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<OutputFormat>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// What the answer must look like.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum OutputFormat {
    /// JSON that fits a schema.
    JsonSchema {
        /// The schema.
        schema: Value,
    },
    /// A format that is not in the types.
    #[serde(untagged)]
    Other(Value),
}

/// About a request.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Metadata {
    /// The caller's own user, under a name that tells nothing about them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<String>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub(crate) other: Other,
}
