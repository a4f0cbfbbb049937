//! Callers of Messages in a pool of several providers: what one's model thought comes back to it and to no
//! other, and calls are told as they can be gone on with.

use crate::dialect::{
    chat,
    codec::{DecodeResponse, EncodeResponse, StreamItem},
    gemini, hub,
    messages::{
        self, Block, Content, Event, ResponseEncoder, StopReason, may_contain_foreign_thinking, to_hub,
        without_foreign_thinking,
    },
    responses::Seal,
    target::{Dialect, Sampling, Target},
    wire_format::EncodedRequest,
};
use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::messages_answers::{Told, events, is_whole, written, written_by};

fn google(answer: &Value) -> (Vec<u8>, Vec<u8>) {
    let question = hub::Request::parse(br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#).unwrap();
    let reader = || gemini::GeminiRequest::from_hub(&question).unwrap().response_decoder(super::decoding(1));
    let body = answer.to_string();
    let encoder = || ResponseEncoder::new(Some(seal("gemini")));
    let plain = encoder().encode_response(reader().decode_response(body.as_bytes()).unwrap());
    let (mut reader, mut items) = (reader(), Vec::new());
    reader.decode_event("", &body, &mut items).unwrap();
    reader.decode_end(crate::dialect::codec::StreamEnd::Clean, &mut items);
    (plain, written_by(encoder(), items))
}

fn seal(provider: &str) -> Seal {
    Seal::new([1; 32].into(), provider.into(), "m".into())
}

/// What a client sends back of a stream: its blocks.
fn blocks(stream: &[u8]) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    let more = |block: &mut Value, name: &str, more: &str| {
        let text = format!("{}{more}", block[name].as_str().unwrap_or_default());
        block[name] = text.into();
    };
    for event in events(stream) {
        match event {
            Event::ContentBlockStart { content_block, .. } => blocks.push(serde_json::to_value(content_block).unwrap()),
            Event::ContentBlockDelta { delta, .. } => {
                let block = blocks.last_mut().unwrap();
                match delta {
                    messages::Delta::TextDelta { text } => more(block, "text", &text),
                    messages::Delta::ThinkingDelta { thinking } => more(block, "thinking", &thinking),
                    messages::Delta::SignatureDelta { signature } => more(block, "signature", &signature),
                    messages::Delta::InputJsonDelta { partial_json } => more(block, "json", &partial_json),
                    messages::Delta::Unknown(_) => unreachable!(),
                }
            }
            _ => {}
        }
    }
    for block in &mut blocks {
        if let Some(json) = block.as_object_mut().unwrap().remove("json") {
            block["input"] = serde_json::from_str(json.as_str().unwrap()).unwrap();
        }
    }
    blocks
}

fn conversation(said: &[Value], id: &str) -> Value {
    json!({"model": "m", "max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": said},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "sunny"}]}]})
}

#[test]
fn signatures_of_gemini_return_to_gemini_only() {
    let parts = json!([{"text": "Look.", "thought": true},
        {"functionCall": {"name": "weather", "args": {"a": 1}, "id": "call_1"}, "thoughtSignature": "c2ln+/="}]);
    let answer = json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "responseId": "r"});
    let (plain, stream) = google(&answer);
    let plain: Value = serde_json::from_slice(&plain).unwrap();
    let said = blocks(&stream);
    assert_eq!(plain["content"], json!(said));

    let body = conversation(&said, "call_1").to_string();
    let request = messages::Request::parse(body.as_bytes()).unwrap();
    let chat = to_hub(&request, &[seal("other"), seal("gemini")]).unwrap();
    let target = |provider| Target::new(Dialect::Gemini, "m").with_provider(provider);
    assert!(chat.without_others_reasoning(&target("gemini")).is_none());
    for other in [chat.without_others_reasoning(&target("other")).unwrap(), to_hub(&request, &[seal("other")]).unwrap()]
    {
        let asked = gemini::GeminiRequest::from_hub(&other).unwrap();
        let signature = asked.request().contents[1].parts[0].thought_signature.as_deref();
        assert_eq!(signature, Some("skip_thought_signature_validator"));
    }
    let asked = gemini::GeminiRequest::from_hub(&chat).unwrap();
    let turn = &asked.request().contents[1];
    assert_eq!(turn.parts.len(), 1);
    assert_eq!(turn.parts[0].thought_signature.as_deref(), Some("c2ln+/="));

    let openai = super::chat_body(&chat, "gpt", false).unwrap();
    let anthropic = super::body_of(&messages::MessagesRequest::from_hub(&chat).unwrap(), "c", Sampling::All, false);
    assert!(may_contain_foreign_thinking(body.as_bytes()));
    let passed = without_foreign_thinking(&Bytes::from(body));
    for sent in [openai, anthropic, passed] {
        let text = std::str::from_utf8(&sent).unwrap();
        assert!(!text.contains("berry:") && !text.contains("c2ln+/="), "{text}");
        assert!(!may_contain_foreign_thinking(&sent));
    }
}

#[test]
fn thinking_is_off_after_foreign_thinking() {
    let call = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
    let own = json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"});
    let foreign = json!({"type": "thinking", "thinking": "hm", "signature": "berry:unsigned"});
    let passed = |said: &[&Value]| {
        let said: Vec<Value> = said.iter().map(|block| (*block).clone()).collect();
        let body = Bytes::from(conversation(&said, "a").to_string());
        serde_json::from_slice::<Value>(&without_foreign_thinking(&body)).unwrap()
    };
    let told = passed(&[&foreign, &call]);
    assert_eq!((&told["messages"][1]["content"], &told["thinking"]), (&json!([call]), &json!({"type": "disabled"})));
    let told = passed(&[&own, &foreign, &call]);
    assert_eq!((&told["messages"][1]["content"], &told["thinking"]["type"]), (&json!([own, call]), &json!("enabled")));
    assert_eq!(passed(&[&foreign])["messages"].as_array().unwrap().len(), 2);
    assert_eq!(passed(&[&own, &call]), conversation(&[own, call], "a"));
}

fn block() -> impl Strategy<Value = Value> {
    let proof = || prop_oneof!["[A-Za-z0-9+/]{4,8}", Just(String::new()), "berry:[a-z:]{0,8}"];
    prop_oneof![
        ("(?s).{0,8}", proof())
            .prop_map(|(text, proof)| json!({"type": "thinking", "thinking": text, "signature": proof})),
        proof().prop_map(|data| json!({"type": "redacted_thinking", "data": data})),
        "(?s).{0,8}".prop_map(|text| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}})),
        Just(json!({"type": "tool_use", "id": "a", "name": "f", "input": {"signature": "", "data": "berry:"}})),
        Just(json!({"type": "something_new", "a": [1.5, null, "\"signature\":\"\""]})),
    ]
}

proptest! {
    /// The types' own reading, less what is foreign, is what the bytes read as.
    #[test]
    fn removes_only_foreign_thinking(turns in vec(vec(block(), 0..4), 0..4), pretty in any::<bool>()) {
        let mut messages = vec![json!({"role": "user", "content": "Hi"})];
        messages.extend(turns.into_iter().map(|blocks| json!({"role": "assistant", "content": blocks})));
        let mut request = json!({"model": "m", "max_tokens": 9, "messages": messages, "something": {"new": 1.50}});
        let text = if pretty { format!("{request:#}") } else { request.to_string() };
        let is_foreign = |block: &Value| {
            let proof = match block["type"].as_str() {
                Some("thinking") => &block["signature"],
                Some("redacted_thinking") => &block["data"],
                _ => return false,
            };
            proof.as_str().is_some_and(|proof| proof.is_empty() || proof.starts_with("berry:"))
        };
        let mut any = false;
        for turn in request["messages"].as_array_mut().unwrap() {
            if let Some(blocks) = turn["content"].as_array_mut().filter(|blocks| blocks.iter().any(is_foreign)) {
                blocks.retain(|block| !is_foreign(block));
                any = true;
                if blocks.is_empty() {
                    *turn = Value::Null;
                }
            }
        }
        request["messages"].as_array_mut().unwrap().retain(|turn| !turn.is_null());
        let body = Bytes::from(text);
        let passed = without_foreign_thinking(&body);
        prop_assert_eq!(serde_json::from_slice::<Value>(&passed).unwrap(), request);
        prop_assert!(any || passed == body);
    }

    #[test]
    fn arbitrary_bodies_do_not_panic(body in ".{0,60}", picks in vec(any::<Index>(), 0..12)) {
        let words = [r#"{"messages":["#, r#"{"role":"assistant","content":["#, r#"{"type":"thinking","signature":"#, "\"\"", "}", "]", ",", "null"];
        let built: String = picks.iter().map(|pick| words[pick.index(words.len())]).collect();
        for body in [body, built] {
            let _ = may_contain_foreign_thinking(body.as_bytes());
            let body = Bytes::from(body);
            if serde_json::from_slice::<Value>(&body).is_err() {
                prop_assert_eq!(without_foreign_thinking(&body), body);
            }
        }
    }
}

fn chunk(delta: &Value, id: &str) -> StreamItem {
    let chunk = json!({"id": id, "model": "gpt", "choices": [{"index": 0, "delta": delta}]});
    StreamItem::Chunk(serde_json::from_value::<hub::Chunk>(chunk).unwrap())
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"tool_calls": [{"id": id, "function": {"name": name, "arguments": arguments}}]})
}

/// What a caller of Messages gets of a stream of these deltas.
fn decoded(deltas: &[Value]) -> Vec<u8> {
    let (mut decoder, mut items) = (chat::ResponseDecoder::new(1, false), Vec::new());
    let last = json!({"index": 0, "delta": {}, "finish_reason": "tool_calls"});
    let choices = deltas.iter().map(|delta| json!({"index": 0, "delta": delta})).chain([last]);
    for choice in choices {
        let event = json!({"id": "chatcmpl-a", "model": "gpt", "choices": [choice]});
        decoder.decode_event("", &event.to_string(), &mut items).unwrap();
    }
    decoder.decode_event("", "[DONE]", &mut items).unwrap();
    decoder.decode_end(crate::dialect::codec::StreamEnd::Clean, &mut items);
    written(items)
}

#[test]
fn distinguishes_tool_calls_without_an_index() {
    let told = Told::stream(&decoded(&[
        call("a", "f", "{\"x\":"),
        call("a", "", "1}"),
        call("b", "f", "{}"),
        call("c", "g", "{\"y\":"),
        call("other", "", "2}"),
    ]));
    let expected = [("a", "f", json!({"x": 1})), ("b", "f", json!({})), ("c", "g", json!({"y": 2}))];
    assert_eq!(told.calls, expected.map(|(id, name, input)| (id.to_owned(), name.to_owned(), input)));
}

#[test]
fn tool_calls_without_an_id_get_one() {
    let ids = |answer: &str| {
        let delta = |at: u32| json!({"tool_calls": [{"index": at, "function": {"name": "f", "arguments": "{}"}}]});
        let told = Told::stream(&written(vec![chunk(&delta(0), answer), chunk(&delta(1), answer), StreamItem::Done]));
        told.calls.into_iter().map(|(id, ..)| id).collect::<Vec<_>>()
    };
    let mut all = [ids("chatcmpl-first"), ids("chatcmpl-second")].concat();
    assert!(all.iter().all(|id| id.len() <= 40 && id.starts_with("toolu_")));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
}

#[test]
fn cut_tool_call_is_an_object_with_the_reason() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":"}});
    let choice = json!({"message": {"role": "assistant", "tool_calls": [call]}, "finish_reason": "tool_calls"});
    let answer = chat::ResponseDecoder::new(1, false)
        .decode_response(json!({"choices": [choice]}).to_string().as_bytes())
        .unwrap();
    let told: messages::Response = serde_json::from_slice(&ResponseEncoder::default().encode_response(answer)).unwrap();
    assert!(matches!(&told.content[..], [Block::ToolUse { input, .. }] if *input == json!({})));
    assert_eq!(told.stop_reason, Some(StopReason::MaxTokens));
}

#[test]
fn tool_call_without_input_has_an_empty_object() {
    let said = [json!({"type": "tool_use", "id": "a", "name": "f"})];
    let read = messages::Request::parse(conversation(&said, "a").to_string().as_bytes()).unwrap();
    let chat = to_hub(&read, &[]).unwrap();
    assert_eq!(chat.messages[1].tool_calls.as_ref().unwrap()[0].function.arguments, "{}");
    let Content::Blocks(blocks) = &read.messages[1].content else { panic!() };
    assert!(matches!(&blocks[0], Block::ToolUse { .. }));
}

/// Nothing is kept of what says nothing, and only so much of what is said in the midst of a call.
#[test]
fn bounds_what_waits_for_a_tool_call() {
    let mut writer = ResponseEncoder::default();
    let mut out = Vec::new();
    writer.encode_item(chunk(&call("a", "f", "{"), "chatcmpl-a"), &mut out);
    let empty = chunk(&json!({"content": "", "reasoning_content": null}), "chatcmpl-a");
    (0..1000).for_each(|_| writer.encode_item(empty.clone(), &mut out));
    assert!(!format!("{writer:?}").contains("Text"), "{writer:?}");
    let text = chunk(&json!({"content": "x".repeat(1 << 16)}), "chatcmpl-a");
    (0..20).for_each(|_| writer.encode_item(text.clone(), &mut out));
    writer.encode_item(StreamItem::Done, &mut out);
    assert!(!is_whole(&out));
    assert!(matches!(events(&out).last(), Some(Event::Error { .. })));
}

#[test]
fn respects_the_limits_of_openai() {
    let ask = |more: Value| {
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = hub::Request::parse(request.to_string().as_bytes()).unwrap();
        let written = super::chat_body(&request, "gpt", false).map_err(|error| error.param)?;
        Ok::<Value, String>(serde_json::from_slice(&written).unwrap())
    };
    let tool = |name: &str| json!({"tools": [{"type": "function", "function": {"name": name}}]});
    assert_eq!(ask(json!({"user": "u".repeat(64)})).unwrap()["user"], "u".repeat(64));
    assert_eq!(ask(json!({"user": "u".repeat(65)})).unwrap().get("user"), None);
    assert!(ask(json!({"stop": ["a", "b", "c", "d"]})).is_ok());
    assert_eq!(ask(json!({"stop": ["a", "b", "c", "d", "e"]})), Err("stop".to_owned()));
    assert!(ask(tool(&"n".repeat(64))).is_ok());
    assert_eq!(ask(tool(&"n".repeat(65))), Err("tools[0].function.name".to_owned()));
}
