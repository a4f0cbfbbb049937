//! Requests for Anthropic: what is sent may be sent, and says what the caller said.

use crate::dialect::{
    hub::{self, Content, Message, Part, Role, Thought},
    messages,
    target::Sampling,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{chat_requests::request, claude_rules::assert_valid};

fn read(request: &Value) -> hub::Request {
    hub::Request::parse(request.to_string().as_bytes()).unwrap()
}

fn sent(chat: &hub::Request, sampling: Sampling) -> Value {
    let request = messages::MessagesRequest::from_hub(chat).unwrap();
    serde_json::from_slice(&super::body_of(&request, "claude-x", sampling, true)).unwrap()
}

/// What is said in a conversation, one thing after the other, in the order in which Anthropic has it.
#[derive(Debug, Default, PartialEq)]
struct Told {
    system: String,
    turns: Vec<Turn>,
}

#[derive(Debug, PartialEq)]
struct Turn {
    assistant: bool,
    results: Vec<Value>,
    said: Vec<Value>,
}

fn told(chat: &hub::Request) -> Told {
    let mut told = Told::default();
    for message in &chat.messages {
        if matches!(message.role, Role::System | Role::Developer) {
            for text in said(message).iter().filter_map(|said| said["text"].as_str()) {
                let blank_line = if told.system.is_empty() { "" } else { "\n\n" };
                told.system.extend([blank_line, text]);
            }
            continue;
        }
        let assistant = message.role == Role::Assistant;
        let mut all = said(message);
        if assistant && all.is_empty() {
            continue;
        }
        if told.turns.last().is_none_or(|turn| turn.assistant != assistant) {
            told.turns.push(Turn { assistant, results: Vec::new(), said: Vec::new() });
        }
        let turn = told.turns.last_mut().unwrap();
        if message.role == Role::Tool {
            let failed = message.is_error == Some(true);
            let mark = &message.other.get("cache_control");
            turn.results.push(json!({"of": message.tool_call_id, "said": all, "failed": failed, "mark": mark}));
        } else {
            if let (Some(last), Some(mark)) = (all.last_mut(), message.other.get("cache_control")) {
                last["cache_control"] = mark.clone().into();
            }
            turn.said.append(&mut all);
        }
    }
    let last = told.turns.last_mut().filter(|turn| turn.assistant).and_then(|turn| turn.said.last_mut());
    if let Some(Value::String(text)) = last.and_then(|said| said.get_mut("text")) {
        text.truncate(text.trim_end().len());
    }
    // One who says nothing, or is said to say nothing.
    for turn in &mut told.turns {
        turn.said.retain(|said| said["text"] != "(no message)");
    }
    if told.turns.first().is_some_and(|turn| turn.said.is_empty() && turn.results.is_empty()) {
        told.turns.remove(0);
    }
    told
}

/// A message's parts, calls and signed thoughts, but for texts that say nothing.
fn said(message: &Message) -> Vec<Value> {
    let parts = match &message.content {
        None => Vec::new(),
        Some(Content::Text(text)) => vec![json!({"type": "text", "text": text})],
        Some(Content::Parts(parts)) => parts.iter().map(part).collect(),
    };
    let mut said: Vec<_> =
        parts.into_iter().filter(|part| part["text"].as_str().is_none_or(|text| !text.trim().is_empty())).collect();
    for call in message.tool_calls.iter().flatten() {
        let arguments: Value = serde_json::from_str(&call.function.arguments).unwrap();
        said.push(json!({"id": call.id, "name": call.function.name, "arguments": arguments}));
    }
    if !said.is_empty() {
        let extra = message.extra_content.as_ref().and_then(|extra| extra.anthropic.as_ref());
        said.splice(0..0, extra.into_iter().flatten().map(|thought: &Thought| json!(thought)));
    }
    said
}

fn part(part: &Part) -> Value {
    let mut part = json!(part);
    if let Some(image) = part.get_mut("image_url").and_then(Value::as_object_mut) {
        image.remove("detail");
    }
    part
}

/// What has no order of its own: results in a turn, and thoughts, texts and calls in one that several
/// messages have become.
fn sorted(mut told: Told) -> Told {
    for turn in &mut told.turns {
        turn.results.sort_by_key(|result| result["of"].to_string());
        if turn.assistant {
            turn.said.sort_by_key(|said| match said["type"].as_str() {
                Some("text") => 1,
                Some(_) => 0,
                None => 2,
            });
        }
    }
    told
}

proptest! {
    #[test]
    fn encoded_requests_are_valid(request in request()) {
        let chat = read(&request);
        for sampling in [Sampling::All, Sampling::Temperature, Sampling::None] {
            let body = sent(&chat, sampling);
            assert_valid(&body);
            let (temperature, top_p) = (body.get("temperature").is_some(), body.get("top_p").is_some());
            prop_assert!(sampling != Sampling::Temperature || !(temperature && top_p));
            prop_assert!(sampling != Sampling::None || !(temperature || top_p));
        }
    }

    #[test]
    fn encoded_requests_preserve_the_conversation(request in request()) {
        let chat = read(&request);
        let body = sent(&chat, Sampling::All);
        let back = messages::to_hub(&messages::Request::parse(body.to_string().as_bytes()).unwrap(), &[]).unwrap();
        prop_assert_eq!(sorted(told(&back)), sorted(told(&chat)));
        let thinks = body.get("thinking").is_some();
        prop_assert!(thinks || back.temperature == chat.temperature.map(|t| t.min(1.0)));
        prop_assert!(thinks || back.top_p == chat.top_p);
        prop_assert_eq!(back.top_k, chat.top_k);
        let stops = |chat: &hub::Request| match chat.stop.clone() {
            Some(hub::Stop::One(stop)) => Some(vec![stop]),
            Some(hub::Stop::Many(stops)) => Some(stops),
            None => None,
        };
        prop_assert_eq!(stops(&back), stops(&chat));
        prop_assert_eq!(back.other.get("user"), chat.other.get("user"));
        let limit = chat.max_completion_tokens.or(chat.max_tokens);
        prop_assert!(limit.is_none_or(|limit| back.max_completion_tokens == Some(limit)));
        if chat.response_format.is_none() && chat.tools.is_some() {
            prop_assert_eq!(json!(back.tools), json!(chat.tools));
            let free = Some(hub::ToolChoice::Mode(hub::ToolMode::Auto));
            prop_assert_eq!(back.tool_choice.or(free.clone()), chat.tool_choice.clone().or(free));
        }
    }

    #[test]
    fn accepts_any_tool_call_id(ids in prop::collection::vec(prop_oneof!["(?s).{0,5}", "(a|_2|_3|:){0,3}"], 1..8)) {
        let mut conversation = vec![json!({"role": "user", "content": "Go on."})];
        for id in &ids {
            let call = json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": ""}});
            conversation.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
            conversation.push(json!({"role": "tool", "tool_call_id": id, "content": "done"}));
        }
        assert_valid(&sent(&read(&json!({"model": "any", "messages": conversation})), Sampling::All));
    }
}
