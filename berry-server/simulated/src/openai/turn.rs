//! Extracts the turn to answer from a chat request.

use super::messages::{content_text, last_of, prompt_tokens};
use crate::reply::{Choice, Tool, Turn, at_url, of_bytes};
use serde_json::Value;

pub(super) fn turn(body: &Value) -> Turn {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let number = |field: &str| usize::try_from(body[field].as_u64()?).ok();
    let ends_as_assistant = messages.last().is_some_and(|last| last["role"] == "assistant");
    Turn {
        asked: last_of(&body["messages"], "user"),
        prefix: if ends_as_assistant { last_of(&body["messages"], "assistant") } else { String::new() },
        limit: number("max_completion_tokens").or_else(|| number("max_tokens")),
        stops: stops(&body["stop"]),
        media: messages.iter().rev().find(|m| m["role"] == "user").map(media).unwrap_or_default(),
        results: results(messages),
        done: messages.iter().filter(|message| message["role"] == "tool").count(),
        tools: body["tools"].as_array().into_iter().flatten().filter_map(tool).collect(),
        choice: choice(&body["tool_choice"]),
        single: body["parallel_tool_calls"] == Value::Bool(false),
        json: json(&body["response_format"]),
        thinks: false,
        prompt: prompt_tokens(&body["messages"]),
    }
}

fn stops(stop: &Value) -> Vec<String> {
    let all = match stop {
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let texts = all.iter().filter_map(Value::as_str);
    texts.filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// Returns the tool results at the end of the messages.
fn results(messages: &[Value]) -> Vec<String> {
    let last = messages.iter().rposition(|message| message["role"] != "tool").map_or(0, |at| at + 1);
    messages[last..].iter().map(|message| content_text(&message["content"])).collect()
}

fn media(message: &Value) -> Vec<String> {
    let parts = message["content"].as_array().into_iter().flatten();
    parts.filter_map(medium).collect()
}

fn medium(part: &Value) -> Option<String> {
    let of_url = |url: &str| match data_url(url) {
        Some((media_type, data)) => of_bytes(media_type, data),
        None => at_url(url),
    };
    match part["type"].as_str()? {
        "image_url" => Some(of_url(part["image_url"]["url"].as_str()?)),
        "input_audio" => {
            let format = part["input_audio"]["format"].as_str()?;
            Some(of_bytes(&format!("audio/{format}"), part["input_audio"]["data"].as_str()?))
        }
        "file" => match part["file"]["file_data"].as_str() {
            Some(data) => Some(of_url(data)),
            None => Some(format!("the file {}", part["file"]["file_id"].as_str()?)),
        },
        _ => None,
    }
}

/// Returns the media type and the data of a base64 `data:` URL.
pub(super) fn data_url(url: &str) -> Option<(&str, &str)> {
    let (media_type, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((media_type.strip_suffix(";base64")?, data))
}

fn tool(tool: &Value) -> Option<Tool> {
    let function = &tool["function"];
    let (name, schema) = (function["name"].as_str()?.to_owned(), function["parameters"].clone());
    Some(Tool { name, schema, ..Tool::default() })
}

fn choice(choice: &Value) -> Choice {
    match (choice.as_str(), choice["function"]["name"].as_str()) {
        (_, Some(name)) => Choice::Named(name.to_owned()),
        (Some("none"), _) => Choice::No,
        (Some("required"), _) => Choice::Any,
        _ => Choice::Auto,
    }
}

fn json(format: &Value) -> Option<Value> {
    match format["type"].as_str()? {
        "json_object" => Some(Value::Null),
        "json_schema" => Some(format["json_schema"]["schema"].clone()),
        _ => None,
    }
}
