//! The published rules of Messages requests that a table cannot express. One rule is stricter than the
//! provider: consecutive turns of one role, which the provider joins, are rejected, so that translators
//! produce alternating turns.

use super::signatures;
use super::tables::{COUNT, REQUEST};
use super::turn::{blocks, has_thinking};
use crate::base64::decoded_len;
use crate::check::{Checked, Problem, Violation};
use crate::model_request::{Kind, ModelRequest};
use crate::refusal::Refusal;
use serde_json::Value;

const MAX_NAME: usize = 128;

pub(super) fn check(ask: &ModelRequest) -> Result<(), Refusal> {
    let mut body = ask.body.clone();
    take_betas(&mut body, ask.betas.as_deref().unwrap_or_default());
    if ask.kind == Kind::CountTokens {
        COUNT.check(&body, false).map_err(words)?;
        // A count has no limit of tokens.
        body["max_tokens"] = i64::MAX.into();
    } else {
        REQUEST.check(&body, false).map_err(words)?;
    }
    rules(&body).map_err(words)
}

/// Checks the signatures of thinking blocks.
pub(super) fn check_signatures(ask: &ModelRequest, account: u64) -> Result<(), Refusal> {
    signatures::check(&ask.body, account).map_err(words)
}

/// Takes out the fields that a request may have because it asks for the beta feature that they belong to.
fn take_betas(body: &mut Value, betas: &str) {
    let has = |name: &str| betas.contains(name);
    let take = |object: &mut Value, fields: &[&str]| {
        for field in fields {
            object.as_object_mut().map(|object| object.remove(*field));
        }
    };
    if has("context-management-") {
        take(body, &["context_management"]);
    }
    if has("thinking-display-updates-") && body["thinking"]["display"] == "updates" {
        take(&mut body["thinking"], &["display"]);
    }
    if has("advanced-tool-use-") || has("mid-conversation-tool-changes-") {
        for tool in body["tools"].as_array_mut().into_iter().flatten() {
            take(tool, &["defer_loading", "allowed_callers"]);
        }
    }
}

/// Returns an error that names the field as Anthropic does.
pub(super) fn invalid(path: &str, what: &str) -> Refusal {
    Refusal::invalid(format!("{path}: {what}")).param(path.to_owned())
}

fn words(problem: Problem) -> Refusal {
    let path = problem.dotted();
    let what = match problem.wrong {
        Violation::Unknown => "Extra inputs are not permitted".to_owned(),
        Violation::Missing => "Field required".to_owned(),
        Violation::Not(expected) => format!("Input should be {expected}"),
        Violation::Rule(rule) => rule,
    };
    invalid(&path, &what)
}

fn rule<T>(path: &str, text: &str) -> Result<T, Problem> {
    Err(Problem::rule(path, text))
}

fn rules(body: &Value) -> Checked {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let turns = system_turns(messages)?;
    let messages = turns.as_slice();
    if messages.is_empty() {
        return rule("messages", "at least one message is required");
    }
    for (index, message) in messages.iter().enumerate() {
        if (message["role"] == "user") != index.is_multiple_of(2) {
            return rule(
                &format!("messages.{index}.role"),
                "roles must alternate between \"user\" and \"assistant\", beginning with \"user\"",
            );
        }
        let is_last = index + 1 == messages.len();
        content(&format!("messages.{index}.content"), &message["content"], is_last && message["role"] == "assistant")?;
    }
    if let Some(last) = messages.last()
        && last["role"] == "assistant"
        && blocks(last).last().is_some_and(|block| text_of(block).ends_with(char::is_whitespace))
    {
        return rule(
            &format!("messages.{}.content", messages.len() - 1),
            "final assistant content cannot end with trailing whitespace",
        );
    }
    content("system", &body["system"], true)?;
    for (index, stop) in body["stop_sequences"].as_array().into_iter().flatten().enumerate() {
        if stop.as_str().is_none_or(|stop| stop.trim().is_empty()) {
            return rule(&format!("stop_sequences.{index}"), "each stop sequence must contain non-whitespace");
        }
    }
    tools(body)?;
    uses_and_results(messages)?;
    thinking(body, messages)?;
    closed(&body["output_config"]["format"]["schema"])
}

/// Checks the system turns, which may follow one of the user's, and returns the others.
fn system_turns(messages: &[Value]) -> Result<Vec<Value>, Problem> {
    let mut others: Vec<Value> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        if message["role"] != "system" {
            others.push(message.clone());
            continue;
        }
        if index == 0 || messages[index - 1]["role"] != "user" {
            return rule(&format!("messages.{index}.role"), "a \"system\" message must follow a \"user\" message");
        }
        content(&format!("messages.{index}.content"), &message["content"], false)?;
    }
    Ok(others)
}

fn text_of(block: &Value) -> &str {
    block.as_str().or_else(|| block["text"].as_str()).unwrap_or_default()
}

fn content(path: &str, content: &Value, may_be_empty: bool) -> Checked {
    let blank = |text: &Value| text.as_str().is_some_and(|text| text.trim().is_empty());
    if blank(content) && !may_be_empty {
        return rule(path, "all messages must have non-empty content except for the optional final assistant message");
    }
    let blocks = content.as_array();
    if blocks.is_some_and(Vec::is_empty) && !may_be_empty {
        return rule(path, "all messages must have non-empty content except for the optional final assistant message");
    }
    for (index, block) in blocks.into_iter().flatten().enumerate() {
        let at = format!("{path}.{index}");
        match block["type"].as_str() {
            Some("text") if blank(&block["text"]) => {
                return rule(&format!("{at}.text"), "text content blocks must contain non-whitespace text");
            }
            Some("image" | "document") => source(&format!("{at}.source"), &block["source"])?,
            Some("tool_result") if block["content"].is_array() => {
                self::content(&format!("{at}.content"), &block["content"], true)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn source(path: &str, source: &Value) -> Checked {
    let data = source["data"].as_str().unwrap_or_default();
    match source["type"].as_str() {
        Some("base64") if decoded_len(data).is_none() => rule(&format!("{path}.data"), "Invalid base64 data"),
        Some("text") if data.trim().is_empty() => rule(&format!("{path}.data"), "Input should not be empty"),
        Some("url") if !source["url"].as_str().is_some_and(|url| url.starts_with("http")) => {
            rule(&format!("{path}.url"), "Only HTTP(S) URLs are supported")
        }
        _ => Ok(()),
    }
}

fn tools(body: &Value) -> Checked {
    let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    for (index, tool) in tools.iter().enumerate() {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let name = name(tool);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(fits) {
            return rule(&format!("tools.{index}.name"), "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'");
        }
        if tools[..index].iter().any(|other| other["name"] == *name) {
            return rule(&format!("tools.{index}.name"), "Tool names must be unique");
        }
        if tool["input_schema"]["type"] != "object" {
            return rule(&format!("tools.{index}.input_schema.type"), "Input should be 'object'");
        }
    }
    let choice = &body["tool_choice"];
    if !choice.is_null() && tools.is_empty() {
        return rule("tool_choice", "may only be specified while providing tools");
    }
    match choice["name"].as_str() {
        Some(wanted) if !tools.iter().any(|tool| name(tool) == wanted) => {
            rule("tool_choice.name", &format!("Tool '{wanted}' not found in provided tools"))
        }
        _ => Ok(()),
    }
}

/// Checks that each tool use has a result at the start of the next turn, and each result a use.
fn uses_and_results(messages: &[Value]) -> Checked {
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let mut others = false;
        for (at, block) in blocks(message).iter().enumerate() {
            let path = |field: &str| format!("messages.{index}.content.{at}.{field}");
            let Some(id) = block["tool_use_id"].as_str() else {
                others = true;
                continue;
            };
            let Some(found) = open.iter().position(|open| *open == id) else {
                return rule(
                    &path("tool_use_id"),
                    "unexpected `tool_use_id` found in `tool_result` blocks: each must have a `tool_use` block in \
                     the previous message",
                );
            };
            if others {
                return rule(&path("type"), "`tool_result` blocks must come first in the content");
            }
            open.swap_remove(found);
        }
        if !open.is_empty() {
            return rule(&format!("messages.{index}"), &unanswered(&open));
        }
        for (at, block) in blocks(message).iter().enumerate().filter(|(_, block)| block["type"] == "tool_use") {
            let id = block["id"].as_str().unwrap_or_default();
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            let path = format!("messages.{index}.content.{at}.id");
            if id.is_empty() || !id.bytes().all(fits) {
                return rule(&path, "String should match pattern '^[a-zA-Z0-9_-]+$'");
            }
            if open.contains(&id) {
                return rule(&path, "`tool_use` ids must be unique");
            }
            open.push(id);
        }
    }
    if open.is_empty() { Ok(()) } else { rule(&format!("messages.{}", messages.len()), &unanswered(&open)) }
}

fn unanswered(open: &[&str]) -> String {
    let ids = open.join(", ");
    format!("`tool_use` ids were found without `tool_result` blocks in the next message: {ids}")
}

fn thinking(body: &Value, messages: &[Value]) -> Checked {
    let thinking = &body["thinking"];
    if !has_thinking(body) {
        return Ok(());
    }
    let budget = thinking["budget_tokens"].as_u64().unwrap_or_default();
    if budget >= body["max_tokens"].as_u64().unwrap_or_default() {
        return rule("max_tokens", "must be greater than `thinking.budget_tokens`");
    }
    if matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool")) {
        return rule("tool_choice", "Thinking may not be enabled when tool_choice forces tool use.");
    }
    if body["temperature"].as_f64().is_some_and(|t| t < 1.0) {
        return rule("temperature", "may only be set to 1 when thinking is enabled");
    }
    if body["top_p"].as_f64().is_some_and(|p| p < 0.95) {
        return rule("top_p", "must be at least 0.95 when thinking is enabled");
    }
    if body.get("top_k").is_some() {
        return rule("top_k", "must be unset when thinking is enabled");
    }
    let assistant = messages.iter().rposition(|message| message["role"] == "assistant");
    let Some(index) = assistant else { return Ok(()) };
    if index + 1 == messages.len() {
        return rule(&format!("messages.{index}"), "prefilling is not supported when thinking is enabled");
    }
    let (first, is_use) = (blocks(&messages[index]), |block: &Value| block["type"] == "tool_use");
    let thinks = |block: &Value| matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"));
    // Adaptive thinking may leave out a turn.
    if thinking["type"] == "enabled" && first.iter().any(is_use) && !first.first().is_some_and(thinks) {
        return rule(
            &format!("messages.{index}.content.0.type"),
            "Expected `thinking` or `redacted_thinking`: when thinking is enabled, a final assistant message with \
             `tool_use` must start with a thinking block",
        );
    }
    Ok(())
}

/// Checks that every object of a structured output schema forbids additional properties.
fn closed(schema: &Value) -> Checked {
    let is_object = schema["type"] == "object";
    if is_object && schema["additionalProperties"] != Value::Bool(false) {
        return rule(
            "output_config.format.schema",
            "For 'object' type, 'additionalProperties' must be explicitly set to false",
        );
    }
    match schema {
        Value::Object(map) => map.values().try_for_each(closed),
        Value::Array(all) => all.iter().try_for_each(closed),
        _ => Ok(()),
    }
}
