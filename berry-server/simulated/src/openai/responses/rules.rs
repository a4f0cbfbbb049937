//! The published rules of Responses requests that a table cannot express.

use super::seal::seal;
use super::tables::{INPUT_CONTENT, INPUT_TOKENS, OUTPUT_CONTENT, REQUEST};
use super::turn::{is_output, items, tools};
use crate::base64::decoded_len;
use crate::check::{Checked, Problem};
use crate::model_request::{Kind, ModelRequest};
use crate::openai::rules::{given, image, is_name, words};
use crate::refusal::Refusal;
use serde_json::Value;

/// The prefix of an item's id, by the type of the item.
const IDS: [(&str, &str); 5] = [
    ("message", "msg"),
    ("function_call", "fc"),
    ("custom_tool_call", "ctc"),
    ("reasoning", "rs"),
    ("web_search_call", "ws"),
];

/// Checks a request without its history.
pub(in crate::openai) fn check(ask: &ModelRequest) -> Result<(), Refusal> {
    let mut body = ask.body.clone();
    if body["input"].is_array() {
        body["input"] = items(&body).into();
    }
    let table = if ask.kind == Kind::Responses { &REQUEST } else { &INPUT_TOKENS };
    table.check(&body, true).and_then(|()| request(&body)).map_err(words)?;
    for (index, item) in body["input"].as_array().into_iter().flatten().enumerate() {
        item_id(index, item)?;
    }
    Ok(())
}

fn rule(path: &str, text: &str) -> Checked {
    Err(Problem::rule(path, text))
}

fn request(body: &Value) -> Checked {
    let has = |field: &str| given(body, field).is_some();
    if !["input", "prompt", "previous_response_id", "conversation"].iter().any(|field| has(field)) {
        return rule("input", "one of 'input', 'previous_response_id', 'prompt' or 'conversation' is required.");
    }
    if has("stream_options") && body["stream"] != Value::Bool(true) {
        return rule("stream_options", "it is only allowed when 'stream' is enabled.");
    }
    if has("previous_response_id") && has("conversation") {
        return rule("previous_response_id", "it and 'conversation' exclude each other.");
    }
    let format = &body["text"]["format"];
    if format["name"].as_str().is_some_and(|name| !is_name(name)) {
        return rule("text.format.name", "it must match '^[a-zA-Z0-9_-]{1,64}$'.");
    }
    if format["strict"] == Value::Bool(true) {
        strict("text.format.schema", &format["schema"])?;
    }
    for (index, item) in body["input"].as_array().into_iter().flatten().enumerate() {
        content(item).map_err(|problem| problem.under_index(index).under_key("input"))?;
    }
    named_tools(body)
}

fn named_tools(body: &Value) -> Checked {
    let all = tools(body);
    for (index, (namespace, tool)) in all.iter().enumerate() {
        let Some(name) = tool["name"].as_str() else { continue };
        let at = |field: &str| format!("tools.{index}.{field}");
        if !is_name(name) {
            return rule(&at("name"), "it must match '^[a-zA-Z0-9_-]{1,64}$'.");
        }
        let is_same = |(other, tool): &(Option<&str>, &Value)| other == namespace && tool["name"] == name;
        if all[..index].iter().any(is_same) {
            return rule(&at("name"), "the names of tools must be unique.");
        }
        let schema = tool["parameters"].as_object().filter(|schema| !schema.is_empty());
        if schema.is_some_and(|schema| schema.get("type").is_none_or(|kind| kind != "object")) {
            return rule(&at("parameters"), "schema must be a JSON Schema of 'type: \"object\"'.");
        }
        if tool["strict"] == Value::Bool(true) {
            strict(&at("parameters"), &tool["parameters"])?;
        }
    }
    let choice = &body["tool_choice"];
    if let Some(name) = choice["name"].as_str().filter(|_| choice["type"] != "mcp") {
        let is_it = |(_, tool): &(Option<&str>, &Value)| tool["name"] == name && tool["type"] == choice["type"];
        if !all.iter().any(is_it) {
            return rule("tool_choice", "the tool that it names is not among 'tools'.");
        }
    }
    Ok(())
}

/// Checks that every object of a strict schema forbids additional properties and requires all of its own.
fn strict(path: &str, schema: &Value) -> Checked {
    if let Some(properties) = schema["properties"].as_object().filter(|_| schema["type"] == "object") {
        if schema["additionalProperties"] != Value::Bool(false) {
            return rule(path, "'additionalProperties' is required to be supplied and to be false.");
        }
        let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
        if let Some(name) = properties.keys().find(|name| !required.iter().any(|one| one == name.as_str())) {
            return rule(path, &format!("'required' must include every property; '{name}' is missing."));
        }
    }
    match schema {
        Value::Object(map) => map.values().try_for_each(|inner| strict(path, inner)),
        Value::Array(all) => all.iter().try_for_each(|inner| strict(path, inner)),
        _ => Ok(()),
    }
}

fn content(item: &Value) -> Checked {
    if item["type"] == "message" {
        let table = if item["role"] == "assistant" { &OUTPUT_CONTENT } else { &INPUT_CONTENT };
        table.check(&item["content"], true).map_err(|problem| problem.under_key("content"))?;
    }
    for field in ["content", "output"] {
        for (index, part) in item[field].as_array().into_iter().flatten().enumerate() {
            let wrong = match part["type"].as_str() {
                Some("input_image") => match (part["image_url"].as_str(), part["file_id"].as_str()) {
                    (Some(url), None) => image(url).err(),
                    (None, Some(_)) => None,
                    _ => Some("an image needs either 'image_url' or 'file_id'."),
                },
                Some("input_file") => {
                    let ways = ["file_data", "file_id", "file_url"].iter().filter(|way| given(part, way).is_some());
                    let data = part["file_data"].as_str().and_then(|url| url.split_once(";base64,"));
                    match ways.count() {
                        1 if part["file_data"].is_null() => None,
                        1 if data.is_some_and(|(_, data)| decoded_len(data).is_some()) => None,
                        1 => Some("'file_data' must be a 'data:' URL in base64."),
                        _ => Some("a file needs either 'file_data', 'file_id' or 'file_url'."),
                    }
                }
                _ => None,
            };
            if let Some(wrong) = wrong {
                return rule(&format!("{field}.{index}"), wrong);
            }
        }
    }
    Ok(())
}

fn item_id(index: usize, item: &Value) -> Result<(), Refusal> {
    let (Some(kind), Some(id)) = (item["type"].as_str(), item["id"].as_str()) else { return Ok(()) };
    match IDS.iter().find(|(name, _)| *name == kind) {
        Some((_, prefix)) if !id.starts_with(prefix) => {
            let path = format!("input[{index}].id");
            let message = format!("Invalid '{path}': '{id}'. Expected an ID that begins with '{prefix}'.");
            Err(Refusal::invalid(message).code("invalid_value").param(path))
        }
        _ => Ok(()),
    }
}

/// Checks a request with its history: items of the account, and items that belong together.
pub(crate) fn check_with_account(
    ask: &ModelRequest,
    account: u64,
    is_stored: impl Fn(&str) -> bool,
) -> Result<(), Refusal> {
    let all = items(&ask.body);
    for (index, item) in all.iter().enumerate() {
        let id = item["id"].as_str().unwrap_or_default();
        match item["type"].as_str() {
            Some("reasoning") => {
                match item["encrypted_content"].as_str() {
                    Some(sealed) if !sealed.starts_with(&seal(account)) => return Err(not_verified(sealed)),
                    Some(_) => {}
                    None if !is_stored(id) => return Err(not_found(id)),
                    None => {}
                }
                reasoning_has_item(id, all.get(index + 1))?;
            }
            Some("item_reference") if !is_stored(id) => return Err(not_found(id)),
            _ => {}
        }
    }
    calls_have_outputs(&all)
}

fn not_verified(sealed: &str) -> Refusal {
    let short: String = sealed.chars().take(4).collect();
    let message = format!(
        "The encrypted content {short}... could not be verified. Reason: Encrypted content could not be decrypted or parsed."
    );
    Refusal::invalid(message).code("invalid_encrypted_content")
}

fn not_found(id: &str) -> Refusal {
    let message = format!(
        "Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try again with `store` set \
         to true, or remove this item from your input."
    );
    Refusal::invalid(message).with_status(404).param("input")
}

fn reasoning_has_item(id: &str, next: Option<&Value>) -> Result<(), Refusal> {
    let follows = next.is_some_and(|next| match next["type"].as_str() {
        Some("message") => next["role"] == "assistant",
        Some(kind) => kind.ends_with("_call") || matches!(kind, "reasoning" | "item_reference"),
        None => false,
    });
    if follows {
        return Ok(());
    }
    let message = format!("Item '{id}' of type 'reasoning' was provided without its required following item.");
    Err(Refusal::invalid(message).param("input"))
}

/// Checks that every call is followed by its output, and every output preceded by its call.
fn calls_have_outputs(all: &[Value]) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    for item in all {
        let id = item["call_id"].as_str().unwrap_or_default();
        if matches!(item["type"].as_str(), Some("function_call" | "custom_tool_call")) {
            open.push(id);
        } else if is_output(item) {
            let Some(at) = open.iter().position(|call| *call == id) else {
                let message = format!("No tool call found for function call output with call_id {id}.");
                return Err(Refusal::invalid(message).param("input"));
            };
            open.swap_remove(at);
        }
    }
    match open.first() {
        Some(id) => Err(Refusal::invalid(format!("No tool output found for function call {id}.")).param("input")),
        None => Ok(()),
    }
}
