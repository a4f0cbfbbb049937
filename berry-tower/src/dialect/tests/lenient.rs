//! What imitators of a format write beside its rules: read where nothing is lost by it, and told as an error
//! where something may be.

use crate::dialect::{
    chat::ResponseDecoder,
    codec::{DecodeResponse, StreamItem},
    gemini,
    hub::{self, FinishReason, Role},
    messages,
    wire_format::EncodedRequest,
};
use serde_json::{Value, json};

fn item(reader: &mut dyn DecodeResponse, event: &Value) -> Vec<StreamItem> {
    let mut items = Vec::new();
    reader.decode_event("", &event.to_string(), &mut items).unwrap();
    items
}

fn chunk(event: &Value) -> hub::Chunk {
    match &item(&mut ResponseDecoder::new(1, false), event)[..] {
        [StreamItem::Chunk(chunk)] => chunk.clone(),
        other => panic!("{event}: {other:?}"),
    }
}

fn question() -> hub::Request {
    hub::Request::parse(br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#).unwrap()
}

fn anthropic() -> Box<dyn DecodeResponse> {
    messages::MessagesRequest::from_hub(&question()).unwrap().response_decoder(super::decoding(1))
}

fn google() -> Box<dyn DecodeResponse> {
    gemini::GeminiRequest::from_hub(&question()).unwrap().response_decoder(super::decoding(1))
}

#[test]
fn reads_a_chunk_with_nulls_and_empty_strings() {
    let call = json!({"index": null, "id": null, "type": "", "function": {"name": null, "arguments": "{"}});
    let delta = json!({"role": "", "content": "Hi", "refusal": null, "tool_calls": [call], "extra_content": 7});
    let choice = json!({"index": null, "delta": delta, "finish_reason": "", "logprobs": null});
    let read = chunk(&json!({"id": null, "object": null, "created": null, "model": null, "choices": [choice]}));
    let choice = &read.choices[0];
    assert_eq!((choice.delta.role, choice.delta.content.as_deref()), (Some(Role::Assistant), Some("Hi")));
    assert_eq!(choice.finish_reason, None);
    let call = &choice.delta.tool_calls.as_ref().unwrap()[0];
    let arguments = call.function.as_ref().unwrap().arguments.as_deref();
    assert_eq!((call.kind, arguments), (Some(hub::FunctionKind::Function), Some("{")));

    assert_eq!(chunk(&json!({"created": 17.9, "choices": [{"delta": null, "finish_reason": "stop"}]})).created, 17);
    let empty = json!({"created": "now", "choices": null, "usage": "none"});
    assert!(item(&mut ResponseDecoder::new(1, false), &empty).is_empty());
}

#[test]
fn token_counts_are_emitted_once_at_the_end() {
    let mut reader = ResponseDecoder::new(1, false);
    let finish = json!({"choices": [{"delta": null, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3,
        "completion_tokens": null, "total_tokens": 4.0, "prompt_tokens_details": {"cached_tokens": "2"}}});
    let mut items = item(&mut reader, &finish);
    items.extend(item(&mut reader, &json!({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 1}})));
    reader.decode_event("", "[DONE]", &mut items).unwrap();
    let usage = items.iter().filter_map(|item| match item {
        StreamItem::Chunk(chunk) => chunk.usage.clone(),
        StreamItem::Thought(_) | StreamItem::Error(_) | StreamItem::Done => None,
    });
    let usage: Vec<_> = usage.collect();
    assert_eq!(usage.len(), 1, "{items:?}");
    assert_eq!((usage[0].prompt_tokens, usage[0].completion_tokens, usage[0].total_tokens), (3, 1, 4));
    assert_eq!(usage[0].prompt_tokens_details.unwrap().cached_tokens, 2);
}

#[test]
fn reads_a_plain_response_with_nulls_and_missing_members() {
    let call = json!({"id": "a", "function": {"name": "time", "arguments": "{}"}});
    let answer = |message: Value| {
        let body = json!({"id": null, "created": 1.5, "choices": [{"message": message, "finish_reason": "stop"}],
            "usage": {"completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": null}}});
        ResponseDecoder::new(1, false).decode_response(body.to_string().as_bytes()).unwrap()
    };
    let read = answer(json!({"content": null, "tool_calls": [call]}));
    assert_eq!((read.created, read.usage.unwrap().completion_tokens), (1, 1));
    assert_eq!(read.choices[0].finish_reason, Some(FinishReason::ToolCalls), "it called a tool");
    assert_eq!(read.choices[0].message.role, Role::Assistant);
    assert_eq!(read.choices[0].message.tool_calls.as_ref().unwrap()[0].function.name, "time");
    assert_eq!(answer(json!({"role": "", "content": "Hi"})).choices[0].message.role, Role::Assistant);
}

#[test]
fn rejects_requests_with_missing_members() {
    let error = hub::Request::parse(br#"{"model":"m","messages":[{"content":"Hi"}]}"#).unwrap_err();
    assert_eq!(error.param, "messages[0]");
}

/// Half a call's arguments are worse than an error; and after it nothing is read, not even an end.
#[test]
fn json_that_cannot_be_read_fails_the_stream() {
    let bad =
        json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": 7}}]}}]});
    let finish = json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]});
    let mut openai = ResponseDecoder::new(1, false);
    fails(&mut openai, &bad, &[&finish.to_string(), "[DONE]"]);

    let bad = json!({"type": "content_block_start", "index": "first"});
    fails(
        &mut *anthropic(),
        &bad,
        &[r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#, r#"{"type":"message_stop"}"#],
    );

    let bad = json!({"candidates": [{"content": {"parts": [{"text": ["a"]}]}}]});
    fails(&mut *google(), &bad, &[r#"{"candidates":[{"finishReason":"STOP"}]}"#]);
}

fn fails(reader: &mut dyn DecodeResponse, bad: &Value, then: &[&str]) {
    let mut items = Vec::new();
    assert!(reader.decode_event("", "{\"cho", &mut items).is_err());
    assert!(items.is_empty(), "what is no JSON is noise: {items:?}");
    reader.decode_event("", &bad.to_string(), &mut items).unwrap();
    assert!(matches!(items[..], [StreamItem::Error(_)]), "{items:?}");
    for data in then {
        reader.decode_event("", data, &mut items).unwrap();
    }
    reader.decode_end(crate::dialect::codec::StreamEnd::Clean, &mut items);
    assert_eq!(items.len(), 1, "{items:?}");
}

#[test]
fn reads_nothing_after_the_end() {
    let finish = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    let (mut reader, mut items) = (ResponseDecoder::new(1, false), item(&mut ResponseDecoder::new(1, false), &finish));
    items.extend(item(&mut reader, &finish));
    for data in ["[DONE]", &finish.to_string(), r#"{"error":{"message":"late"}}"#, "[DONE]"] {
        reader.decode_event("", data, &mut items).unwrap();
    }
    reader.decode_end(crate::dialect::codec::StreamEnd::Clean, &mut items);
    assert_eq!(items.len(), 4, "the role twice, the finish, the end");
    assert_eq!(items[3], StreamItem::Done);
}

#[test]
fn reads_null_counts_and_lists_of_gemini() {
    let event = json!({"candidates": [{"content": {"parts": null}, "finishReason": "STOP"}], "responseId": null,
                       "usageMetadata": {"promptTokenCount": 3, "thoughtsTokenCount": null}});
    let answer = google().decode_response(event.to_string().as_bytes()).unwrap();
    assert_eq!(answer.usage.unwrap().prompt_tokens, 3);
    assert!(item(&mut *google(), &json!({"candidates": null, "usageMetadata": null})).is_empty());
}

#[test]
fn reads_nothing_of_a_list_after_an_error() {
    let said = json!({"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]});
    let list = json!([{"error": {"code": 503, "message": "Busy", "status": "UNAVAILABLE"}}, said]);
    assert!(matches!(item(&mut *google(), &list)[..], [StreamItem::Error(_)]));
}

#[test]
fn accepts_hints_of_another_type() {
    for (name, value) in [("seed", json!(1.5)), ("seed", json!(1e300)), ("seed", json!("x")), ("stream", json!("yes"))]
    {
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
        request[name] = value;
        let read = hub::Request::parse(request.to_string().as_bytes()).unwrap();
        assert_eq!((read.seed, read.stream), (None, None));
    }
}

/// What is kept of an answer is bounded: beyond it signatures are dropped, and text waits no more.
#[test]
fn bounds_what_is_held_of_a_response() {
    let question = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}],
                          "response_format": {"type": "json_object"}});
    let question = hub::Request::parse(question.to_string().as_bytes()).unwrap();
    let mut reader = messages::MessagesRequest::from_hub(&question).unwrap().response_decoder(super::decoding(1));
    let (piece, mut items) = ("x".repeat(1 << 16), Vec::new());
    let mut tell = |event: Value| reader.decode_event("", &event.to_string(), &mut items).unwrap();
    for index in 0..20 {
        let begin = json!({"type": "thinking", "thinking": piece, "signature": "c2ln"});
        tell(json!({"type": "content_block_start", "index": index, "content_block": begin}));
        tell(json!({"type": "content_block_stop", "index": index}));
    }
    tell(json!({"type": "content_block_start", "index": 20, "content_block": {"type": "text", "text": "said"}}));
    let is_said = |item: &StreamItem| {
        matches!(item, StreamItem::Chunk(chunk)
        if chunk.choices.iter().any(|choice| choice.delta.content.as_deref() == Some("said")))
    };
    tell(json!({"type": "content_block_stop", "index": 20}));
    tell(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}));
    tell(json!({"type": "message_stop"}));
    assert!(items.iter().any(is_said));
    assert_eq!(items.last(), Some(&StreamItem::Done));
    assert!(items.iter().all(|item| !matches!(item, StreamItem::Chunk(chunk)
        if chunk.choices.iter().any(|choice| choice.delta.extra_content.is_some()))));
}
