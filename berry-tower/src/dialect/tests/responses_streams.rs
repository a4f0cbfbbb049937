//! Streams of backends that are asked in Responses: what they say is what the plain response says, for callers of every
//! format, and nothing makes a cut one whole.

use crate::dialect::{
    codec::{DecodeResponse, EncodeResponse, StreamItem},
    hub, messages,
    target::Dialect,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::{
    fold::{chunks, fold},
    messages_answers::{Told, is_whole, written},
    wire::{Cuts, cuts, read},
};

/// An item of a response. Texts come in pieces where they are streamed.
#[derive(Clone, Debug)]
enum Item {
    /// Parts, each of which is a text or a refusal.
    Message(Vec<(Vec<String>, bool)>),
    Reasoning(Vec<Vec<String>>),
    Call(String, Value, Vec<Index>),
    /// A search that the provider ran.
    Search,
}

/// How sparing a server is with what its events repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Full,
    /// The items are neither announced nor finished.
    Deltas,
    /// There are no deltas.
    Whole,
    /// The ids change from event to event.
    Restless,
}

#[derive(Clone, Debug)]
struct Said {
    items: Vec<Item>,
    reason: Option<&'static str>,
    usage: [u16; 4],
    style: Style,
}

fn said() -> impl Strategy<Value = Said> {
    let texts = || vec("(?s).{0,6}", 0..5);
    let input = vec(("[a-z]{1,3}", "(?s).{0,4}".prop_map(Value::from)), 0..3);
    let item = prop_oneof![
        4 => vec((texts(), prop::bool::weighted(0.2)), 1..3).prop_map(Item::Message),
        2 => vec(texts(), 0..3).prop_map(Item::Reasoning),
        4 => ("weather|time", input, vec(any::<Index>(), 0..4))
            .prop_map(|(name, input, cuts)| Item::Call(name, Value::Object(input.into_iter().collect()), cuts)),
        1 => Just(Item::Search),
    ];
    let reason = prop_oneof![4 => Just(None), 1 => Just(Some("max_output_tokens")), 1 => Just(Some("content_filter"))];
    let style = prop_oneof![3 => Just(Style::Full), 1 => Just(Style::Deltas), 1 => Just(Style::Whole), 1 => Just(Style::Restless)];
    (vec(item, 0..5), reason, any::<[u16; 4]>(), style).prop_map(|(mut items, reason, usage, style)| {
        refuse_last(&mut items);
        Said { items, reason, usage, style }
    })
}

/// Leaves a refusal only at the end of the texts, since a plain response of chat has it behind them.
fn refuse_last(items: &mut [Item]) {
    let mut parts: Vec<_> =
        items.iter_mut().filter_map(|item| if let Item::Message(parts) = item { Some(parts) } else { None }).collect();
    let mut parts = parts.iter_mut().flat_map(|parts| parts.iter_mut()).rev().skip(1);
    parts.by_ref().for_each(|(_, is_refusal)| *is_refusal = false);
}

impl Item {
    const fn prefix(&self) -> &'static str {
        match self {
            Self::Message(_) => "msg",
            Self::Reasoning(_) => "rs",
            Self::Call(..) => "fc",
            Self::Search => "ws",
        }
    }

    fn json(&self, id: &str, at: usize, is_whole: bool) -> Value {
        let parts = |parts: Vec<Value>| if is_whole { parts } else { Vec::new() };
        match self {
            Self::Message(all) => json!({"type": "message", "id": id, "role": "assistant",
                "status": if is_whole { "completed" } else { "in_progress" },
                "content": parts(all.iter().map(|(pieces, is_refusal)| part(&pieces.concat(), *is_refusal)).collect())}),
            Self::Reasoning(all) => json!({"type": "reasoning", "id": id, "encrypted_content": "gAAA",
                "summary": parts(all.iter().map(|pieces| summary(&pieces.concat())).collect())}),
            Self::Call(name, input, _) => json!({"type": "function_call", "id": id, "call_id": format!("call_{at}"),
                "name": name, "arguments": if is_whole { input.to_string() } else { String::new() }}),
            Self::Search => json!({"type": "web_search_call", "id": id, "status": "completed",
                "action": {"type": "search", "query": "x"}}),
        }
    }

    /// The events between the beginning and the end of the item, without its id and position.
    fn events(&self, style: Style) -> Vec<Value> {
        let mut out = Vec::new();
        let mut event = |kind: &str, index: Option<(&str, usize)>, name: &str, value: Value| {
            if kind.ends_with("delta") && style == Style::Whole || !kind.ends_with("delta") && style == Style::Deltas {
                return;
            }
            let mut event = json!({"type": format!("response.{kind}")});
            event[name] = value;
            if let Some((name, index)) = index {
                event[name] = index.into();
            }
            out.push(event);
        };
        match self {
            Self::Message(parts) => {
                for (at, (pieces, is_refusal)) in parts.iter().enumerate() {
                    let (kind, name) = if *is_refusal { ("refusal", "refusal") } else { ("output_text", "text") };
                    let index = Some(("content_index", at));
                    event("content_part.added", index, "part", part("", *is_refusal));
                    pieces
                        .iter()
                        .for_each(|text| event(&format!("{kind}.delta"), index, "delta", text.as_str().into()));
                    event(&format!("{kind}.done"), index, name, pieces.concat().into());
                    event("content_part.done", index, "part", part(&pieces.concat(), *is_refusal));
                }
            }
            Self::Reasoning(parts) => {
                for (at, pieces) in parts.iter().enumerate() {
                    let index = Some(("summary_index", at));
                    event("reasoning_summary_part.added", index, "part", summary(""));
                    for text in pieces {
                        event("reasoning_summary_text.delta", index, "delta", text.as_str().into());
                    }
                    event("reasoning_summary_text.done", index, "text", pieces.concat().into());
                    event("reasoning_summary_part.done", index, "part", summary(&pieces.concat()));
                }
            }
            Self::Call(_, input, cuts) => {
                let arguments: Vec<char> = input.to_string().chars().collect();
                let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(arguments.len() + 1)).collect();
                at.extend([0, arguments.len()]);
                at.sort_unstable();
                for pair in at.windows(2) {
                    let piece: String = arguments[pair[0]..pair[1]].iter().collect();
                    event("function_call_arguments.delta", None, "delta", piece.into());
                }
                event("function_call_arguments.done", None, "arguments", input.to_string().into());
            }
            Self::Search => event("web_search_call.completed", None, "note", Value::Null),
        }
        out
    }
}

fn part(text: &str, is_refusal: bool) -> Value {
    match is_refusal {
        true => json!({"type": "refusal", "refusal": text}),
        false => json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []}),
    }
}

fn summary(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

impl Said {
    fn plain(&self) -> Value {
        let id = |item: &Item, at: usize| format!("{}_{at}", item.prefix());
        let output: Vec<_> =
            self.items.iter().enumerate().map(|(at, item)| item.json(&id(item, at), at, true)).collect();
        let [input, cached, output_tokens, reasoning] = self.usage;
        json!({"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "model": "gpt-x", "error": null,
            "status": if self.reason.is_some() { "incomplete" } else { "completed" },
            "incomplete_details": self.reason.map(|reason| json!({"reason": reason})), "output": output,
            "usage": {"input_tokens": input, "input_tokens_details": {"cached_tokens": cached},
                "output_tokens": output_tokens, "output_tokens_details": {"reasoning_tokens": reasoning},
                "total_tokens": u32::from(input) + u32::from(output_tokens)}})
    }

    fn stream(&self) -> Vec<u8> {
        let mut begun = self.plain();
        for (name, value) in [
            ("output", json!([])),
            ("usage", Value::Null),
            ("status", json!("in_progress")),
            ("incomplete_details", Value::Null),
        ] {
            begun[name] = value;
        }
        let mut events = vec![
            json!({"type": "response.created", "response": begun}),
            json!({"type": "response.in_progress", "response": begun}),
        ];
        for (at, item) in self.items.iter().enumerate() {
            let mut turn = 0;
            let mut id = || {
                turn += usize::from(self.style == Style::Restless);
                format!("{}_{at}{}", item.prefix(), "x".repeat(turn))
            };
            let is_call = matches!(item, Item::Call(..));
            let announces = self.style != Style::Deltas || is_call;
            if announces {
                events.push(json!({"type": "response.output_item.added", "output_index": at, "item": item.json(&id(), at, false)}));
            }
            for mut event in item.events(self.style) {
                (event["output_index"], event["item_id"]) = (at.into(), id().into());
                events.push(event);
            }
            if self.style != Style::Deltas {
                events.push(json!({"type": "response.output_item.done", "output_index": at, "item": item.json(&id(), at, true)}));
            }
        }
        let kind = if self.reason.is_some() { "response.incomplete" } else { "response.completed" };
        let mut whole = self.plain();
        if self.style == Style::Deltas {
            whole["output"] = json!([]);
        }
        events.push(json!({"type": kind, "response": whole}));
        let mut out = String::new();
        for (number, mut event) in events.into_iter().enumerate() {
            event["sequence_number"] = number.into();
            out.push_str(&format!("event: {}\r\ndata: {event}\r\n\r\n", event["type"].as_str().unwrap()));
        }
        out.into_bytes()
    }

    /// Whether a call's end is the only sign that it has ended.
    fn has_cut_call(&self) -> bool {
        self.reason.is_some() && self.items.iter().any(|item| matches!(item, Item::Call(..)))
    }
}

fn decoder() -> Box<dyn DecodeResponse> {
    let question = hub::Request::parse(br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#).unwrap();
    Dialect::Responses.format().encode_request(&question).unwrap().response_decoder(super::decoding(1))
}

fn plain(said: &Said) -> hub::Response {
    decoder().decode_response(said.plain().to_string().as_bytes()).unwrap()
}

/// A response without the difference between no text and an empty one.
fn compared(mut response: hub::Response) -> hub::Response {
    for choice in &mut response.choices {
        let empty = |text: &String| text.is_empty();
        if choice.message.content.as_ref().is_none_or(|it| matches!(it, hub::Content::Text(text) if text.is_empty())) {
            choice.message.content = None;
        }
        choice.message.refusal = choice.message.refusal.take().filter(|text| !empty(text));
        choice.message.reasoning_content = choice.message.reasoning_content.take().filter(|text| !empty(text));
    }
    response
}

proptest! {
    #[test]
    fn a_stream_says_what_the_plain_response_says(said in said(), cuts in cuts()) {
        let (items, malformed) = read(&mut *decoder(), &said.stream(), &cuts);
        prop_assert_eq!(malformed, 0);
        prop_assert_eq!(items.last(), Some(&StreamItem::Done), "{:?}", items);
        prop_assert_eq!(items.iter().filter(|item| **item == StreamItem::Done).count(), 1);
        prop_assert_eq!(compared(fold(chunks(&items))), compared(plain(&said)));
    }

    #[test]
    fn a_caller_of_messages_is_told_the_same(said in said(), cuts in cuts()) {
        let (items, _) = read(&mut *decoder(), &said.stream(), &cuts);
        let plain = messages::ResponseEncoder::default().encode_response(plain(&said));
        prop_assert_eq!(Told::stream(&written(items)), Told::plain(&plain));
    }

    #[test]
    fn a_caller_of_responses_is_told_the_same(said in said(), cuts in cuts()) {
        let (items, _) = read(&mut *decoder(), &said.stream(), &cuts);
        let (events, is_whole) = super::responses::by_grammar(items);
        prop_assert!(is_whole || said.has_cut_call());
        if is_whole {
            let plain = super::responses::plain(plain(&said));
            prop_assert_eq!(super::responses::said(&events.last().unwrap()["response"]), super::responses::said(&plain));
        }
    }

    #[test]
    fn a_cut_stream_is_never_whole(said in said(), cut in any::<Index>(), cuts in cuts()) {
        let whole = said.stream();
        // Up to the last byte of the last event's data.
        let last = whole.iter().rposition(|byte| *byte == b'}').unwrap();
        let (items, _) = read(&mut *decoder(), &whole[..cut.index(last)], &cuts);
        prop_assert!(!items.contains(&StreamItem::Done));
        prop_assert!(!super::responses::by_grammar(items.clone()).1);
        prop_assert!(!is_whole(&written(items)));
    }

    #[test]
    fn after_an_error_nothing_comes(said in said(), at in any::<Index>(), is_flat in any::<bool>()) {
        let mut text = String::from_utf8(said.stream()).unwrap();
        let starts: Vec<usize> = text.match_indices("event: ").map(|(at, _)| at).collect();
        let error = json!({"code": "rate_limit_exceeded", "message": "Busy"});
        let error = match is_flat {
            true => json!({"type": "error", "code": "rate_limit_exceeded", "message": "Busy", "param": null}),
            false => json!({"type": "response.failed", "response": {"status": "failed", "error": error}}),
        };
        text.insert_str(starts[at.index(starts.len())], &format!("data: {error}\n\n"));
        let (items, _) = read(&mut *decoder(), text.as_bytes(), &Cuts::At(Vec::new()));
        let Some(StreamItem::Error(error)) = items.last() else { panic!("no error at the end: {items:?}") };
        prop_assert_eq!((error.code.as_deref(), &*error.message), (Some("rate_limit_exceeded"), "Busy"));
        prop_assert!(!items.contains(&StreamItem::Done));
    }

    #[test]
    fn any_events_in_any_order_are_survived(said in said(), picks in vec(any::<Index>(), 0..20), garbage in ".{0,40}") {
        let text = String::from_utf8(said.stream()).unwrap();
        let mut events: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        events.extend([&*garbage, "[]", "{}", "7", r#"{"type":"response.completed","response":{}}"#,
            r#"{"type":"response.output_item.done","item":{"type":"function_call","name":"f"}}"#]);
        let (mut decoder, mut items) = (decoder(), Vec::new());
        for data in picks.iter().map(|pick| events[pick.index(events.len())]) {
            let _ = decoder.decode_event("", data, &mut items);
        }
        let ended = items.iter().position(|item| *item == StreamItem::Done);
        prop_assert!(ended.is_none_or(|at| at == items.len() - 1));
        super::responses::by_grammar(items.clone());
        written(items);
        let _ = decoder.decode_response(garbage.as_bytes());
    }
}

fn decoded(events: &[Value]) -> Vec<StreamItem> {
    let (mut decoder, mut items) = (decoder(), Vec::new());
    for event in events {
        decoder.decode_event("", &event.to_string(), &mut items).unwrap();
    }
    items
}

fn call(arguments: &str) -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": arguments})
}

#[test]
fn a_call_that_did_not_end_makes_no_whole_response() {
    let added = json!({"type": "response.output_item.added", "output_index": 0, "item": call("")});
    let delta =
        |text: &str| json!({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": text});
    let completed = json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}});
    let is_whole = |events: &[Value]| decoded(events).last() == Some(&StreamItem::Done);
    assert!(is_whole(&[added.clone(), delta("{\"a\":1}"), completed.clone()]), "the arguments are whole");
    assert!(!is_whole(&[added.clone(), delta("{\"a\":"), completed.clone()]));
    assert!(!is_whole(&[added.clone(), completed.clone()]));
    let done = json!({"type": "response.output_item.done", "output_index": 0, "item": call("{\"a\":1}")});
    assert!(is_whole(&[added.clone(), delta("{\"a\":"), done.clone(), completed.clone()]), "the end has the rest");
    assert!(!is_whole(&[added, delta("{\"b\":"), done, completed]), "the end has other arguments");
}

#[test]
fn output_that_a_caller_would_miss_is_an_error_that_names_it() {
    for (item, word) in [
        (json!({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aGk="}), "picture"),
        (json!({"type": "code_interpreter_call", "id": "ci_1", "outputs": [{"type": "logs", "logs": "1"}]}), "code"),
        (json!({"type": "computer_call", "id": "cu_1", "call_id": "c", "action": {"type": "click"}}), "hosted tool"),
        (json!({"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "f", "input": "x"}), "custom tool"),
    ] {
        let plain = json!({"id": "r", "status": "completed", "output": [item]});
        assert!(decoder().decode_response(plain.to_string().as_bytes()).unwrap_err().description().contains(word));
        let done = json!({"type": "response.output_item.done", "output_index": 0, "item": item});
        let items = decoded(&[done]);
        assert!(matches!(items.last(), Some(StreamItem::Error(error)) if error.message.contains(word)), "{items:?}");
    }
}

#[test]
fn a_numbered_event_that_is_sent_twice_counts_once() {
    let delta = |number: u64| json!({"type": "response.output_text.delta", "item_id": "m", "delta": "Ha", "sequence_number": number});
    let texts = |events: &[Value]| {
        chunks(&decoded(events)).filter_map(|it| it.choices[0].delta.content.clone()).collect::<String>()
    };
    assert_eq!(texts(&[delta(4), delta(4)]), "Ha");
    assert_eq!(texts(&[delta(4), delta(5)]), "HaHa");
    assert_eq!(texts(&[delta(0), delta(0)]), "HaHa", "a server that does not count");
}
