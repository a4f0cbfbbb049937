//! Requests in Anthropic's format: what is read into the hub's types and written again for Anthropic is
//! what was read.

use crate::dialect::{
    hub,
    messages::{self, Block, Content, ToolChoice, to_hub},
    target::Sampling,
};
use proptest::{collection::vec, option::of, prelude::*, sample::select};
use serde_json::{Value, json};

fn request() -> impl Strategy<Value = Value> {
    let text = || "[a-z]{1,4}";
    let cached = || any::<bool>();
    let block = (0..3, text(), cached()).prop_map(|(kind, text, cached)| {
        let mut block = match kind {
            0 => json!({"type": "text", "text": text}),
            1 => json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": text}}),
            _ => json!({"type": "document", "title": text,
                "source": {"type": "base64", "media_type": "application/pdf", "data": text}}),
        };
        if cached {
            block["cache_control"] = json!({"type": "ephemeral"});
        }
        block
    });
    let blocks = vec(block, 1..4);
    let input = vec(("[a-z]{1,3}", text().prop_map(Value::from)), 0..3);
    let input = input.prop_map(|members| Value::Object(members.into_iter().collect()));
    let call = ("weather|time", input, of(blocks.clone()), any::<bool>());
    let turn = (blocks, of(text()), vec(call, 0..3), of(text()));
    let shape = (
        of((0u8..5).prop_map(|quarters| f64::from(quarters) / 4.0)),
        of(1u64..40),
        of(vec("[a-z]{1,3}", 1..4)),
        of(text()),
        any::<bool>(),
    );
    let choice = select(&["auto", "any", "none", "tool", ""][..]);
    (vec(turn, 1..4), of(text()), 1u64..9999, shape, choice, of(any::<bool>())).prop_map(
        |(turns, system, max_tokens, (temperature, top_k, stop, user, streams), choice, alone)| {
            let mut messages = Vec::new();
            let mut results: Vec<Value> = Vec::new();
            for (at, (asked, text, calls, thought)) in turns.into_iter().enumerate() {
                results.extend(asked);
                messages.push(json!({"role": "user", "content": std::mem::take(&mut results)}));
                let mut said: Vec<Value> = Vec::new();
                if let Some(thought) = thought.filter(|_| !calls.is_empty()) {
                    said.push(json!({"type": "redacted_thinking", "data": thought}));
                    said.push(json!({"type": "thinking", "thinking": thought, "signature": "s"}));
                }
                said.extend(text.map(|text| json!({"type": "text", "text": text})));
                if said.is_empty() && calls.is_empty() {
                    said.push(json!({"type": "text", "text": "Well."}));
                }
                for (call_at, (name, input, result, is_error)) in calls.into_iter().enumerate() {
                    let id = format!("toolu_{at}_{call_at}");
                    said.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
                    let mut told = json!({"type": "tool_result", "tool_use_id": id});
                    if let Some(result) = result {
                        told["content"] = result.into();
                    }
                    if is_error {
                        told["is_error"] = true.into();
                    }
                    results.push(told);
                }
                messages.push(json!({"role": "assistant", "content": said}));
            }
            results.push(json!({"type": "text", "text": "Go on."}));
            messages.push(json!({"role": "user", "content": results}));
            let tool =
                |name| json!({"name": name, "description": "d", "input_schema": {"type": "object", "properties": {}}});
            let mut request = json!({"model": "m", "max_tokens": max_tokens, "messages": messages,
                "tools": [tool("weather"), tool("time")], "stream": streams, "service_tier": "auto"});
            let alone = alone.filter(|_| choice != "none");
            let tool_choice = match choice {
                "" => Value::Null,
                "tool" => json!({"type": "tool", "name": "time", "disable_parallel_tool_use": alone}),
                "none" => json!({"type": "none"}),
                choice => json!({"type": choice, "disable_parallel_tool_use": alone}),
            };
            for (name, value) in [
                ("system", json!(system)),
                ("temperature", json!(temperature)),
                ("top_k", json!(top_k)),
                ("stop_sequences", json!(stop)),
                ("metadata", json!({"user_id": user})),
                ("tool_choice", tool_choice),
            ] {
                request[name] = value;
            }
            request
        },
    )
}

/// The same words in one form: a single text is a text, and what says nothing is absent.
fn plain(mut request: messages::Request) -> messages::Request {
    let alone = |block: &Block| matches!(block, Block::Text { other, .. } if other.is_empty());
    let short = |content: &mut Content| {
        if let Content::Blocks(blocks) = content
            && let [block] = &blocks[..]
            && alone(block)
            && let Block::Text { text, .. } = block
        {
            *content = Content::Text(text.clone());
        }
    };
    request.system.iter_mut().for_each(short);
    for message in &mut request.messages {
        if let Content::Blocks(blocks) = &mut message.content {
            for block in blocks {
                if let Block::ToolResult { content: Some(content), .. } = block {
                    short(content);
                }
            }
        }
        short(&mut message.content);
    }
    request.stream = request.stream.filter(|streams| *streams);
    request.service_tier = None;
    request.metadata = request.metadata.filter(|metadata| metadata.user_id.is_some());
    let alone = |it: Option<bool>| it.filter(|it| *it);
    request.tool_choice = match request.tool_choice {
        Some(ToolChoice::Auto { disable_parallel_tool_use: it }) => {
            alone(it).map(|it| ToolChoice::Auto { disable_parallel_tool_use: Some(it) })
        }
        Some(ToolChoice::Any { disable_parallel_tool_use: it }) => {
            Some(ToolChoice::Any { disable_parallel_tool_use: alone(it) })
        }
        Some(ToolChoice::Tool { name, disable_parallel_tool_use: it }) => {
            Some(ToolChoice::Tool { name, disable_parallel_tool_use: alone(it) })
        }
        other => other,
    };
    request
}

proptest! {
    #[test]
    fn messages_requests_round_trip(request in request()) {
        let read = messages::Request::parse(request.to_string().as_bytes()).unwrap();
        let chat = to_hub(&read, &[]).unwrap();
        let again = super::body_of(&messages::MessagesRequest::from_hub(&chat).unwrap(), "m", Sampling::All, chat.stream == Some(true));
        let again = messages::Request::parse(&again).unwrap();
        prop_assert_eq!(plain(again), plain(read));
    }

    /// What OpenAI's format has no words for is named, and what is sent holds nothing of others.
    #[test]
    fn chat_requests_have_only_fields_of_the_chat_format(request in request()) {
        let chat = to_hub(&messages::Request::parse(request.to_string().as_bytes()).unwrap(), &[]).unwrap();
        let shows = |message: &hub::Message| match &message.content {
            Some(hub::Content::Parts(parts)) if message.role == hub::Role::Tool => {
                !parts.iter().all(|part| matches!(part, hub::Part::Text { .. }))
            }
            _ => false,
        };
        let refused = chat.top_k.is_some();
        let written = super::chat_body(&chat, "gpt", true);
        prop_assert_eq!(written.is_err(), refused);
        let Ok(written) = written else { return Ok(()) };
        let text = std::str::from_utf8(&written).unwrap();
        for word in ["cache_control", "extra_content", "reasoning_content", "is_error", "top_k", "\"max_tokens\""] {
            prop_assert!(!text.contains(word), "{} in {}", word, text);
        }
        let again = hub::Request::parse(&written).unwrap();
        // A picture or document in the results of a turn follows them in a message of the user.
        let turns = chat.messages.chunk_by(|one, next| (one.role == hub::Role::Tool) == (next.role == hub::Role::Tool));
        let moved = turns.filter(|turn| turn.iter().any(shows)).count();
        prop_assert_eq!(again.messages.len(), chat.messages.len() + moved);
        let media = |word| (text.matches(word).count(), request.to_string().matches(word).count());
        let (pictures, sent) = (media("\"type\":\"image_url\"").0, media("\"type\":\"image\"").1);
        prop_assert_eq!(pictures, sent);
        prop_assert_eq!(&again.model, "gpt");
        prop_assert_eq!(again.max_completion_tokens, chat.max_completion_tokens);
        prop_assert_eq!(again.stream_options.and_then(|options| options.include_usage), Some(true));
    }
}

#[test]
fn thinking_budget_becomes_an_effort() {
    let effort = |thinking: Value, config: Value| {
        let request =
            json!({"model": "m", "max_tokens": 9, "messages": [], "thinking": thinking, "output_config": config});
        to_hub(&messages::Request::parse(request.to_string().as_bytes()).unwrap(), &[])
            .map(|chat| chat.reasoning_effort)
            .map_err(|error| error.param)
    };
    let enabled = |budget: u64| effort(json!({"type": "enabled", "budget_tokens": budget}), json!({}));
    let told = [1024, 4095, 4096, 16383, 16384].map(|budget| enabled(budget).unwrap().unwrap());
    assert_eq!(told, ["low", "low", "medium", "medium", "high"]);
    assert_eq!(effort(json!({"type": "disabled"}), json!({})), Ok(None));
    assert_eq!(effort(json!({"type": "adaptive"}), json!({"effort": "max"})), Ok(Some("max".into())));
    assert_eq!(effort(json!({"type": "adaptive"}), json!({"effort": "xhigh"})), Ok(Some("xhigh".into())));
    assert_eq!(effort(json!({"type": "adaptive"}), json!({"effort": "newer"})), Ok(Some("high".into())));
    assert_eq!(effort(json!({"type": "adaptive", "display": "summarized"}), json!({})), Ok(Some("medium".into())));
    assert_eq!(effort(json!({"type": "adaptive", "display": "omitted"}), json!({})), Ok(Some("medium".into())));
    assert_eq!(effort(json!({"type": "disabled"}), json!({"effort": "low"})), Ok(None));
}
