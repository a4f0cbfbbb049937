//! Reads the message of a response, more leniently than that of a request.

use serde::{Deserialize, Deserializer};

use super::{CalledFunction, Content, ExtraContent, FunctionKind, Message, Other, Role, ToolCall};
use crate::dialect::lenient;

#[derive(Deserialize)]
struct Spoken {
    // The author of a response is always the assistant.
    #[serde(default, rename = "role")]
    _role: serde::de::IgnoredAny,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    extra_content: Option<ExtraContent>,
    #[serde(flatten)]
    other: Other,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default, deserialize_with = "lenient::or_default")]
    id: String,
    function: CalledFunction,
    #[serde(default, deserialize_with = "lenient::or_default")]
    extra_content: Option<ExtraContent>,
}

/// Reads the message of a response.
pub(super) fn message<'de, D: Deserializer<'de>>(from: D) -> Result<Message, D::Error> {
    let Spoken { content, refusal, reasoning_content, tool_calls, extra_content, other, .. } =
        Spoken::deserialize(from)?;
    let tool_calls = tool_calls.map(|calls| {
        let call = |Call { id, function, extra_content }| ToolCall {
            id,
            kind: FunctionKind::Function,
            function,
            extra_content,
        };
        calls.into_iter().map(call).collect()
    });
    Ok(Message {
        role: Role::Assistant,
        content,
        refusal,
        reasoning_content,
        tool_calls,
        extra_content,
        other,
        ..Message::default()
    })
}
