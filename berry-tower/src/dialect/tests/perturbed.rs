//! Responses with one fault: any member replaced or removed, any event duplicated, any cut. Nothing panics, no
//! cut stream looks whole, and a stream that looks whole holds every text and call that was in its events.

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

use crate::dialect::{
    codec::{EncodeResponse, StreamEnd, StreamItem},
    hub,
    target::Dialect,
    wire_format::{CallerFormat, EncodeOptions},
};

/// The events of a whole stream in a backend's format; `None` stands for `[DONE]`. What is said are words that
/// begin with `word`, and calls of tools that begin with `tool`.
fn events(dialect: Dialect) -> Vec<Option<Value>> {
    let chat = |delta: Value, finish: Value| {
        Some(json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
    };
    let call = |index: u32, id: &str, name: &str, arguments: &str| {
        json!({"tool_calls": [{"index": index, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}}]})
    };
    let gemini = |parts: Value, finish: Value| {
        let candidate = json!({"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0});
        Some(json!({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4},
            "modelVersion": "m", "responseId": "r1"}))
    };
    match dialect {
        Dialect::OpenAi => vec![
            chat(json!({"role": "assistant", "content": ""}), Value::Null),
            chat(json!({"reasoning_content": "word0"}), Value::Null),
            chat(json!({"content": "word1"}), Value::Null),
            chat(json!({"content": [{"type": "text", "text": "word2"}]}), Value::Null),
            chat(call(0, "a", "tool1", "{\"x\":"), Value::Null),
            chat(call(1, "b", "tool2", "{}"), Value::Null),
            chat(json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"word3\"}"}}]}), Value::Null),
            chat(json!({}), json!("tool_calls")),
            Some(json!({"id": "c1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})),
            None,
        ],
        Dialect::Claude => [
            json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
                "model": "m", "content": [], "stop_reason": null, "usage": {"input_tokens": 3, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word1"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 1, "content_block":
                {"type": "tool_use", "id": "a", "name": "tool1", "input": {}}}),
            json!({"type": "content_block_delta", "index": 1, "delta":
                {"type": "input_json_delta", "partial_json": "{\"x\":\"word2\"}"}}),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 4}}),
            json!({"type": "message_stop"}),
        ]
        .into_iter()
        .map(Some)
        .collect(),
        Dialect::Responses => responses(),
        Dialect::Gemini => vec![
            gemini(json!([{"text": "word0", "thought": true}]), Value::Null),
            gemini(json!([{"text": "word1"}]), Value::Null),
            gemini(
                json!([{"text": "word2"}, {"functionCall": {"id": "a", "name": "tool1", "args": {"x": "word3"}}}]),
                Value::Null,
            ),
            gemini(json!([]), json!("STOP")),
        ],
    }
}

/// Whole streams of OpenAI's format as its providers vary it.
fn variants() -> Vec<Vec<Option<Value>>> {
    let chunk = |choice: Value| Some(json!({"id": "c1", "object": "chat.completion.chunk", "choices": [choice]}));
    let chat = |delta: Value| chunk(json!({"index": 0, "delta": delta, "finish_reason": null}));
    vec![
        // Mistral: reasoning and text as parts, calls without an index, the usage in the last chunk.
        vec![
            chat(json!({"role": "assistant", "content":
                [{"type": "thinking", "thinking": [{"type": "text", "text": "word0"}]}]})),
            chat(json!({"content": [{"type": "text", "text": "word1"}]})),
            chat(json!({"tool_calls": [{"id": "a", "function": {"name": "tool1", "arguments": "{\"x\":\"word2\"}"}}]})),
            Some(json!({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "tool_calls"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4}})),
            None,
        ],
        // OpenRouter: `reasoning`, empty contents beside it, and a reason of the model's own.
        vec![
            chat(json!({"role": "assistant", "content": "", "reasoning": "word0"})),
            chat(json!({"role": "assistant", "content": "word1", "reasoning": null})),
            chunk(json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop",
                "native_finish_reason": "end"})),
            Some(json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "cost": 0.1}})),
            None,
        ],
        // Ollama and others: a whole call in one piece with its arguments as an object, and no `[DONE]`.
        vec![
            chat(json!({"role": "assistant", "content": "word0"})),
            chat(
                json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "tool1", "arguments": {"x": "word1"}}}]}),
            ),
            Some(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
                "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}})),
        ],
    ]
}

/// The events of a stream of Responses, numbered.
fn responses() -> Vec<Option<Value>> {
    let reasoning = |parts: Value| json!({"type": "reasoning", "id": "rs_1", "summary": parts});
    let message = |status: &str, parts: Value| json!({"type": "message", "id": "msg_1", "status": status, "role": "assistant", "content": parts});
    let call = |at: u32, arguments: &str| json!({"type": "function_call", "id": format!("fc_{at}"), "call_id": format!("call_{at}"), "name": format!("tool{at}"), "arguments": arguments});
    let summary = json!({"type": "summary_text", "text": "word0"});
    let part = json!({"type": "output_text", "text": "word1 word2", "annotations": [], "logprobs": []});
    let item = |kind: &str, at: u32, item: Value| json!({"type": format!("response.output_item.{kind}"), "output_index": at, "item": item});
    let about = |kind: &str, at: u32, id: &str, more: Value| {
        let mut event = json!({"type": format!("response.{kind}"), "output_index": at, "item_id": id});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let response = |status: &str, output: Value, usage: Value| json!({"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "m", "error": null, "incomplete_details": null, "output": output, "usage": usage});
    let output = json!([
        reasoning(json!([summary])),
        message("completed", json!([part])),
        call(1, "{\"x\":\"word3\"}"),
        call(2, "{}")
    ]);
    let usage = json!({"input_tokens": 3, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 7});
    let events = [
        json!({"type": "response.created", "response": response("in_progress", json!([]), Value::Null)}),
        json!({"type": "response.in_progress", "response": response("in_progress", json!([]), Value::Null)}),
        item("added", 0, reasoning(json!([]))),
        about(
            "reasoning_summary_part.added",
            0,
            "rs_1",
            json!({"summary_index": 0, "part": {"type": "summary_text", "text": ""}}),
        ),
        about("reasoning_summary_text.delta", 0, "rs_1", json!({"summary_index": 0, "delta": "word0"})),
        about("reasoning_summary_text.done", 0, "rs_1", json!({"summary_index": 0, "text": "word0"})),
        about("reasoning_summary_part.done", 0, "rs_1", json!({"summary_index": 0, "part": summary})),
        item("done", 0, reasoning(json!([summary]))),
        item("added", 1, message("in_progress", json!([]))),
        about(
            "content_part.added",
            1,
            "msg_1",
            json!({"content_index": 0, "part": {"type": "output_text", "text": ""}}),
        ),
        about("output_text.delta", 1, "msg_1", json!({"content_index": 0, "delta": "word1", "logprobs": []})),
        about("output_text.delta", 1, "msg_1", json!({"content_index": 0, "delta": " word2", "logprobs": []})),
        about("output_text.done", 1, "msg_1", json!({"content_index": 0, "text": "word1 word2", "logprobs": []})),
        about("content_part.done", 1, "msg_1", json!({"content_index": 0, "part": part})),
        item("done", 1, message("completed", json!([part]))),
        item("added", 2, call(1, "")),
        about("function_call_arguments.delta", 2, "fc_1", json!({"delta": "{\"x\":"})),
        about("function_call_arguments.delta", 2, "fc_1", json!({"delta": "\"word3\"}"})),
        about("function_call_arguments.done", 2, "fc_1", json!({"arguments": "{\"x\":\"word3\"}"})),
        item("done", 2, call(1, "{\"x\":\"word3\"}")),
        item("added", 3, call(2, "")),
        about("function_call_arguments.delta", 3, "fc_2", json!({"delta": "{}"})),
        about("function_call_arguments.done", 3, "fc_2", json!({"arguments": "{}"})),
        item("done", 3, call(2, "{}")),
        json!({"type": "response.completed", "response": response("completed", output, usage)}),
    ];
    let numbered = events.into_iter().enumerate().map(|(at, mut event)| {
        event["sequence_number"] = at.into();
        Some(event)
    });
    numbered.collect()
}

/// The paths to all members and elements of a value.
fn paths(value: &Value, at: &str, out: &mut Vec<String>) {
    let mut child = |name: String, value: &Value| {
        let path = format!("{at}/{name}");
        out.push(path.clone());
        paths(value, &path, out);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| child(name.clone(), value)),
        Value::Array(elements) => elements.iter().enumerate().for_each(|(at, value)| child(at.to_string(), value)),
        _ => {}
    }
}

/// The position of the event that says why the stream ended. Behind it, the stream is whole.
fn last(events: &[Option<Value>]) -> usize {
    let ends = ["\"finish_reason\":\"", "\"finishReason\":\"", "message_stop", "response.completed"];
    let is_end = |event: &Value| {
        let text = event.to_string();
        ends.iter().any(|end| text.contains(end))
    };
    events.iter().rposition(|event| event.as_ref().is_some_and(is_end)).unwrap()
}

/// Replaces or removes what is at a path.
fn change(event: &mut Value, path: &str, by: Option<Value>) {
    match by {
        Some(by) => *event.pointer_mut(path).unwrap() = by,
        None => {
            let (parent, name) = path.rsplit_once('/').unwrap();
            match event.pointer_mut(parent).unwrap() {
                Value::Object(members) => drop(members.remove(name)),
                Value::Array(elements) => drop(elements.remove(name.parse().unwrap())),
                _ => unreachable!("a path leads through containers"),
            }
        }
    }
}

/// The words and tools in the texts of a value, wherever they are.
fn said(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            out.extend(text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|it| is_said(it)).map(str::to_owned));
        }
        Value::Array(elements) => elements.iter().for_each(|value| said(value, out)),
        Value::Object(members) => members.values().for_each(|value| said(value, out)),
        _ => {}
    }
}

fn is_said(text: &str) -> bool {
    ["word", "tool"]
        .iter()
        .any(|kind| text.strip_prefix(kind).is_some_and(|n| n.len() == 1 && n.as_bytes()[0].is_ascii_digit()))
}

/// What a caller gets of a stream, and whether it looks whole.
fn translated(dialect: Dialect, caller: &dyn CallerFormat, events: &[Option<Value>], end: StreamEnd) -> (String, bool) {
    let question = hub::Request::parse(br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#).unwrap();
    let mut decoder = dialect.format().encode_request(&question).unwrap().response_decoder(super::decoding(1));
    let (mut encoder, mut items, mut out) =
        (caller.response_encoder(&question, EncodeOptions::default()), Vec::new(), Vec::new());
    for event in events {
        let data = event.as_ref().map_or("[DONE]".to_owned(), Value::to_string);
        let _ = decoder.decode_event("", &data, &mut items);
    }
    decoder.decode_end(end, &mut items);
    let is_whole = items.iter().any(|item| matches!(item, StreamItem::Done));
    assert!(is_whole || !items.iter().any(|item| matches!(item, StreamItem::Done)));
    encode(&mut *encoder, items, &mut out);
    let out = String::from_utf8(out).unwrap();
    let ends = ["data: [DONE]", "event: message_stop", "event: response.completed"];
    let looks_whole = out.lines().any(|line| ends.contains(&line));
    assert!(is_whole || !looks_whole, "{out}");
    (out, looks_whole)
}

fn encode(encoder: &mut dyn EncodeResponse, items: Vec<StreamItem>, out: &mut Vec<u8>) {
    items.into_iter().for_each(|item| encoder.encode_item(item, out));
}

fn dialects() -> impl Strategy<Value = Dialect> {
    prop_oneof![1 => Just(Dialect::OpenAi), 1 => Just(Dialect::Claude), 1 => Just(Dialect::Gemini), 2 => Just(Dialect::Responses)]
}

/// A whole stream and its format.
fn streams() -> impl Strategy<Value = (Dialect, Vec<Option<Value>>)> {
    let variant = prop::sample::select(variants()).prop_map(|events| (Dialect::OpenAi, events));
    prop_oneof![2 => dialects().prop_map(|dialect| (dialect, events(dialect))), 1 => variant]
}

fn callers() -> impl Strategy<Value = &'static dyn CallerFormat> {
    prop_oneof![Just(Dialect::OpenAi), Just(Dialect::Claude), Just(Dialect::Responses)]
        .prop_map(|it| it.format().caller().unwrap())
}

fn replacement() -> impl Strategy<Value = Option<Value>> {
    let values = vec![json!(null), json!(""), json!([]), json!({}), json!(7), json!("x"), json!(true)];
    prop_oneof![1 => Just(None), 7 => prop::sample::select(values).prop_map(Some)]
}

/// Values that say no more than the absence of a member.
fn nothing() -> impl Strategy<Value = Option<Value>> {
    prop::sample::select(vec![None, Some(json!(null)), Some(json!("")), Some(json!([])), Some(json!({}))])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_member_loses_nothing_quietly(
        (dialect, mut events) in streams(),
        caller in callers(),
        which in any::<Index>(),
        path in any::<Index>(),
        by in replacement(),
    ) {
        let which = which.index(events.len());
        if let Some(event) = &mut events[which] {
            let mut all = Vec::new();
            paths(event, "", &mut all);
            change(event, &all[path.index(all.len())], by);
        }
        let mut expected = Vec::new();
        events.iter().flatten().for_each(|event| said(event, &mut expected));
        let (out, is_whole) = translated(dialect, caller, &events, StreamEnd::Clean);
        if is_whole {
            let mut told = Vec::new();
            out.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).for_each(|data: Value| said(&data, &mut told));
            for word in expected {
                prop_assert!(told.contains(&word), "{word} is lost: {:?}\n{out}", events[which]);
            }
        }
    }

    #[test]
    fn several_changed_members_make_no_cut_stream_whole(
        (dialect, mut events) in streams(),
        caller in callers(),
        changes in proptest::collection::vec((any::<Index>(), any::<Index>(), nothing()), 1..5),
        cut in any::<Index>(),
    ) {
        events.truncate(cut.index(last(&events) + 1));
        for (which, path, by) in changes {
            if events.is_empty() {
                break;
            }
            let which = which.index(events.len());
            if let Some(event) = &mut events[which] {
                let mut all = Vec::new();
                paths(event, "", &mut all);
                if !all.is_empty() {
                    change(event, &all[path.index(all.len())], by);
                }
            }
        }
        let (out, is_whole) = translated(dialect, caller, &events, StreamEnd::Clean);
        prop_assert!(!is_whole, "{out}");
    }

    #[test]
    fn a_duplicated_event_loses_nothing_quietly((dialect, mut events) in streams(), caller in callers(), which in any::<Index>()) {
        let which = which.index(events.len());
        events.insert(which, events[which].clone());
        let mut expected = Vec::new();
        events.iter().flatten().for_each(|event| said(event, &mut expected));
        let (out, is_whole) = translated(dialect, caller, &events, StreamEnd::Clean);
        prop_assert!(!is_whole || expected.iter().all(|word| out.contains(word)), "{out}");
    }

    #[test]
    fn a_cut_stream_does_not_look_whole((dialect, mut events) in streams(), caller in callers(), cut in any::<Index>()) {
        events.truncate(cut.index(last(&events) + 1));
        for end in [StreamEnd::Clean, StreamEnd::Broken] {
            let (out, is_whole) = translated(dialect, caller, &events, end);
            prop_assert!(!is_whole, "{out}");
        }
    }

    #[test]
    fn a_changed_plain_response_does_not_panic(
        path in any::<Index>(),
        by in replacement(),
        dialect in dialects(),
        caller in callers(),
    ) {
        let mut body = match dialect {
            Dialect::OpenAi => json!({"id": "c1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "word1",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "tool1", "arguments": "{}"}}]},
                "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 3}}),
            Dialect::Claude => json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
                "content": [{"type": "text", "text": "word1"}, {"type": "tool_use", "id": "a", "name": "tool1", "input": {}}],
                "stop_reason": "tool_use", "usage": {"input_tokens": 3}}),
            Dialect::Responses => responses().pop().unwrap().unwrap()["response"].take(),
            Dialect::Gemini => json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "word1"},
                {"functionCall": {"name": "tool1", "args": {}}}]}, "finishReason": "STOP", "index": 0}]}),
        };
        let mut all = Vec::new();
        paths(&body, "", &mut all);
        change(&mut body, &all[path.index(all.len())], by);
        let mut expected = Vec::new();
        said(&body, &mut expected);
        let question = hub::Request::parse(br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#).unwrap();
        let mut decoder = dialect.format().encode_request(&question).unwrap().response_decoder(super::decoding(1));
        if let Ok(response) = decoder.decode_response(body.to_string().as_bytes()) {
            let out = String::from_utf8(caller.response_encoder(&question, EncodeOptions::default()).encode_response(response)).unwrap();
            for word in expected {
                prop_assert!(out.contains(&word), "{word} is lost: {body}\n{out}");
            }
        }
    }
}
