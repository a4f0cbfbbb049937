//! Translation of stream events and of requests.

use std::hint::black_box;

use berry_tower::{
    dialect::{Conversation, Dialect, ResponseTranslator, Target},
    endpoint::Endpoint,
};
use criterion::{BatchSize, Criterion, Throughput};

/// The number of delta events in a stream.
const EVENTS: usize = 500;

/// Measures the translation of a Claude stream into chat events, with fifty characters of text or tool input in each.
pub(crate) fn translated_streams(c: &mut Criterion) {
    let mut group = c.benchmark_group("translated_stream");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let start = r#"{"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"usage":{"input_tokens":9,"output_tokens":1}}}"#;
    let piece = "fifty characters of a text that comes in a stream.";
    let kinds = [
        ("claude_text", r#"{"type":"text","text":""}"#, "text_delta", "text"),
        (
            "claude_call",
            r#"{"type":"tool_use","id":"toolu_1","name":"f","input":{}}"#,
            "input_json_delta",
            "partial_json",
        ),
    ];
    let request = chat_body(1);
    for (name, block, kind, member) in kinds {
        let begin = format!(r#"{{"type":"content_block_start","index":0,"content_block":{block}}}"#);
        let delta =
            format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"{kind}","{member}":"{piece}"}}}}"#);
        let run = |mut translator: ResponseTranslator| {
            let mut out = Vec::new();
            let events = [start, &begin].into_iter().chain(std::iter::repeat_n(&*delta, EVENTS));
            for event in events {
                out.clear();
                translator.translate_event("", event, &mut out).expect("a valid event");
                black_box(&out);
            }
        };
        let translator = || request.translator(&Target::new(Dialect::Claude, "claude-x"), 0).expect("a request");
        group.bench_function(name, |b| b.iter_batched(translator, run, BatchSize::SmallInput));
    }
    group.finish();
}

/// Measures the translation of one kind of delta event of every backend into every front, Responses on one side.
pub(crate) fn translated_responses(c: &mut Criterion) {
    let mut group = c.benchmark_group("translated_responses");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let piece = "fifty characters of a text that comes in a stream.";
    let chat_start = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    let chat = format!(
        r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{piece}"}},"finish_reason":null}}]}}"#
    );
    let claude_start = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let claude =
        format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{piece}"}}}}"#);
    let gemini = format!(
        r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"{piece}"}}]}},"index":0}}],"modelVersion":"m","responseId":"r"}}"#
    );
    let item = r#"{"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","content":[],"role":"assistant"}}"#;
    let responses = format!(
        r#"{{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"{piece}","logprobs":[],"obfuscation":"abcdefgh"}}"#
    );
    let (to_responses, to_chat) = (responses_body(), chat_body(1));
    for (name, request, dialect, start, delta) in [
        ("from_chat", &to_responses, Dialect::OpenAi, chat_start, &chat),
        ("from_claude", &to_responses, Dialect::Claude, claude_start, &claude),
        ("from_gemini", &to_responses, Dialect::Gemini, &*gemini, &gemini),
        ("to_chat", &to_chat, Dialect::Responses, item, &responses),
    ] {
        let run = |mut translator: ResponseTranslator| {
            let mut out = Vec::new();
            for event in std::iter::once(start).chain(std::iter::repeat_n(&**delta, EVENTS)) {
                out.clear();
                translator.translate_event("", event, &mut out).expect("a valid event");
                black_box(&out);
            }
        };
        let translator = || request.translator(&Target::new(dialect, "m"), 0).expect("a request");
        group.bench_function(name, |b| b.iter_batched(translator, run, BatchSize::SmallInput));
    }
    group.finish();
}

/// Returns a request for a response.
fn responses_body() -> Conversation {
    let body = r#"{"model":"any","input":"Go on.","stream":true}"#;
    Conversation::new(Endpoint::Responses, body.into())
}

/// Returns a conversation with the given number of turns.
fn chat_body(turns: usize) -> Conversation {
    let text = "a sentence of the conversation, neither long nor short. ".repeat(10);
    let turns: Vec<_> = (0..turns)
        .map(|_| format!(r#"{{"role":"user","content":"{text}"}},{{"role":"assistant","content":"{text}"}},"#))
        .collect();
    let body = format!(r#"{{"model":"any","messages":[{}{{"role":"user","content":"Go on."}}]}}"#, turns.concat());
    Conversation::new(Endpoint::ChatCompletions, body.into())
}

/// Measures the translation of a request for Claude: decoding it once, and encoding it for each attempt.
pub(crate) fn translated_requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("translated_request");
    let target = Target::new(Dialect::Claude, "claude-x").with_stream(true);
    group.bench_function("claude", |b| {
        b.iter_batched(|| chat_body(20), |it| it.supports(Dialect::Claude).is_ok(), BatchSize::SmallInput);
    });
    let request = chat_body(20);
    group.bench_function("claude_written", |b| b.iter(|| request.encode(black_box(&target)).expect("a request")));
    group.finish();
}
