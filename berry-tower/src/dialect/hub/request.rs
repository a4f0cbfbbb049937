//! A request.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::{CallerFacts, ExtraContent, Message, Other};
use crate::dialect::{lenient, target::Target, unsupported::UnsupportedField, value::Value};

/// A chat request. `null` counts as absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Request {
    /// The model's name.
    pub(crate) model: String,
    /// The conversation.
    pub(crate) messages: Vec<Message>,
    /// Whether the response is streamed.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<bool>,
    /// Options of a streamed response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream_options: Option<StreamOptions>,
    /// The older name of `max_completion_tokens`.
    #[serde(deserialize_with = "tokens", skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u64>,
    /// The limit of output tokens, reasoning included.
    #[serde(deserialize_with = "tokens", skip_serializing_if = "Option::is_none")]
    pub(crate) max_completion_tokens: Option<u64>,
    /// 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    /// The number of likeliest tokens to sample from; a member of Anthropic's and Google's formats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_k: Option<u64>,
    /// The stop sequences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop: Option<Stop>,
    /// The number of choices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) n: Option<u64>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) presence_penalty: Option<f64>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frequency_penalty: Option<f64>,
    /// Whether log-probabilities are returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs: Option<bool>,
    /// The number of alternatives for each token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_logprobs: Option<u64>,
    /// The tools that the model may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<Vec<Tool>>,
    /// Whether the model must call a tool.
    #[serde(deserialize_with = "tool_choice", skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<ToolChoice>,
    /// Whether the model may call several tools at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parallel_tool_calls: Option<bool>,
    /// The format of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_format: Option<ResponseFormat>,
    /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_effort: Option<String>,
    /// A seed for repeatable sampling; a hint.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<i64>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
    /// The optional fields that were dropped when the request was decoded, by the caller's names.
    #[serde(skip)]
    pub(crate) dropped: Vec<String>,
    /// What the encoder of the response must know of the request, where the caller's format repeats parts of it.
    #[serde(skip)]
    pub(crate) caller: Option<Arc<CallerFacts>>,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// The field that is not of the format.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, UnsupportedField> {
        let mut json = serde_json::Deserializer::from_slice(body);
        serde_path_to_error::deserialize(&mut json).map_err(UnsupportedField::malformed)
    }

    /// Returns the request without the reasoning that another backend than the target has signed, or without all signed
    /// reasoning where the target is to get none; `None` if there is none.
    pub(crate) fn without_others_reasoning(&self, target: &Target<'_>) -> Option<Self> {
        let is_foreign = |extra: &Option<ExtraContent>| {
            let origin = extra.as_ref().and_then(|extra| extra.origin.as_ref());
            let is_unwanted = extra.is_some() && !target.signed_reasoning;
            is_unwanted || origin.is_some_and(|it| *it.provider != *target.provider || *it.model != *target.model)
        };
        let calls = |message: &Message| message.tool_calls.iter().flatten().any(|call| is_foreign(&call.extra_content));
        if !self.messages.iter().any(|message| is_foreign(&message.extra_content) || calls(message)) {
            return None;
        }
        let mut request = self.clone();
        for message in &mut request.messages {
            message.extra_content = message.extra_content.take().filter(|it| !is_foreign(&Some(it.clone())));
            for call in message.tool_calls.iter_mut().flatten() {
                call.extra_content = call.extra_content.take().filter(|it| !is_foreign(&Some(it.clone())));
            }
        }
        Some(request)
    }
}

/// Reads a number of tokens; clients in languages without whole numbers write `100.0`.
pub(crate) fn tokens<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(from)?;
    match &value {
        Value::Null => Ok(None),
        Value::Number(number) if number.as_f64().is_some_and(|float| float >= 0.0 && float.fract() == 0.0) => {
            Ok(lenient::whole(Some(&value)))
        }
        _ => Err(serde::de::Error::custom("it must be a whole number")),
    }
}

/// Options of a streamed response.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct StreamOptions {
    /// Whether a last chunk reports token counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) include_usage: Option<bool>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// One stop sequence, or several.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged, expecting = "it is a text or a list of texts")]
pub(crate) enum Stop {
    /// One sequence.
    One(String),
    /// Several sequences.
    Many(Vec<String>),
}

/// A tool that the model may call.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Tool {
    /// `function`, for those that can be translated.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) function: Option<Function>,
    /// Unrecognised members, such as `cache_control`.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// A function that the model may call.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// A description of what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// A JSON schema of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Value>,
    /// Whether the arguments must fit the schema exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// Reads a tool choice; some clients write a mode as an object.
fn tool_choice<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ToolChoice>, D::Error> {
    Ok(match Option::deserialize(from)? {
        Some(ToolChoice::Other(choice)) => {
            let mode = match choice.get("type").and_then(Value::as_str) {
                Some("auto") => Some(ToolMode::Auto),
                Some("none") => Some(ToolMode::None),
                Some("required" | "any") => Some(ToolMode::Required),
                _ => None,
            };
            Some(mode.map_or(ToolChoice::Other(choice), ToolChoice::Mode))
        }
        choice => choice,
    })
}

/// Whether the model must call a tool.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum ToolChoice {
    /// A mode.
    Mode(ToolMode),
    /// The model must call this function.
    Named {
        /// `function`.
        #[serde(rename = "type")]
        kind: FunctionKind,
        /// Zero-based index of the block.
        function: NamedFunction,
    },
    /// An unrecognised choice.
    Other(Value),
}

/// The type of a tool that is a function.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FunctionKind {
    /// The only type.
    #[default]
    Function,
}

/// A mode of calling tools.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToolMode {
    /// The model decides whether to call a tool.
    Auto,
    /// The model must not call a tool.
    None,
    /// The model must call a tool.
    Required,
}

/// A function by its name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct NamedFunction {
    /// Its name.
    pub(crate) name: String,
}

/// The format that the output must have.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    /// Plain text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// The schema.
        json_schema: JsonSchema,
    },
    /// An unrecognised format.
    #[serde(untagged)]
    Other(Value),
}

/// A schema for the output.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct JsonSchema {
    /// Its name.
    pub(crate) name: String,
    /// A description of its purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// The JSON schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<Value>,
    /// Whether the output must fit the schema exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
}
