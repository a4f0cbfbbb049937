//! The request of `generateContent`.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::dialect::{
    codec::Malformed,
    embedded, lenient,
    value::{Object, Value},
};

/// A request of `generateContent`; the URL holds the model and whether the response is streamed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Request {
    /// The system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system_instruction: Option<Content>,
    /// The conversation.
    pub(crate) contents: Vec<Content>,
    /// The tools that the model may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool>,
    /// Whether the model must call a tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_config: Option<ToolConfig>,
    /// The settings of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generation_config: Option<GenerationConfig>,
}

/// A turn of the conversation, or the content of a candidate.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Content {
    /// The author; the system instruction has none.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<Role>,
    /// The parts in order.
    #[serde(deserialize_with = "parts")]
    pub(crate) parts: Vec<Part>,
}

/// Reads parts: a list, one part, or a text; `null` and empty values are none.
fn parts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Part>, D::Error> {
    let value = Value::deserialize(from)?;
    if let Some(text) = lenient::text(Some(&value)) {
        return Ok(vec![Part::text(text)]);
    }
    let list = lenient::list(Some(&value), Malformed("parts that are no list")).map_err(D::Error::custom)?;
    let list = list.iter().filter(|part| !lenient::is_blank(Some(part)));
    list.map(|part| match lenient::text(Some(part)) {
        Some(text) => Ok(Part::text(text)),
        None => part.read().ok_or_else(|| D::Error::custom("a part that is none")),
    })
    .collect()
}

/// The author of the message.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// The user; also tool results.
    User,
    /// The model.
    Model,
    /// An unrecognised role.
    #[serde(other, skip_serializing)]
    Other,
}

/// A part of a turn: one of the members and its attributes. An unrecognised part reads as an empty one.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Part {
    /// A text.
    #[serde(deserialize_with = "text_or_none", skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Whether the text is reasoning.
    #[serde(deserialize_with = "lenient::flag", skip_serializing_if = "Option::is_none")]
    pub(crate) thought: Option<bool>,
    /// The signature of the reasoning behind the part, which must be sent back.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) thought_signature: Option<String>,
    /// Media in the request itself.
    #[serde(deserialize_with = "lenient::filled", skip_serializing_if = "Option::is_none")]
    pub(crate) inline_data: Option<Blob>,
    /// Media by URL.
    #[serde(deserialize_with = "lenient::filled", skip_serializing_if = "Option::is_none")]
    pub(crate) file_data: Option<FileData>,
    /// A tool that the model calls.
    #[serde(deserialize_with = "lenient::filled", skip_serializing_if = "Option::is_none")]
    pub(crate) function_call: Option<FunctionCall>,
    /// The result of a tool call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function_response: Option<FunctionResponse>,
    /// Code that the model ran at Google; only in responses.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) executable_code: Option<Value>,
    /// The output of the code; only in responses.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) code_execution_result: Option<Value>,
}

/// Reads a text; `null` and empty values are none.
fn text_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    lenient::text_or_null(from).map(Some)
}

impl Part {
    /// A text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }
}

/// Media in base64.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Blob {
    /// The media type, such as `image/png`.
    pub(crate) mime_type: String,
    /// The media.
    pub(crate) data: String,
}

/// Media by their address.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FileData {
    /// The media type, such as `image/png`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mime_type: Option<String>,
    /// The URL.
    pub(crate) file_uri: String,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct FunctionCall {
    /// The id to which the response refers; only newer models send one.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// The tool's name.
    #[serde(deserialize_with = "lenient::text_or_null")]
    pub(crate) name: String,
    /// Its arguments.
    #[serde(deserialize_with = "arguments", skip_serializing_if = "Option::is_none")]
    pub(crate) args: Option<Object>,
}

/// Reads arguments: an object, or one that is written as a JSON text; `null` and empty values are none.
fn arguments<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Object>, D::Error> {
    let value = Value::deserialize(from)?;
    match value {
        Value::Object(members) => Ok(Some(*members)),
        Value::String(text) if !text.trim().is_empty() => {
            embedded::object(&text).map(Some).ok_or_else(|| D::Error::custom("arguments that are no object"))
        }
        value if lenient::is_blank(Some(&value)) => Ok(None),
        _ => Err(D::Error::custom("arguments that are no object")),
    }
}

/// The result of a tool call.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct FunctionResponse {
    /// The id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// The tool's name.
    pub(crate) name: String,
    /// The members `result` or `error`, or the tool's own.
    pub(crate) response: Object,
    /// Media of the result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<Part>,
}

/// Tools.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Tool {
    /// Functions that the model may call.
    pub(crate) function_declarations: Vec<FunctionDeclaration>,
}

/// A function that the model may call.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FunctionDeclaration {
    /// Its name.
    pub(crate) name: String,
    /// A description of what it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// A JSON schema of its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters_json_schema: Option<Value>,
}

/// How tools are called.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ToolConfig {
    /// How functions are called.
    pub(crate) function_calling_config: FunctionCallingConfig,
}

/// How functions are called.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FunctionCallingConfig {
    /// The mode.
    pub(crate) mode: Mode,
    /// The functions that may be called; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allowed_function_names: Vec<String>,
}

/// A mode of calling functions.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Mode {
    /// The model decides whether to call a tool.
    #[default]
    Auto,
    /// The model must call a function; arguments fit the schema.
    Any,
    /// The model must not call a tool.
    None,
    /// The model decides; arguments fit the schema.
    Validated,
}

/// The settings of the output.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GenerationConfig {
    /// The most tokens, thoughts included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_output_tokens: Option<u64>,
    /// 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    /// The number of likeliest tokens to sample from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_k: Option<u64>,
    /// The stop sequences; at most five.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop_sequences: Vec<String>,
    /// The number of candidates, 1 to 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) candidate_count: Option<u32>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) presence_penalty: Option<f64>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frequency_penalty: Option<f64>,
    /// A seed for repeatable sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<i32>,
    /// Whether log-probabilities are returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_logprobs: Option<bool>,
    /// The number of alternatives for each token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs: Option<u64>,
    /// The media type of the output: `application/json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_mime_type: Option<String>,
    /// The JSON schema of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_json_schema: Option<Value>,
    /// Settings of thinking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thinking_config: Option<ThinkingConfig>,
    /// The resolution at which pictures are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) media_resolution: Option<MediaResolution>,
}

/// Settings of thinking.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ThinkingConfig {
    /// Whether the response includes reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) include_thoughts: Option<bool>,
    /// The budget in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thinking_budget: Option<u64>,
}

/// The resolution at which pictures are read.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum MediaResolution {
    /// Few tokens.
    #[serde(rename = "MEDIA_RESOLUTION_LOW")]
    Low,
    /// Many tokens.
    #[serde(rename = "MEDIA_RESOLUTION_HIGH")]
    High,
}
