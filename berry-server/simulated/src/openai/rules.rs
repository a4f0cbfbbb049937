//! The published rules of chat requests that a table cannot express.

use super::messages::content_text;
use super::turn::data_url;
use crate::base64::decoded_len;
use crate::check::{Checked, Expected, Problem, Violation};
use crate::refusal::Refusal;
use serde_json::Value;

const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];
/// The maximum number of stop sequences and tools, and the maximum length of a tool name.
const MAX_STOPS: usize = 4;
const MAX_TOOLS: usize = 128;
const MAX_NAME: usize = 64;

pub(super) fn check(body: &Value, table: &Expected) -> Result<(), Refusal> {
    table.check(body, true).and_then(|()| rules(body)).map_err(words)
}

pub(super) fn words(problem: Problem) -> Refusal {
    let path = problem.bracketed();
    let (message, code) = match problem.wrong {
        Violation::Unknown => (format!("Unknown parameter: '{path}'."), "unknown_parameter"),
        Violation::Missing => (format!("Missing required parameter: '{path}'."), "missing_required_parameter"),
        Violation::Not(expected) => (format!("Invalid value for '{path}': expected {expected}."), "invalid_value"),
        Violation::Rule(rule) => (format!("Invalid '{path}': {rule}"), "invalid_value"),
    };
    Refusal::invalid(message).code(code).param(path)
}

pub(super) fn given<'a>(body: &'a Value, field: &str) -> Option<&'a Value> {
    body.get(field).filter(|value| !value.is_null())
}

fn rules(body: &Value) -> Checked {
    let rule = |path: &str, text: &str| Err(Problem::rule(path, text));
    let has = |field: &str| given(body, field).is_some();
    if has("max_tokens") && has("max_completion_tokens") {
        return rule("max_tokens", "it and 'max_completion_tokens' exclude each other.");
    }
    if has("stream_options") && body["stream"] != Value::Bool(true) {
        return rule("stream_options", "it is only allowed when 'stream' is enabled.");
    }
    if has("top_logprobs") && body["logprobs"] != Value::Bool(true) {
        return rule("top_logprobs", "it is only allowed when 'logprobs' is enabled.");
    }
    if body["stop"].as_array().is_some_and(|stops| stops.len() > MAX_STOPS) {
        return rule("stop", "it may hold at most 4 sequences.");
    }
    tools(body)?;
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    if messages.is_empty() {
        return rule("messages", "it must hold at least one message.");
    }
    let says_json = || messages.iter().any(|m| content_text(&m["content"]).to_lowercase().contains("json"));
    if body["response_format"]["type"] == "json_object" && !says_json() {
        return rule(
            "messages",
            "they must contain the word 'json' in some form, for a 'json_object' to come of them.",
        );
    }
    schema_name(body)?;
    messages.iter().enumerate().try_for_each(|(index, message)| content(index, message))?;
    answered_calls(messages)
}

pub(super) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(fits)
}

fn schema_name(body: &Value) -> Checked {
    match body["response_format"]["json_schema"]["name"].as_str() {
        Some(name) if !is_name(name) => {
            Err(Problem::rule("response_format.json_schema.name", "it must match '^[a-zA-Z0-9_-]{1,64}$'."))
        }
        _ => Ok(()),
    }
}

fn tools(body: &Value) -> Checked {
    let Some(tools) = given(body, "tools") else {
        let needs = ["tool_choice", "parallel_tool_calls"].into_iter().find(|field| given(body, field).is_some());
        return match needs {
            Some(field) => Err(Problem::rule(field, "it is only allowed when 'tools' are specified.")),
            None => Ok(()),
        };
    };
    let tools = tools.as_array().map_or(&[][..], Vec::as_slice);
    if !(1..=MAX_TOOLS).contains(&tools.len()) {
        return Err(Problem::rule("tools", "it must hold from 1 to 128 tools."));
    }
    for (index, tool) in tools.iter().enumerate().filter(|(_, tool)| tool["type"] == "function") {
        let function = &tool["function"];
        if !function["name"].as_str().is_some_and(is_name) {
            let path = format!("tools.{index}.function.name");
            return Err(Problem::rule(&path, "it must match '^[a-zA-Z0-9_-]{1,64}$'."));
        }
        let schema = function["parameters"].as_object().filter(|schema| !schema.is_empty());
        if schema.is_some_and(|schema| schema.get("type").is_none_or(|kind| kind != "object")) {
            let path = format!("tools.{index}.function.parameters");
            return Err(Problem::rule(&path, "schema must be a JSON Schema of 'type: \"object\"'."));
        }
    }
    let named = body["tool_choice"]["function"]["name"].as_str();
    if named.is_some_and(|name| !tools.iter().any(|tool| tool["function"]["name"] == name)) {
        return Err(Problem::rule("tool_choice", "the function that it names is not among 'tools'."));
    }
    Ok(())
}

fn content(index: usize, message: &Value) -> Checked {
    let at = |more: &str| format!("messages.{index}.{more}");
    let has_calls = message["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
    if message["tool_calls"].as_array().is_some_and(Vec::is_empty) {
        return Err(Problem::rule(&at("tool_calls"), "an empty array is too short."));
    }
    if message["role"] == "assistant" {
        let says = ["content", "refusal", "function_call", "audio"].iter().any(|f| given(message, f).is_some());
        if !says && !has_calls {
            return Err(Problem::rule(&at("content"), "an assistant's message needs 'content' or 'tool_calls'."));
        }
    }
    let parts = message["content"].as_array();
    if parts.is_some_and(Vec::is_empty) {
        return Err(Problem::rule(&at("content"), "an empty array is too short."));
    }
    for (number, part) in parts.into_iter().flatten().enumerate() {
        let wrong = match part["type"].as_str() {
            Some("image_url") => image(part["image_url"]["url"].as_str().unwrap_or_default()).err(),
            Some("input_audio") => {
                let data = part["input_audio"]["data"].as_str().and_then(decoded_len);
                data.is_none().then_some("'data' is no base64.")
            }
            Some("file") => {
                let ways = ["file_data", "file_id"].iter().filter(|way| given(&part["file"], way).is_some());
                (ways.count() != 1).then_some("a file needs either 'file_data' or 'file_id'.")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(Problem::rule(&at(&format!("content.{number}")), wrong));
        }
    }
    Ok(())
}

pub(super) fn image(url: &str) -> Result<(), &'static str> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(());
    }
    let (media_type, data) = data_url(url).ok_or("an image's 'url' must be 'http(s):' or 'data:…;base64,'.")?;
    if !IMAGES.contains(&media_type) {
        return Err("the image must be 'image/png', 'image/jpeg', 'image/gif' or 'image/webp'.");
    }
    decoded_len(data).map(|_| ()).ok_or("the image is no base64.")
}

/// Checks that every call is followed by a tool message, and every tool message belongs to a call.
fn answered_calls(messages: &[Value]) -> Checked {
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let Some(at) = open.iter().position(|call| *call == id) else {
                let path = format!("messages.{index}.tool_call_id");
                return Err(Problem::rule(&path, "a 'tool' message must answer a preceding message's 'tool_calls'."));
            };
            open.swap_remove(at);
            continue;
        }
        if !open.is_empty() {
            return Err(unanswered(index, &open));
        }
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        open.extend(calls.filter_map(|call| call["id"].as_str()));
    }
    if open.is_empty() { Ok(()) } else { Err(unanswered(messages.len(), &open)) }
}

fn unanswered(index: usize, open: &[&str]) -> Problem {
    let ids = open.join(", ");
    Problem::rule(&format!("messages.{index}.role"), format!("these 'tool_calls' have no answer: {ids}."))
}
