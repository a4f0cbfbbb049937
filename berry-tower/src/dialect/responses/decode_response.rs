//! Decodes a plain response of a backend.

use crate::dialect::{
    chat,
    codec::{Malformed, WireError},
    hub, lenient,
    value::Value,
};

/// A response that cannot be read, or holds what cannot be translated.
const NOT_RESPONSES: Malformed = Malformed("a body that is no response");

/// A call that only callers of Responses can be told of.
pub(super) const CUSTOM: Malformed = Malformed("a call of a custom tool, which cannot be translated");

/// Decodes a plain response.
///
/// # Errors
/// The body is no response, or it holds something that cannot be translated.
pub(super) fn decode_response(body: &[u8]) -> Result<hub::Response, Malformed> {
    let body: Value = serde_json::from_slice(body).map_err(|_| NOT_RESPONSES)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    if has_failed(&body) {
        return Err(Malformed("an error in place of a response"));
    }
    if matches!(text("status"), Some("queued" | "in_progress")) {
        return Err(Malformed("a response that is not finished"));
    }
    let items = body.get("output").filter(|items| !items.is_null()).ok_or(NOT_RESPONSES)?;
    let mut message = hub::Message { role: hub::Role::Assistant, ..hub::Message::default() };
    let mut logprobs = Vec::new();
    for item in lenient::list(Some(items), NOT_RESPONSES)? {
        add(item, &mut message, &mut logprobs)?;
    }
    let has_called = message.tool_calls.is_some();
    if message.content.is_none() && message.refusal.is_none() && !has_called {
        message.content = Some(hub::Content::Text(String::new()));
    }
    let logprobs = (!logprobs.is_empty()).then(|| Value::object([("content", Value::Array(logprobs))]));
    let finish_reason = Some(finish(&body, has_called));
    Ok(hub::Response {
        id: text("id").unwrap_or_default().to_owned(),
        object: "chat.completion".to_owned(),
        created: lenient::whole(body.get("created_at")).unwrap_or_default(),
        model: text("model").unwrap_or_default().to_owned(),
        choices: vec![hub::Choice { index: 0, message, finish_reason, logprobs }],
        usage: chat::usage(body.get("usage")),
        other: hub::Other::default(),
    })
}

/// Adds an item to a message.
fn add(item: &Value, message: &mut hub::Message, logprobs: &mut Vec<Value>) -> Result<(), Malformed> {
    if lenient::is_blank(Some(item)) {
        return Ok(());
    }
    match item_type(item)? {
        "message" => {
            for (text, is_refusal) in parts(item)? {
                if is_refusal {
                    message.refusal.get_or_insert_default().push_str(&text);
                } else {
                    push_text(message, &text);
                }
            }
            let parts = item.get("content").and_then(Value::as_array).unwrap_or_default();
            let of_part = |part: &'_ Value| part.get("logprobs").and_then(Value::as_array).map(<[Value]>::to_vec);
            logprobs.extend(parts.iter().filter_map(of_part).flatten());
        }
        "reasoning" => {
            let text = reasoning_text(item);
            if !text.is_empty() {
                let all = message.reasoning_content.get_or_insert_default();
                if !all.is_empty() {
                    all.push_str("\n\n");
                }
                all.push_str(&text);
            }
        }
        "function_call" => {
            let call = call(item)?;
            message.tool_calls.get_or_insert_default().push(call);
        }
        kind => {
            check_type(kind)?;
            check_hosted(item)?;
        }
    }
    Ok(())
}

/// Returns the type of an item; where it is missing, its members show it.
pub(super) fn item_type(item: &Value) -> Result<&str, Malformed> {
    let has = |name: &str| item.get(name).is_some();
    match item.get("type").and_then(Value::as_str).filter(|kind| !kind.is_empty()) {
        Some(kind) => Ok(kind),
        None if has("arguments") && has("name") => Ok("function_call"),
        None if has("summary") => Ok("reasoning"),
        None if has("content") => Ok("message"),
        None => Err(Malformed("an item without a type")),
    }
}

/// Checks that an item's type is not one that the caller would have to act on.
pub(super) fn check_type(kind: &str) -> Result<(), Malformed> {
    match kind {
        "custom_tool_call" => Err(CUSTOM),
        "computer_call" | "local_shell_call" | "shell_call" | "apply_patch_call" | "mcp_approval_request" => {
            Err(Malformed("a call of a hosted tool, which cannot be translated"))
        }
        _ => Ok(()),
    }
}

/// Checks that an item of a tool that the provider ran has no output that only the item holds. The output of the other
/// tools is in the texts.
pub(super) fn check_hosted(item: &Value) -> Result<(), Malformed> {
    let has = |name: &str| !lenient::is_blank(item.get(name));
    match item.get("type").and_then(Value::as_str) {
        Some("image_generation_call") if has("result") => Err(Malformed("a picture, which cannot be translated")),
        Some("code_interpreter_call") if has("outputs") => {
            Err(Malformed("the output of code, which cannot be translated"))
        }
        Some(kind) if !is_hosted(kind) && ["content", "summary", "arguments"].into_iter().any(has) => {
            Err(Malformed("output of an unknown type, which cannot be translated"))
        }
        _ => Ok(()),
    }
}

/// Whether a type is that of a tool that the provider ran, or of its result.
fn is_hosted(kind: &str) -> bool {
    ["_call", "_output", "_tools", "_response"].iter().any(|end| kind.ends_with(end))
}

/// Whether a response says that it failed.
pub(super) fn has_failed(response: &Value) -> bool {
    let status = response.get("status").and_then(Value::as_str);
    !lenient::is_blank(response.get("error")) || matches!(status, Some("failed" | "cancelled"))
}

/// Returns the texts of a message, and whether each is a refusal.
pub(super) fn parts(item: &Value) -> Result<Vec<(String, bool)>, Malformed> {
    let content = item.get("content");
    if let Some(text) = lenient::text(content) {
        return Ok(vec![(text, false)]);
    }
    lenient::list(content, Malformed("a content that is no list"))?.iter().map(part_text).collect()
}

fn push_text(message: &mut hub::Message, text: &str) {
    match &mut message.content {
        Some(hub::Content::Text(said)) => said.push_str(text),
        content => *content = Some(hub::Content::Text(text.to_owned())),
    }
}

/// Returns the text of a part of a message, and whether it is a refusal.
fn part_text(part: &Value) -> Result<(String, bool), Malformed> {
    const NO_TEXT: Malformed = Malformed("a part without a text");
    let text = |name: &str| match part.get(name) {
        value if lenient::is_blank(value) => Ok(String::new()),
        value => lenient::text(value).ok_or(NO_TEXT),
    };
    if let Some(text) = lenient::text(Some(part)) {
        return Ok((text, false));
    }
    match part.get("type").and_then(Value::as_str).filter(|kind| !kind.is_empty()) {
        Some("output_text" | "text") => Ok((text("text")?, false)),
        Some("refusal") => Ok((text("refusal")?, true)),
        None if lenient::is_blank(Some(part)) => Ok((String::new(), false)),
        None if part.get("text").is_some() => Ok((text("text")?, false)),
        None if part.get("refusal").is_some() => Ok((text("refusal")?, true)),
        _ => Err(Malformed("a part of an unknown type, which cannot be translated")),
    }
}

/// Returns the texts of a reasoning item.
pub(super) fn reasoning_text(item: &Value) -> String {
    let texts = |name: &str| {
        let parts = item.get(name).and_then(Value::as_array).unwrap_or_default();
        parts.iter().filter_map(|part| lenient::text(part.get("text"))).collect::<Vec<_>>().join("\n\n")
    };
    let summary = texts("summary");
    if summary.is_empty() { texts("content") } else { summary }
}

/// Decodes a call of a function.
pub(super) fn call(item: &Value) -> Result<hub::ToolCall, Malformed> {
    let name = lenient::text(item.get("name")).ok_or(Malformed("a tool call without a name"))?;
    let arguments = arguments(item)?.unwrap_or_default();
    let id = lenient::text(item.get("call_id")).or_else(|| lenient::text(item.get("id"))).unwrap_or_default();
    Ok(hub::ToolCall { id, function: hub::CalledFunction { name, arguments }, ..hub::ToolCall::default() })
}

/// Returns the arguments of a call, or of an event about one.
pub(super) fn arguments(value: &Value) -> Result<Option<String>, Malformed> {
    match value.get("arguments") {
        value if lenient::is_blank(value) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(object @ Value::Object(_)) => Ok(Some(object.to_string())),
        _ => Err(Malformed("arguments of a tool call that are no object")),
    }
}

/// Returns the reason why a response stopped.
pub(super) fn finish(response: &Value, has_called: bool) -> hub::FinishReason {
    let reason = response.get("incomplete_details").and_then(|it| it.get("reason")).and_then(Value::as_str);
    let is_incomplete = response.get("status").is_some_and(|status| *status == "incomplete");
    match reason {
        Some("content_filter") => hub::FinishReason::ContentFilter,
        Some(_) => hub::FinishReason::Length,
        None if is_incomplete => hub::FinishReason::Length,
        None if has_called => hub::FinishReason::ToolCalls,
        None => hub::FinishReason::Stop,
    }
}

/// Returns the error of an event: of `error`, or of `response.failed`.
pub(super) fn error(event: &Value) -> WireError {
    let inner = event.get("response").and_then(|response| response.get("error")).or_else(|| event.get("error"));
    let error = inner.filter(|error| error.as_object().is_some()).unwrap_or(event);
    let text = |name: &str| lenient::text(error.get(name));
    let message = text("message").or_else(|| lenient::text(inner));
    let message = message.unwrap_or_else(|| "the provider says that the response failed".to_owned());
    // Without an error of its own, the event's type names the event.
    let kind = text("type").filter(|kind| kind != "error" && !kind.starts_with("response."));
    WireError { kind, code: text("code"), message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::error;

    #[test]
    fn the_name_of_an_event_is_no_type_of_its_error() {
        for (event, kind, message) in [
            (json!({"type": "error", "message": "a"}), None, "a"),
            (json!({"type": "error", "error": {"type": "server_error", "message": "b"}}), Some("server_error"), "b"),
            (json!({"type": "response.completed", "response": {"error": "c"}}), None, "c"),
            (json!({"type": "invalid_request_error", "message": "d"}), Some("invalid_request_error"), "d"),
        ] {
            let error = error(&serde_json::from_value(event.clone()).unwrap());
            assert_eq!((error.kind.as_deref(), &*error.message), (kind, message), "{event}");
        }
    }
}
