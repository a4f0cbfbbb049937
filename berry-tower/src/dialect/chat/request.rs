//! A chat request.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Content, Other};
use crate::dialect::{Inexpressible, lenient};

/// A chat request. `null` counts as absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Request {
    /// The model's name.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Whether the answer is streamed.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// How it is streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// The older name of `max_completion_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The most tokens of the answer, thoughts included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<u64>,
    /// 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Not OpenAI's: what Anthropic's and Google's formats have beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    /// Where to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// How many answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Whether the tokens' log-probabilities are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    /// For how many alternatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u64>,
    /// What the model may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// Whether it must.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// Whether the answer must be JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// `none`, `minimal`, `low`, `medium`, `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// A hint: answers repeat as far as they can.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// What is not in the types, the other [hints](super::HINTS) with it.
    #[serde(flatten)]
    pub other: Other,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// The field that is not of the format.
    ///
    /// ```
    /// use berry_tower::dialect::chat::Request;
    ///
    /// let request = Request::read(br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"top_p":null}"#).unwrap();
    /// assert_eq!((request.messages.len(), request.top_p), (1, None));
    /// let error = Request::read(br#"{"model":"m","messages":[{"role":"user","content":7}]}"#).unwrap_err();
    /// assert_eq!(error.param, "messages[0].content");
    /// ```
    pub fn read(body: &[u8]) -> Result<Self, Inexpressible> {
        let mut json = serde_json::Deserializer::from_slice(body);
        serde_path_to_error::deserialize(&mut json)
            .map_err(|error| Inexpressible::new(error.path().to_string(), error.into_inner().to_string()))
    }
}

/// How an answer is streamed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct StreamOptions {
    /// Whether a last chunk tells the usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_usage: Option<bool>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub other: Other,
}

/// Where to stop: at one text, or at the first of several.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Stop {
    /// At this.
    One(String),
    /// At the first of these.
    Many(Vec<String>),
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
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
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; an assistant that calls tools may say nothing. In answers `null` is written.
    #[serde(default)]
    pub content: Option<Content>,
    /// The speaker's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The assistant's refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What the model thought before it spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The tools that the assistant calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// Which call a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Not OpenAI's: whether a tool's message tells its failure, which Anthropic's and Google's formats have
    /// words for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
    /// What a provider wants to see again with the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<ExtraContent>,
    /// Members that are not in the types, such as `cache_control`.
    #[serde(flatten)]
    pub other: Other,
}

/// What providers give along with messages and calls, and want to see again when the conversation
/// goes on; a client sends back what it got.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ExtraContent {
    /// Anthropic's: the thinking blocks with their signatures, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anthropic: Option<Vec<Thought>>,
    /// Google's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub google: Option<Google>,
}

/// A thinking block.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Thought {
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
pub struct Google {
    /// The thoughts behind it, encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thought_signature: Option<String>,
}

/// A tool that the model may call.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Tool {
    /// `function`, for those that can be translated.
    #[serde(rename = "type")]
    pub kind: String,
    /// The function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Function>,
    /// Members that are not in the types, such as `cache_control`.
    #[serde(flatten)]
    pub other: Other,
}

/// A function that the model may call.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON schema of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Whether the arguments must fit the schema exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub other: Other,
}

/// Whether the model must call a tool.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ToolChoice {
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
pub enum FunctionKind {
    /// The only one.
    #[default]
    Function,
}

/// How freely the model calls tools.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolMode {
    /// As it likes.
    Auto,
    /// Not at all.
    None,
    /// It must call one.
    Required,
}

/// A function by its name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct NamedFunction {
    /// Its name.
    pub name: String,
}

/// What the answer must look like.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
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
pub struct JsonSchema {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Whether the answer must fit it exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ToolCall {
    /// What the result refers to.
    pub id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: FunctionKind,
    /// The function and its arguments.
    pub function: CalledFunction,
    /// What a provider wants to see again with the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<ExtraContent>,
}

/// A function that is called.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct CalledFunction {
    /// Its name.
    pub name: String,
    /// Its arguments: a JSON text, as the model wrote it.
    pub arguments: String,
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
