//! A message, and the calls of tools in it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Content, FunctionKind, Other};

/// The author of the message.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Instructions of the application.
    System,
    /// Instructions of the application, under their newer name.
    Developer,
    /// The user.
    #[default]
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
    /// The result of a function, in the older form.
    Function,
}

/// A message.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Message {
    /// The author of the message.
    pub(crate) role: Role,
    /// The content; `None` for an assistant that only calls tools, written as `null` in responses.
    #[serde(default)]
    pub(crate) content: Option<Content>,
    /// The author's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The assistant's refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<String>,
    /// The model's reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_content: Option<String>,
    /// The tools that the assistant calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tool_calls: Option<Vec<ToolCall>>,
    /// The id of the tool call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tool_call_id: Option<String>,
    /// Whether the tool failed; a member of Anthropic's and Google's formats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) is_error: Option<bool>,
    /// Data of the provider's that must be sent back with the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extra_content: Option<ExtraContent>,
    /// Unrecognised members, such as `cache_control`.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// Data that providers attach to messages and calls, and that clients must send back in later turns.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct ExtraContent {
    /// Anthropic's thinking blocks with their signatures, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) anthropic: Option<Vec<Thought>>,
    /// Google's thought signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) google: Option<Google>,
    /// The backend that made it, where that is known; it is sent to no other one.
    #[serde(skip)]
    pub(crate) origin: Option<Origin>,
}

/// A backend: its provider and the provider's model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The provider's id.
    pub(crate) provider: Arc<str>,
    /// The provider's name of the model.
    pub(crate) model: Arc<str>,
}

/// A block of reasoning.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Thought {
    /// Reasoning in plain text.
    Thinking {
        /// The reasoning.
        thinking: String,
        /// Anthropic's signature of the reasoning.
        signature: String,
    },
    /// Reasoning encrypted for Anthropic.
    RedactedThinking {
        /// The encrypted reasoning.
        data: String,
    },
}

/// Data of Google's that belongs to a tool call or a text.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Google {
    /// The encrypted reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) thought_signature: Option<String>,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct ToolCall {
    /// The id to which the result refers.
    pub(crate) id: String,
    /// `function`; some clients leave it out.
    #[serde(default, rename = "type")]
    pub(crate) kind: FunctionKind,
    /// The function and its arguments.
    pub(crate) function: CalledFunction,
    /// Data of the provider's that must be sent back with the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extra_content: Option<ExtraContent>,
}

/// A function that is called.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct CalledFunction {
    /// Its name.
    pub(crate) name: String,
    /// The arguments as JSON text, as the model wrote it.
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
