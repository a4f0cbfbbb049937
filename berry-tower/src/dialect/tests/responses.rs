//! The front of Responses: what callers get is by the grammar, wherever a stream is cut.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    dialect::{
        Conversation, Dialect, ResponseGrammar, Seal, Target, codec::StreamItem, hub, responses::Responses,
        wire_format::CallerFormat, wire_format::EncodeOptions,
    },
    endpoint::Endpoint,
};

/// What a caller of Responses gets for these items, and whether it is whole. Every event is by the grammar.
pub(super) fn by_grammar(items: Vec<StreamItem>) -> (Vec<Value>, bool) {
    let mut encoder = Responses.response_encoder(&hub::Request::default(), EncodeOptions::default());
    let mut out = Vec::new();
    items.into_iter().for_each(|item| encoder.encode_item(item, &mut out));
    read(&out)
}

/// A plain response as a caller gets it.
pub(super) fn plain(response: hub::Response) -> Value {
    let mut encoder = Responses.response_encoder(&hub::Request::default(), EncodeOptions::default());
    serde_json::from_slice(&encoder.encode_response(response)).unwrap()
}

/// The reasoning, the text and the calls of a response, in order each.
pub(super) fn said(response: &Value) -> (String, String, Vec<(Value, Value)>) {
    let (mut reasoning, mut text, mut calls) = (String::new(), String::new(), Vec::new());
    for item in response["output"].as_array().unwrap() {
        let parts = |name: &str| item[name].as_array().cloned().unwrap_or_default();
        for part in parts("summary") {
            reasoning.push_str(part["text"].as_str().unwrap());
        }
        for part in parts("content") {
            text.push_str(part["text"].as_str().or(part["refusal"].as_str()).unwrap());
        }
        if item["type"] == "function_call" {
            calls.push((item["name"].clone(), item["arguments"].clone()));
        }
    }
    (reasoning, text, calls)
}

fn read(out: &[u8]) -> (Vec<Value>, bool) {
    let (mut grammar, mut all) = (ResponseGrammar::new(), Vec::new());
    for block in std::str::from_utf8(out).unwrap().split_terminator("\n\n") {
        let (name, data) = block.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        if name != "error" {
            grammar.event(name, &data.to_string()).unwrap_or_else(|violation| panic!("{violation}: {data:#}"));
        }
        all.push(data);
    }
    (all, grammar.is_complete())
}

fn conversation(request: &Value) -> Conversation {
    let seal = Seal::new([7; 32].into(), "p".into(), "m".into());
    Conversation::new(Endpoint::Responses, request.to_string().into()).with_seals([seal].into())
}

fn target(dialect: Dialect, stream: bool) -> Target<'static> {
    Target::new(dialect, "m").with_provider("p").with_seed(0x1234).with_stream(stream)
}

/// The events that a stream comes to, cut off after so many of the provider's events.
fn streamed(conversation: &Conversation, dialect: Dialect, events: &[(&str, String)]) -> Vec<Value> {
    let mut translator = conversation.translator(&target(dialect, true), 1_700_000_000).unwrap();
    let mut out = Vec::new();
    for (name, data) in events {
        translator.translate_event(name, data, &mut out).unwrap();
    }
    translator.translate_end(true, &mut out);
    let (all, is_whole) = read(&out);
    let last = all.last().map(|event| event["type"].as_str().unwrap());
    assert_eq!(is_whole, matches!(last, Some("response.completed" | "response.incomplete")));
    all
}

#[expect(clippy::needless_pass_by_value, reason = "the callers build the value in place")]
fn chunk(delta: Value, finish: Option<&str>) -> (&'static str, String) {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
    ("", json!({ "id": "chatcmpl-1", "model": "m", "created": 1, "choices": [choice] }).to_string())
}

fn tools() -> Value {
    json!([
        { "type": "function", "name": "read", "parameters": { "type": "object" } },
        { "type": "custom", "name": "apply_patch", "description": "Patch.",
          "format": { "type": "grammar", "syntax": "lark", "definition": "start: x" } },
        { "type": "namespace", "name": "crm", "description": "d", "tools": [
            { "type": "function", "name": "find", "parameters": { "type": "object" }, "defer_loading": true }
        ] },
        { "type": "web_search" },
    ])
}

fn codex() -> Value {
    json!({
        "model": "any", "instructions": "Be brief.", "tools": tools(), "tool_choice": "auto", "stream": true,
        "parallel_tool_calls": true, "store": false, "include": ["reasoning.encrypted_content"],
        "reasoning": { "effort": "high", "summary": "auto" }, "prompt_cache_key": "k", "text": { "verbosity": "low" },
        "client_metadata": { "a": "b" },
        "input": [
            { "type": "message", "role": "developer", "content": [{ "type": "input_text", "text": "Rules." }] },
            { "role": "user", "content": [{ "type": "input_text", "text": "Hi" }] },
            { "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": "gAAAA" },
            { "type": "function_call", "call_id": "c1", "name": "find", "namespace": "crm", "arguments": "{}" },
            { "type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "*** \"x\"" },
            { "type": "function_call_output", "call_id": "c1", "output": "found" },
            { "type": "custom_tool_call_output", "call_id": "c2", "output": [{ "type": "input_text", "text": "ok" }] },
        ],
    })
}

#[test]
fn translates_what_codex_sends() {
    let conversation = conversation(&codex());
    let body = conversation.encode(&target(Dialect::OpenAi, true)).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let messages = body["messages"].as_array().unwrap();
    let roles: Vec<_> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "system", "user", "assistant", "tool", "tool"]);
    let names: Vec<_> = body["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].clone()).collect();
    assert_eq!(names, ["read", "apply_patch", "crm__find"]);
    assert!(body["tools"][1]["function"]["description"].as_str().unwrap().contains("lark grammar:\n\nstart: x"));
    let calls = &messages[3]["tool_calls"];
    assert_eq!(calls[0]["function"]["name"], "crm__find");
    assert_eq!(calls[1]["function"]["arguments"], r#"{"input":"*** \"x\""}"#);
    assert_eq!((&body["reasoning_effort"], &body["verbosity"]), (&json!("high"), &json!("low")));
    assert_eq!(body.get("store"), None);
    assert_eq!(&*conversation.dropped(Dialect::OpenAi), ["tools[2].tools[0].defer_loading", "tools[web_search]"]);
    for dialect in [Dialect::Claude, Dialect::Gemini] {
        conversation.supports(dialect).unwrap();
    }
}

#[test]
fn restores_tools_and_puts_interleaved_calls_in_sequence() {
    let call = |index: u32, id: &str, name: &str, arguments: &str| json!({ "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let more = |index: u32, arguments: &str| json!({ "index": index, "function": { "arguments": arguments } });
    let events = [
        chunk(json!({ "role": "assistant", "reasoning_content": "think" }), None),
        chunk(json!({ "content": "Let me" }), None),
        chunk(
            json!({ "tool_calls": [call(0, "a", "crm__find", "{\"q\":"), call(1, "b", "apply_patch", "{\"inp")] }),
            None,
        ),
        chunk(json!({ "tool_calls": [more(1, "ut\":\"*** B"), more(0, "1}")] }), None),
        chunk(json!({ "tool_calls": [more(1, "egin\\n\"}"), call(2, "c", "read", "")] }), None),
        chunk(json!({ "content": "late" }), None),
        chunk(json!({}), Some("tool_calls")),
        (
            "",
            json!({ "choices": [], "usage": { "prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12 } })
                .to_string(),
        ),
        ("", "[DONE]".to_owned()),
    ];
    let all = streamed(&conversation(&codex()), Dialect::OpenAi, &events);
    let response = &all.last().unwrap()["response"];
    assert_eq!(response["status"], "completed");
    let output = response["output"].as_array().unwrap();
    let kinds: Vec<_> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "custom_tool_call", "function_call", "message"]);
    assert_eq!((&output[2]["name"], &output[2]["namespace"]), (&json!("find"), &json!("crm")));
    assert_eq!(output[3]["input"], "*** Begin\n");
    assert_eq!(output[4]["arguments"], "{}");
    assert_eq!(response["usage"]["total_tokens"], 12);
    assert_eq!(response["tools"].as_array().unwrap().len(), 1);
}

#[test]
fn plain_responses_hold_what_streams_hold() {
    let conversation = conversation(&codex());
    let mut translator = conversation.translator(&target(Dialect::OpenAi, false), 1_700_000_000).unwrap();
    let call = json!({ "id": "b", "type": "function", "function": { "name": "apply_patch", "arguments": "{\"input\":\"x\"}" } });
    let message = json!({ "role": "assistant", "content": "Hi", "reasoning_content": "hm", "tool_calls": [call] });
    let answer = json!({ "id": "1", "model": "m", "choices": [{ "index": 0, "message": message, "finish_reason": "tool_calls" }] });
    let response = translator.translate_response(answer.to_string().as_bytes()).unwrap();
    let response: Value = serde_json::from_slice(&response).unwrap();
    assert_eq!(response["output"][0]["summary"][0]["text"], "hm");
    assert_eq!(response["output"][1]["content"][0]["text"], "Hi");
    assert_eq!(response["output"][2]["type"], "custom_tool_call");
    assert_eq!(response["usage"]["input_tokens_details"]["cached_tokens"], 0);
    for member in ["temperature", "top_p", "tools", "tool_choice", "truncation", "metadata", "store", "background"] {
        assert!(!response[member].is_null(), "{member}");
    }
}

#[test]
fn length_makes_a_response_incomplete() {
    let events =
        [chunk(json!({ "content": "Hel" }), None), chunk(json!({}), Some("length")), ("", "[DONE]".to_owned())];
    let all = streamed(&conversation(&codex()), Dialect::OpenAi, &events);
    let response = &all.last().unwrap()["response"];
    assert_eq!(
        (&response["status"], &response["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    assert_eq!(response["output"][0]["status"], "incomplete");
}

/// A stream of Claude's with signed reasoning and a call.
fn claude() -> Vec<(&'static str, String)> {
    let event = |data: Value| ("", data.to_string());
    let start = |index: u32, block: Value| {
        event(json!({ "type": "content_block_start", "index": index, "content_block": block }))
    };
    let delta =
        |index: u32, delta: Value| event(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
    let stop = |index: u32| event(json!({ "type": "content_block_stop", "index": index }));
    let message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": { "input_tokens": 3, "output_tokens": 1 } });
    vec![
        event(json!({ "type": "message_start", "message": message })),
        start(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "Let " })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "me." })),
        delta(0, json!({ "type": "signature_delta", "signature": "c2lnbmVk" })),
        stop(0),
        start(1, json!({ "type": "redacted_thinking", "data": "cmVk" })),
        stop(1),
        start(2, json!({ "type": "text", "text": "" })),
        delta(2, json!({ "type": "text_delta", "text": "Hi" })),
        stop(2),
        start(3, json!({ "type": "tool_use", "id": "toolu_1", "name": "read", "input": {} })),
        delta(3, json!({ "type": "input_json_delta", "partial_json": "{\"p\":1}" })),
        stop(3),
        event(
            json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" }, "usage": { "output_tokens": 9 } }),
        ),
        event(json!({ "type": "message_stop" })),
    ]
}

#[test]
fn claudes_signatures_come_back_to_the_backend_that_made_them() {
    let all = streamed(&conversation(&codex()), Dialect::Claude, &claude());
    let output = all.last().unwrap()["response"]["output"].as_array().unwrap().clone();
    let kinds: Vec<_> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "reasoning", "message", "function_call"]);
    let mut input = vec![json!({ "role": "user", "content": "Hi" })];
    input.extend(output);
    input.push(json!({ "type": "function_call_output", "call_id": "toolu_1", "output": "x" }));
    let request = json!({ "model": "any", "input": input, "tools": tools(), "reasoning": { "effort": "high" } });
    let next = conversation(&request);
    let body = |target: &Target<'_>| serde_json::from_slice::<Value>(&next.encode(target).unwrap()).unwrap();
    let own = body(&target(Dialect::Claude, false));
    let turn = own["messages"][1]["content"].as_array().unwrap();
    assert_eq!(turn[0], json!({ "type": "thinking", "thinking": "Let me.", "signature": "c2lnbmVk" }));
    assert_eq!(turn[1], json!({ "type": "redacted_thinking", "data": "cmVk" }));
    let other = body(&target(Dialect::Claude, false).with_provider("other"));
    assert_eq!(other["messages"][1]["content"][0]["type"], "text");
    assert!(body(&target(Dialect::OpenAi, false)).to_string().find("c2lnbmVk").is_none());
}

#[test]
fn googles_signatures_come_back_with_their_calls() {
    for text in ["Hi", ""] {
        google(text);
    }
}

fn google(text: &str) {
    let call = json!({ "functionCall": { "name": "read", "args": {} }, "thoughtSignature": "Z29vZ2xl" });
    let content = json!({ "role": "model", "parts": [{ "text": "why", "thought": true }, { "text": text }, call] });
    let answer =
        json!({ "responseId": "r", "candidates": [{ "content": content, "finishReason": "STOP", "index": 0 }] });
    let all = streamed(&conversation(&codex()), Dialect::Gemini, &[("", answer.to_string())]);
    let mut input = vec![json!({ "role": "user", "content": "Hi" })];
    input.extend(all.last().unwrap()["response"]["output"].as_array().unwrap().clone());
    let call_id = input.last().unwrap()["call_id"].clone();
    input.push(json!({ "type": "function_call_output", "call_id": call_id, "output": "x" }));
    let next = conversation(&json!({ "model": "any", "input": input, "tools": tools() }));
    let body: Value = serde_json::from_slice(&next.encode(&target(Dialect::Gemini, false)).unwrap()).unwrap();
    let parts = body["contents"][1]["parts"].as_array().unwrap();
    assert_eq!(parts.last().unwrap()["thoughtSignature"], "Z29vZ2xl");
    let mut translator = conversation(&codex()).translator(&target(Dialect::Gemini, false), 1).unwrap();
    let plain = translator.translate_response(answer.to_string().as_bytes()).unwrap();
    let plain: Value = serde_json::from_slice(&plain).unwrap();
    let kinds = |response: &Value| {
        let output = response["output"].as_array().unwrap().clone();
        output.into_iter().map(|item| item["type"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&plain), kinds(&all.last().unwrap()["response"]));
    assert_eq!(kinds(&plain).len(), if text.is_empty() { 2 } else { 4 });
}

#[test]
fn refuses_what_is_stored_elsewhere() {
    for (member, value, param) in [
        ("previous_response_id", json!("resp_1"), "previous_response_id"),
        ("conversation", json!({ "id": "conv_1" }), "conversation"),
        ("input", json!([{ "type": "item_reference", "id": "msg_1" }]), "input[0]"),
    ] {
        let mut request = codex();
        request[member] = value;
        let conversation = conversation(&request);
        let field = conversation.supports(Dialect::Claude).unwrap_err();
        assert_eq!((&*field.param, field.code), (param, Some("previous_response_not_found")));
    }
    let mut request = codex();
    request["tool_choice"] = json!({ "type": "web_search" });
    assert_eq!(conversation(&request).supports(Dialect::OpenAi).unwrap_err().param, "tool_choice");
    request["tool_choice"] = json!("auto");
    request["tools"] = json!([{ "type": "function", "name": "a__b" }, { "type": "namespace", "name": "a", "tools": [{ "type": "function", "name": "b" }] }]);
    assert_eq!(conversation(&request).supports(Dialect::OpenAi).unwrap_err().param, "tools[1].tools[0].name");
}

#[test]
fn errors_name_the_callers_fields() {
    let mut request = codex();
    request["input"][3]["call_id"] = json!("other");
    let conversation = conversation(&request);
    assert_eq!(conversation.supports(Dialect::Claude).unwrap_err().param, "input[5].call_id");
}

proptest! {
    #[test]
    fn a_stream_that_is_cut_never_looks_whole(at in 0_usize..16) {
        let events = claude();
        let all = streamed(&conversation(&codex()), Dialect::Claude, &events[..at.min(events.len() - 1)]);
        prop_assert!(all.iter().all(|event| event["type"] != "response.completed"));
    }

}
