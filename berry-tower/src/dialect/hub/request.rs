//! A chat request.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Content, Other};
use crate::dialect::{lenient, unsupported::UnsupportedField, value::Value};

/// A chat request. `null` counts as absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Request {
    /// The model's name.
    pub(crate) model: String,
    /// The conversation.
    pub(crate) messages: Vec<Message>,
    /// Whether the answer is streamed.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<bool>,
    /// How it is streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream_options: Option<StreamOptions>,
    /// The older name of `max_completion_tokens`.
    #[serde(deserialize_with = "tokens", skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u64>,
    /// The most tokens of the answer, thoughts included.
    #[serde(deserialize_with = "tokens", skip_serializing_if = "Option::is_none")]
    pub(crate) max_completion_tokens: Option<u64>,
    /// 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    /// Not OpenAI's: what Anthropic's and Google's formats have beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_k: Option<u64>,
    /// Where to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop: Option<Stop>,
    /// How many answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) n: Option<u64>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) presence_penalty: Option<f64>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frequency_penalty: Option<f64>,
    /// Whether the tokens' log-probabilities are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs: Option<bool>,
    /// For how many alternatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_logprobs: Option<u64>,
    /// What the model may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<Vec<Tool>>,
    /// Whether it must.
    #[serde(deserialize_with = "tool_choice", skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parallel_tool_calls: Option<bool>,
    /// Whether the answer must be JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_format: Option<ResponseFormat>,
    /// `none`, `minimal`, `low`, `medium`, `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_effort: Option<String>,
    /// A hint: answers repeat as far as they can.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<i64>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
    /// The optional fields that were dropped when the request was decoded, by the caller's names.
    #[serde(skip)]
    pub(crate) dropped: Vec<String>,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// The field that is not of the format.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, UnsupportedField> {
        let mut json = serde_json::Deserializer::from_slice(body);
        serde_path_to_error::deserialize(&mut json)
            .map_err(|error| UnsupportedField::new(error.path().to_string(), error.into_inner().to_string()))
    }
}

/// Reads a number of tokens; clients in languages without whole numbers write `100.0`.
fn tokens<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(from)?;
    match &value {
        Value::Null => Ok(None),
        Value::Number(number) if number.as_f64().is_some_and(|float| float >= 0.0 && float.fract() == 0.0) => {
            Ok(lenient::whole(Some(&value)))
        }
        _ => Err(serde::de::Error::custom("it must be a whole number")),
    }
}

/// How an answer is streamed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct StreamOptions {
    /// Whether a last chunk tells the usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) include_usage: Option<bool>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// Where to stop: at one text, or at the first of several.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Stop {
    /// At this.
    One(String),
    /// At the first of these.
    Many(Vec<String>),
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// The application.
    System,
    /// The application, by its newer name.
    Developer,
    /// The user.
    #[default]
    User,
    /// The model.
    Assistant,
    /// A tool, with its result.
    Tool,
    /// The same, in an older form.
    Function,
}

/// A message.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Message {
    /// Who speaks.
    pub(crate) role: Role,
    /// What is said; an assistant that calls tools may say nothing. In answers `null` is written.
    #[serde(default)]
    pub(crate) content: Option<Content>,
    /// The speaker's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The assistant's refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<String>,
    /// What the model thought before it spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_content: Option<String>,
    /// The tools that the assistant calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tool_calls: Option<Vec<ToolCall>>,
    /// Which call a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tool_call_id: Option<String>,
    /// Not OpenAI's: whether a tool's message tells its failure, which Anthropic's and Google's formats have
    /// words for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) is_error: Option<bool>,
    /// What a provider wants to see again with the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extra_content: Option<ExtraContent>,
    /// Members that are not in the types, such as `cache_control`.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// What providers give along with messages and calls, and want to see again when the conversation
/// goes on; a client sends back what it got.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct ExtraContent {
    /// Anthropic's: the thinking blocks with their signatures, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) anthropic: Option<Vec<Thought>>,
    /// Google's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) google: Option<Google>,
}

/// A thinking block.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Thought {
    /// In plain text.
    Thinking {
        /// The thoughts.
        thinking: String,
        /// Anthropic's proof that it thought so.
        signature: String,
    },
    /// For Anthropic's eyes only.
    RedactedThinking {
        /// The thoughts, encrypted.
        data: String,
    },
}

/// What Google gives along with a call or a text.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Google {
    /// The thoughts behind it, encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) thought_signature: Option<String>,
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
    /// Members that are not in the types, such as `cache_control`.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// A function that the model may call.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// A JSON schema of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Value>,
    /// Whether the arguments must fit the schema exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
    /// Members that are not in the types.
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
    /// One of the modes.
    Mode(ToolMode),
    /// This function.
    Named {
        /// `function`.
        #[serde(rename = "type")]
        kind: FunctionKind,
        /// Which.
        function: NamedFunction,
    },
    /// A choice that is not in the types.
    Other(Value),
}

/// The kind of a tool that is a function.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FunctionKind {
    /// The only one.
    #[default]
    Function,
}

/// How freely the model calls tools.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToolMode {
    /// As it likes.
    Auto,
    /// Not at all.
    None,
    /// It must call one.
    Required,
}

/// A function by its name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct NamedFunction {
    /// Its name.
    pub(crate) name: String,
}

/// What the answer must look like.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    /// As it comes.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// The schema.
        json_schema: JsonSchema,
    },
    /// A format that is not in the types.
    #[serde(untagged)]
    Other(Value),
}

/// A schema for an answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct JsonSchema {
    /// Its name.
    pub(crate) name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// The JSON schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<Value>,
    /// Whether the answer must fit it exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct ToolCall {
    /// What the result refers to.
    pub(crate) id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub(crate) kind: FunctionKind,
    /// The function and its arguments.
    pub(crate) function: CalledFunction,
    /// What a provider wants to see again with the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extra_content: Option<ExtraContent>,
}

/// A function that is called.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct CalledFunction {
    /// Its name.
    pub(crate) name: String,
    /// Its arguments: a JSON text, as the model wrote it.
    pub(crate) arguments: String,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Function => "function",
        })
    }
}
