//! Extracts the turn to answer from a Messages request.

use crate::reply::{Choice, Tool, Turn, at_url, of_bytes};
use crate::words::count;
use serde_json::Value;

/// Returns the content blocks of a message, of which a string has one.
pub(super) fn blocks(message: &Value) -> &[Value] {
    match &message["content"] {
        Value::Array(blocks) => blocks,
        Value::Null => &[],
        text => std::slice::from_ref(text),
    }
}

pub(super) fn has_thinking(body: &Value) -> bool {
    matches!(body["thinking"]["type"].as_str(), Some("enabled" | "adaptive"))
}

pub(super) fn turn(body: &Value) -> Turn {
    let all = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let turns: Vec<_> = all.iter().filter(|message| message["role"] != "system").cloned().collect();
    let messages = turns.as_slice();
    let last_of = |role: &str| messages.iter().rev().find(|message| message["role"] == role);
    let last = messages.last();
    let is_user = last.is_some_and(|message| message["role"] == "user");
    let texts = body["stop_sequences"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Turn {
        asked: asked(messages),
        prefix: if is_user { String::new() } else { last.map(text).unwrap_or_default() },
        limit: body["max_tokens"].as_u64().and_then(|limit| usize::try_from(limit).ok()),
        stops: texts.filter(|text| !text.is_empty()).map(str::to_owned).collect(),
        media: last_of("user").map(|message| media(blocks(message))).unwrap_or_default(),
        results: last.map(results).unwrap_or_default(),
        done: messages.iter().map(|message| results(message).len()).sum(),
        tools: body["tools"].as_array().into_iter().flatten().filter_map(tool).collect(),
        choice: choice(&body["tool_choice"]),
        single: body["tool_choice"]["disable_parallel_tool_use"] == Value::Bool(true),
        json: body["output_config"]["format"].get("schema").cloned(),
        thinks: has_thinking(body),
        prompt: prompt_tokens(body, all),
    }
}

/// Returns the text of the last user turn with text.
fn asked(messages: &[Value]) -> String {
    let turns = messages.iter().rev().filter(|message| message["role"] == "user");
    turns.map(text).find(|text| !text.is_empty()).unwrap_or_default()
}

fn text(message: &Value) -> String {
    joined(blocks(message))
}

fn joined(blocks: &[Value]) -> String {
    let texts = blocks.iter().filter_map(|block| block.as_str().or_else(|| block["text"].as_str()));
    texts.collect::<Vec<_>>().join(" ")
}

fn results(message: &Value) -> Vec<String> {
    let results = blocks(message).iter().filter(|block| block["type"] == "tool_result");
    results.map(|result| joined(blocks(result))).collect()
}

/// Returns the images and documents, including those in tool results.
fn media(blocks: &[Value]) -> Vec<String> {
    let mut out = Vec::new();
    for block in blocks {
        match block["type"].as_str() {
            Some("image" | "document") => out.push(medium(&block["source"])),
            Some("tool_result") => out.extend(media(self::blocks(block))),
            _ => {}
        }
    }
    out
}

fn medium(source: &Value) -> String {
    let text = |field: &str| source[field].as_str().unwrap_or_default();
    match text("type") {
        "base64" => of_bytes(text("media_type"), text("data")),
        "url" => at_url(text("url")),
        "text" => format!("{} of {} bytes", text("media_type"), text("data").len()),
        "file" => format!("the file {}", text("file_id")),
        _ => "a document of blocks".to_owned(),
    }
}

fn tool(tool: &Value) -> Option<Tool> {
    Some(Tool { name: tool["name"].as_str()?.to_owned(), schema: tool["input_schema"].clone(), ..Tool::default() })
}

fn choice(choice: &Value) -> Choice {
    match choice["type"].as_str() {
        Some("none") => Choice::No,
        Some("any") => Choice::Any,
        Some("tool") => Choice::Named(choice["name"].as_str().unwrap_or_default().to_owned()),
        _ => Choice::Auto,
    }
}

/// Returns the number of words of the prompt plus an overhead per turn.
fn prompt_tokens(body: &Value, messages: &[Value]) -> usize {
    let system = match &body["system"] {
        Value::Array(blocks) => joined(blocks),
        text => text.as_str().unwrap_or_default().to_owned(),
    };
    messages.iter().map(|message| count(&text(message)) + 4).sum::<usize>() + count(&system) + 3
}
