//! The request of `generateContent`, as Google documents it.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::dialect::{
    codec::Malformed,
    lenient,
    value::{Object, Value},
};

/// A request of `generateContent`; the model stands in the URL, and streaming too.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Request {
    /// What the application tells the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system_instruction: Option<Content>,
    /// The conversation.
    pub(crate) contents: Vec<Content>,
    /// What the model may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool>,
    /// Whether it must.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_config: Option<ToolConfig>,
    /// How to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generation_config: Option<GenerationConfig>,
}

/// A turn of the conversation, or a candidate's answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Content {
    /// Who speaks; the system instruction has no role.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<Role>,
    /// What is said, in order.
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

/// Who speaks.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// The user, tools' results included.
    User,
    /// The model.
    Model,
    /// A role that is not in the types.
    #[serde(other, skip_serializing)]
    Other,
}

/// A piece of a turn: one of the members, and what goes with it. One that is not in the types reads
/// as a part with nothing in it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Part {
    /// A text.
    #[serde(deserialize_with = "text_or_none", skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Whether the text is a thought.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) thought: Option<bool>,
    /// The thoughts behind the part, encrypted; to be sent again with it.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) thought_signature: Option<String>,
    /// Media in the request itself.
    #[serde(deserialize_with = "lenient::filled", skip_serializing_if = "Option::is_none")]
    pub(crate) inline_data: Option<Blob>,
    /// Media that lie elsewhere.
    #[serde(deserialize_with = "lenient::filled", skip_serializing_if = "Option::is_none")]
    pub(crate) file_data: Option<FileData>,
    /// A tool that the model calls.
    #[serde(deserialize_with = "lenient::filled", skip_serializing_if = "Option::is_none")]
    pub(crate) function_call: Option<FunctionCall>,
    /// What the tool said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function_response: Option<FunctionResponse>,
    /// Code that the model ran at Google; only in responses.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) executable_code: Option<Value>,
    /// What the code came to; only in responses.
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
    /// What they are: `image/png`.
    pub(crate) mime_type: String,
    /// The media.
    pub(crate) data: String,
}

/// Media by their address.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FileData {
    /// What they are: `image/png`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mime_type: Option<String>,
    /// Where they lie.
    pub(crate) file_uri: String,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct FunctionCall {
    /// What the response refers to; newer models give one.
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
            serde_json::from_str(&text).map(Some).map_err(|_| D::Error::custom("arguments that are no object"))
        }
        value if lenient::is_blank(Some(&value)) => Ok(None),
        _ => Err(D::Error::custom("arguments that are no object")),
    }
}

/// What a tool said.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct FunctionResponse {
    /// The call's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// The tool's name.
    pub(crate) name: String,
    /// `result`, or `error`, or members of the tool's own.
    pub(crate) response: Object,
    /// Media with it.
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
    /// What it does.
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
    /// How functions are.
    pub(crate) function_calling_config: FunctionCallingConfig,
}

/// How functions are called.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FunctionCallingConfig {
    /// How freely.
    pub(crate) mode: Mode,
    /// Only these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allowed_function_names: Vec<String>,
}

/// How freely a model calls functions.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Mode {
    /// As it likes.
    #[default]
    Auto,
    /// It must call one; the arguments fit the schema.
    Any,
    /// Not at all.
    None,
    /// As it likes, but the arguments fit the schema.
    Validated,
}

/// How to answer.
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
    /// From how many tokens to choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_k: Option<u64>,
    /// Where to stop; at most five.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop_sequences: Vec<String>,
    /// How many answers, 1 to 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) candidate_count: Option<u32>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) presence_penalty: Option<f64>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frequency_penalty: Option<f64>,
    /// Answers repeat as far as they can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<i32>,
    /// Whether the tokens' log-probabilities are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_logprobs: Option<bool>,
    /// For how many alternatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs: Option<u64>,
    /// What the answer is: `application/json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_mime_type: Option<String>,
    /// The JSON schema that it fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_json_schema: Option<Value>,
    /// How much the model thinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thinking_config: Option<ThinkingConfig>,
    /// How closely it looks at pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) media_resolution: Option<MediaResolution>,
}

/// How much a model thinks.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ThinkingConfig {
    /// Whether the answer holds the thoughts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) include_thoughts: Option<bool>,
    /// In tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thinking_budget: Option<u64>,
}

/// How closely a model looks at pictures.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum MediaResolution {
    /// With few tokens.
    #[serde(rename = "MEDIA_RESOLUTION_LOW")]
    Low,
    /// With many.
    #[serde(rename = "MEDIA_RESOLUTION_HIGH")]
    High,
}
