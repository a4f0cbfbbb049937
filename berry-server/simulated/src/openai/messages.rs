//! Reads the messages of a request.

use crate::words::count;
use serde_json::Value;

/// Returns the text of a message's `content`, which is a string or a list of parts.
pub(super) fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|p| p.get("text")?.as_str());
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

/// Returns the text of the last message or input item with the given role.
pub(super) fn last_of(messages: &Value, role: &str) -> String {
    let messages = messages.as_array().map_or(&[][..], Vec::as_slice);
    let of_role = |m: &&Value| m.get("role").and_then(Value::as_str) == Some(role);
    let last = messages.iter().rev().find(of_role);
    last.map_or(String::new(), |m| content_text(&m["content"]))
}

/// Returns the number of words in all messages plus an overhead per message.
pub(super) fn prompt_tokens(messages: &Value) -> usize {
    let messages = messages.as_array().map_or(&[][..], Vec::as_slice);
    let words = |m: &Value| count(&content_text(&m["content"])) + 4;
    messages.iter().map(words).sum::<usize>() + 3
}
