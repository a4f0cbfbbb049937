//! Extracts the turn to answer from a Responses request.

use crate::openai::messages::content_text;
use crate::openai::turn::data_url;
use crate::reply::{Choice, Tool, Turn, at_url, of_bytes};
use crate::words::count;
use serde_json::{Value, json};

/// Returns the input as items. A text becomes a message, and a message without type gets one.
pub(crate) fn items(body: &Value) -> Vec<Value> {
    let typed = |item: &Value| {
        let mut item = item.clone();
        if item.get("type").is_none_or(Value::is_null) && item.is_object() {
            item["type"] = if item.get("role").is_some() { "message" } else { "item_reference" }.into();
        }
        item
    };
    match &body["input"] {
        Value::Array(items) => items.iter().map(typed).collect(),
        Value::Null => Vec::new(),
        text => vec![json!({"type": "message", "role": "user", "content": text})],
    }
}

/// Returns the tools of a request and of its items, with their namespaces.
pub(super) fn tools(body: &Value) -> Vec<(Option<&str>, &Value)> {
    let mut all: Vec<&Value> = body["tools"].as_array().into_iter().flatten().collect();
    for item in body["input"].as_array().into_iter().flatten().filter(|item| item["type"] == "additional_tools") {
        all.extend(item["tools"].as_array().into_iter().flatten());
    }
    let mut out = Vec::new();
    for tool in all {
        match tool["type"].as_str() {
            Some("namespace") => {
                let inner = tool["tools"].as_array().into_iter().flatten();
                out.extend(inner.map(|inner| (tool["name"].as_str(), inner)));
            }
            _ => out.push((None, tool)),
        }
    }
    out
}

pub(super) fn is_output(item: &Value) -> bool {
    matches!(item["type"].as_str(), Some("function_call_output" | "custom_tool_call_output"))
}

pub(super) fn turn(body: &Value) -> Turn {
    let items = items(body);
    let is_user = |item: &&Value| item["type"] == "message" && item["role"] == "user";
    let last = items.iter().rev().find(is_user);
    let first_result = items.iter().rposition(|item| !is_output(item)).map_or(0, |at| at + 1);
    let reasoning = &body["reasoning"];
    Turn {
        asked: last.map(|message| content_text(&message["content"])).unwrap_or_default(),
        limit: body["max_output_tokens"].as_u64().and_then(|limit| usize::try_from(limit).ok()),
        media: last.map(|message| media(&message["content"])).unwrap_or_default(),
        results: items[first_result..].iter().map(|item| content_text(&item["output"])).collect(),
        done: items.iter().filter(|item| is_output(item)).count(),
        tools: tools(body).into_iter().filter_map(tool).collect(),
        choice: choice(&body["tool_choice"]),
        single: body["parallel_tool_calls"] == Value::Bool(false),
        json: json(&body["text"]["format"]),
        thinks: reasoning["summary"].is_string() || reasoning["effort"].as_str().is_some_and(|word| word != "none"),
        prompt: prompt_tokens(body, &items),
        ..Turn::default()
    }
}

fn media(content: &Value) -> Vec<String> {
    let of_url = |url: &str| match data_url(url) {
        Some((media_type, data)) => of_bytes(media_type, data),
        None => at_url(url),
    };
    let medium = |part: &Value| {
        let text = |field: &str| part[field].as_str();
        let given = match text("type")? {
            "input_image" => text("image_url"),
            "input_file" => text("file_data").or_else(|| text("file_url")),
            _ => return None,
        };
        Some(given.map_or_else(|| format!("the file {}", text("file_id").unwrap_or_default()), of_url))
    };
    content.as_array().into_iter().flatten().filter_map(medium).collect()
}

fn tool((namespace, tool): (Option<&str>, &Value)) -> Option<Tool> {
    let custom = match tool["type"].as_str()? {
        "function" => false,
        "custom" => true,
        _ => return None,
    };
    let (name, schema) = (tool["name"].as_str()?.to_owned(), tool["parameters"].clone());
    Some(Tool { name, schema, custom, namespace: namespace.map(str::to_owned) })
}

fn choice(choice: &Value) -> Choice {
    let word = choice.as_str().or_else(|| choice["mode"].as_str());
    match (word, choice["name"].as_str()) {
        (_, Some(name)) => Choice::Named(name.to_owned()),
        (Some("none"), _) => Choice::No,
        (Some("required"), _) => Choice::Any,
        _ => Choice::Auto,
    }
}

fn json(format: &Value) -> Option<Value> {
    match format["type"].as_str()? {
        "json_object" => Some(Value::Null),
        "json_schema" => Some(format["schema"].clone()),
        _ => None,
    }
}

/// Returns the number of words of the prompt plus an overhead per item.
fn prompt_tokens(body: &Value, items: &[Value]) -> usize {
    let words = |item: &Value| {
        let texts = [&item["content"], &item["output"]].map(content_text);
        texts.iter().map(|text| count(text)).sum::<usize>() + 4
    };
    let instructions = body["instructions"].as_str().map_or(0, |text| count(text) + 4);
    items.iter().map(words).sum::<usize>() + instructions + 3
}
