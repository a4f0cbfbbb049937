//! Folds streams into equivalent plain responses.

use crate::Dialect;
use serde_json::{Value, json};

/// Folds events into a plain response. Panics when they violate the grammar of the dialect.
pub(super) fn fold(dialect: Dialect, events: &[Value]) -> Value {
    match dialect {
        Dialect::Claude => claude(events),
        Dialect::Gemini => gemini(events),
        _ => openai(events),
    }
}

fn append(to: &mut Value, more: &Value) {
    let text = format!("{}{}", to.as_str().unwrap_or_default(), more.as_str().unwrap());
    *to = text.into();
}

fn openai(events: &[Value]) -> Value {
    let mut whole = json!({"choices": [], "usage": null});
    for event in events {
        if event["usage"].is_object() {
            assert_eq!(event["choices"], json!([]), "the usage chunk has no choices");
            whole["usage"] = event["usage"].clone();
        }
        for choice in event["choices"].as_array().unwrap() {
            let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
            let choices = whole["choices"].as_array_mut().unwrap();
            if choices.len() == index {
                choices.push(json!({"message": {}, "finish_reason": null}));
            }
            let so_far = &mut choices[index];
            assert!(so_far["finish_reason"].is_null(), "no event follows the finish reason");
            so_far["finish_reason"] = choice["finish_reason"].clone();
            let message = &mut so_far["message"];
            for (field, value) in choice["delta"].as_object().unwrap() {
                match field.as_str() {
                    "role" => message["role"] = value.clone(),
                    "tool_calls" => value.as_array().unwrap().iter().for_each(|call| openai_call(message, call)),
                    _ if value.is_null() => {}
                    field => append(&mut message[field], value),
                }
            }
        }
    }
    whole
}

fn openai_call(message: &mut Value, call: &Value) {
    if message["tool_calls"].is_null() {
        message["tool_calls"] = json!([]);
    }
    let calls = message["tool_calls"].as_array_mut().unwrap();
    let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
    if calls.len() == index {
        let function = json!({"name": call["function"]["name"], "arguments": ""});
        calls.push(json!({"id": call["id"], "type": call["type"], "function": function}));
    }
    append(&mut calls[index]["function"]["arguments"], &call["function"]["arguments"]);
}

fn claude(events: &[Value]) -> Value {
    let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
    assert_eq!(kind(&events[0]), "message_start");
    assert_eq!(kind(events.last().unwrap()), "message_stop");
    let mut message = events[0]["message"].clone();
    assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &Value::Null));
    let mut open = false;
    for event in &events[1..events.len() - 1] {
        let blocks = message["content"].as_array_mut().unwrap();
        let index = event["index"].as_u64().map(|index| usize::try_from(index).unwrap());
        match kind(event).as_str() {
            "ping" => {}
            "content_block_start" => {
                assert!(!open && index == Some(blocks.len()), "{event}");
                open = true;
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert!(open && index == Some(blocks.len() - 1), "{event}");
                claude_delta(blocks.last_mut().unwrap(), &event["delta"]);
            }
            "content_block_stop" => {
                assert!(open && index == Some(blocks.len() - 1), "{event}");
                open = false;
                let block = blocks.last_mut().unwrap();
                if block["type"] == "tool_use" {
                    block["input"] = serde_json::from_str(block["input"].as_str().unwrap()).unwrap();
                }
            }
            "message_delta" => {
                assert!(!open);
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                for (field, count) in event["usage"].as_object().unwrap() {
                    message["usage"][field] = count.clone();
                }
            }
            other => panic!("unexpected event: {other}"),
        }
    }
    message
}

fn claude_delta(block: &mut Value, delta: &Value) {
    match delta["type"].as_str().unwrap() {
        "text_delta" => append(&mut block["text"], &delta["text"]),
        "thinking_delta" => append(&mut block["thinking"], &delta["thinking"]),
        "signature_delta" => append(&mut block["signature"], &delta["signature"]),
        // The block starts with an empty object, which is replaced.
        "input_json_delta" => append(&mut block["input"], &delta["partial_json"]),
        other => panic!("unexpected delta: {other}"),
    }
}

fn gemini(events: &[Value]) -> Value {
    let mut whole = json!({});
    for event in events {
        for field in ["modelVersion", "responseId", "usageMetadata", "promptFeedback"] {
            if let Some(value) = event.get(field) {
                whole[field] = value.clone();
            }
        }
        for candidate in event["candidates"].as_array().into_iter().flatten() {
            let index = usize::try_from(candidate["index"].as_u64().unwrap()).unwrap();
            if whole["candidates"].is_null() {
                whole["candidates"] = json!([]);
            }
            let candidates = whole["candidates"].as_array_mut().unwrap();
            if candidates.len() == index {
                candidates.push(json!({"index": index}));
            }
            let so_far = &mut candidates[index];
            assert!(so_far.get("finishReason").is_none(), "no event follows the finish reason");
            for field in ["finishReason", "safetyRatings"] {
                if let Some(value) = candidate.get(field) {
                    so_far[field] = value.clone();
                }
            }
            let Some(content) = candidate.get("content") else { continue };
            if so_far.get("content").is_none() {
                so_far["content"] = json!({"parts": [], "role": content["role"]});
            }
            let parts = so_far["content"]["parts"].as_array_mut().unwrap();
            content["parts"].as_array().unwrap().iter().for_each(|part| gemini_part(parts, part));
        }
    }
    whole
}

fn gemini_part(parts: &mut Vec<Value>, part: &Value) {
    if part["text"] == "" {
        return;
    }
    match parts.last_mut() {
        Some(last) if part["text"].is_string() && last["text"].is_string() && last["thought"] == part["thought"] => {
            append(&mut last["text"], &part["text"]);
        }
        _ => parts.push(part.clone()),
    }
}
