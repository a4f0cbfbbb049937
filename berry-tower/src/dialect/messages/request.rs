//! A request for a message.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Content, Other};
use crate::dialect::Inexpressible;

/// A request for a message. `null` counts as absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Request {
    /// The model's name; left out while it is empty, for who writes it beside the rest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// The conversation: turns of the user and the assistant by turns, the user's first.
    pub messages: Vec<Message>,
    /// The most tokens of the answer, thoughts included; Anthropic insists on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// What the application tells the model: a text, or blocks of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Content>,
    /// Where to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_sequences: Option<Vec<String>>,
    /// Whether the answer is streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Among how many of the likeliest tokens to choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    /// What the model may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// Whether it must.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether the model thinks before it speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    /// What the answer is like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig>,
    /// The older place of `output_config.format`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_format: Option<OutputFormat>,
    /// About the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// `auto`, `standard_only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// What is not in the types.
    #[serde(flatten)]
    pub other: Other,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// The field that is not of the format, or is missing.
    ///
    /// ```
    /// use berry_tower::dialect::messages::Request;
    ///
    /// let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"top_p":null}"#;
    /// let request = Request::read(body).unwrap();
    /// assert_eq!((request.messages.len(), request.max_tokens, request.top_p), (1, Some(9), None));
    /// let error = Request::read(br#"{"model":"m","max_tokens":9,"messages":[{"role":"cat"}]}"#).unwrap_err();
    /// assert_eq!(error.param, "messages[0].role");
    /// assert_eq!(Request::read(b"{}").unwrap_err().param, "max_tokens");
    /// ```
    pub fn read(body: &[u8]) -> Result<Self, Inexpressible> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let request: Self = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| Inexpressible::new(error.path().to_string(), error.into_inner().to_string()))?;
        match request.max_tokens {
            Some(_) => Ok(request),
            None => Err(Inexpressible::new("max_tokens", "it is required")),
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The user, tools' results with it.
    #[default]
    User,
    /// The model.
    Assistant,
}

/// A turn of the conversation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Content,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub other: Other,
}

/// Something that the model may call.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Tool {
    /// A tool of the caller's.
    Custom(CustomTool),
    /// One of Anthropic's own: web search, code execution, …
    Other(Value),
}

/// A tool of the caller's.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct CustomTool {
    /// `custom`, or absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<CustomKind>,
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON schema of its input, an object.
    pub input_schema: Value,
    /// Whether the input must fit the schema exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Members that are not in the types, such as `cache_control`.
    #[serde(flatten)]
    pub other: Other,
}

/// The kind of a tool that is the caller's.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomKind {
    /// The only one.
    #[default]
    Custom,
}

/// Whether the model must call a tool.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolChoice {
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
pub enum Thinking {
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
pub struct OutputConfig {
    /// How much work to put into it: `low`, `medium`, `high`, `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// What it must look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<OutputFormat>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub other: Other,
}

/// What the answer must look like.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputFormat {
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
pub struct Metadata {
    /// The caller's own user, under a name that tells nothing about them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub other: Other,
}
