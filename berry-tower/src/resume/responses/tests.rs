//! Whatever the streams and their events, the client gets one response or a part of one, in its grammar.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{DeliveredResponse, ResponseReplay};
use crate::{dialect::ResponseGrammar, resume::replay::Step, stream_events::data};

/// What a stream says, and how it is cut into pieces.
#[derive(Clone, Debug)]
struct Said {
    name: &'static str,
    /// The reasoning; an empty one is an item without text.
    reasoning: Option<String>,
    text: String,
    cuts: Vec<usize>,
    has_call: bool,
}

fn said(name: &'static str, text: &str, cuts: &[usize]) -> Said {
    Said { name, reasoning: None, text: text.to_owned(), cuts: cuts.to_vec(), has_call: false }
}

/// A stream under construction.
struct Stream {
    name: &'static str,
    events: Vec<String>,
    output: Vec<Value>,
}

impl Stream {
    fn event(&mut self, kind: &str, mut data: Value) {
        data["type"] = format!("response.{kind}").into();
        data["sequence_number"] = self.events.len().into();
        self.events.push(format!("event: response.{kind}\ndata: {data}\n\n"));
    }

    fn about(&mut self, kind: &str, id: &str, index: &str, name: &str, value: Value) {
        let mut data = json!({"item_id": id, "output_index": self.output.len(), index: 0});
        data[name] = value;
        self.event(kind, data);
    }

    fn item(&mut self, prefix: &str, begin: Value, end: Value, fill: impl FnOnce(&mut Self, &str)) {
        let id = format!("{prefix}_{}{}", self.name, self.output.len());
        let with_id = |mut item: Value| {
            item["id"] = id.as_str().into();
            item
        };
        let (begin, end, at) = (with_id(begin), with_id(end), self.output.len());
        self.event("output_item.added", json!({"output_index": at, "item": begin}));
        fill(self, &id);
        self.event("output_item.done", json!({"output_index": at, "item": end}));
        self.output.push(end);
    }

    fn text(
        &mut self,
        id: &str,
        index: &str,
        names: [&str; 2],
        part: impl Fn(&str) -> Value,
        text: &str,
        cuts: &[usize],
    ) {
        let [kind, part_kind] = names;
        self.about(&format!("{part_kind}.added"), id, index, "part", part(""));
        let chars: Vec<char> = text.chars().collect();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (chars.len() + 1)).collect();
        at.extend([0, chars.len()]);
        at.sort_unstable();
        for pair in at.windows(2).filter(|pair| pair[0] < pair[1]) {
            let piece: String = chars[pair[0]..pair[1]].iter().collect();
            self.about(&format!("{kind}.delta"), id, index, "delta", piece.into());
        }
        self.about(&format!("{kind}.done"), id, index, "text", text.into());
        self.about(&format!("{part_kind}.done"), id, index, "part", part(text));
    }
}

/// The events of a stream, with `[DONE]` at the end.
fn stream(said: &Said) -> Vec<String> {
    let mut stream = Stream { name: said.name, events: Vec::new(), output: Vec::new() };
    let response = |status: &str, output: &[Value], usage: Value| {
        json!({"response": {"id": format!("resp_{}", said.name), "model": said.name, "created_at": said.name.len(),
            "status": status, "output": output, "usage": usage}})
    };
    stream.event("created", response("in_progress", &[], Value::Null));
    stream.event("in_progress", response("in_progress", &[], Value::Null));
    if let Some(reasoning) = &said.reasoning {
        let summary = |text: &str| json!({"type": "summary_text", "text": text});
        let parts = if reasoning.is_empty() { json!([]) } else { json!([summary(reasoning)]) };
        let item = |parts: Value| json!({"type": "reasoning", "summary": parts, "encrypted_content": said.name});
        stream.item("rs", item(json!([])), item(parts), |stream, id| {
            if !reasoning.is_empty() {
                let names = ["reasoning_summary_text", "reasoning_summary_part"];
                stream.text(id, "summary_index", names, summary, reasoning, &said.cuts);
            }
        });
    }
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
    let item = |status: &str, parts: Value| json!({"type": "message", "status": status, "role": "assistant", "content": parts});
    stream.item("msg", item("in_progress", json!([])), item("completed", json!([part(&said.text)])), |stream, id| {
        stream.text(id, "content_index", ["output_text", "content_part"], part, &said.text, &said.cuts);
    });
    if said.has_call {
        let call =
            |arguments: &str| json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments});
        stream.item("fc", call(""), call("{}"), |stream, id| {
            stream.about("function_call_arguments.delta", id, "n", "delta", "{}".into());
            stream.about("function_call_arguments.done", id, "n", "arguments", "{}".into());
        });
    }
    let usage = json!({"input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}});
    let output = stream.output.clone();
    stream.event("completed", response("completed", &output, usage));
    stream.events.push("data: [DONE]\n\n".to_owned());
    stream.events
}

/// What the client has, checked by the grammar.
#[derive(Debug, Default)]
struct Client {
    grammar: ResponseGrammar,
    text: String,
    reasoning: String,
    ids: Vec<String>,
    last: Value,
}

impl Client {
    fn read(&mut self, event: &[u8]) {
        let event = std::str::from_utf8(event).unwrap();
        let data = data(event).unwrap();
        if data == "[DONE]" {
            assert!(self.grammar.is_complete());
            return;
        }
        let name = event.strip_prefix("event: ").unwrap().lines().next().unwrap();
        self.grammar.event(name, &data).unwrap_or_else(|violation| panic!("{violation}: {data}"));
        let data: Value = serde_json::from_str(&data).unwrap();
        let delta = data["delta"].as_str().unwrap_or_default();
        match name {
            "response.output_text.delta" => self.text.push_str(delta),
            "response.reasoning_summary_text.delta" => self.reasoning.push_str(delta),
            _ => {}
        }
        self.ids.extend(data["response"]["id"].as_str().map(str::to_owned));
        self.last = data;
    }

    fn is_whole(&self) -> bool {
        self.grammar.is_complete()
    }
}

/// Cuts the first stream after `cut` events, and each later one.
fn run(first: &Said, cut: usize, others: &[(Said, usize)], keeps_text: bool) -> Client {
    let (mut client, mut delivered) = (Client::default(), DeliveredResponse::new(keeps_text, None));
    for event in stream(first).iter().take(cut) {
        delivered.record(event.as_bytes());
        client.read(event.as_bytes());
    }
    for (said, cut) in others {
        if !delivered.is_resumable() {
            break;
        }
        let mut replay =
            if keeps_text { ResponseReplay::continuing(delivered) } else { ResponseReplay::from_start(delivered) };
        for event in stream(said).into_iter().take(*cut) {
            match replay.event(&Bytes::from(event)) {
                Step::Skip => {}
                Step::Pass(events) => events.iter().for_each(|event| client.read(event)),
                Step::Differs => return client,
            }
        }
        delivered = replay.into_delivered();
    }
    client
}

fn texts() -> impl Strategy<Value = String> {
    // A small alphabet, so that texts agree for a while.
    proptest::collection::vec(prop_oneof![Just('a'), Just('"'), Just('\n'), Just('é'), Just('🦀')], 1..16)
        .prop_map(|chars| chars.into_iter().collect())
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..24_usize, 0..8)
}

proptest! {
    #[test]
    fn equal_responses_make_a_whole_one_however_they_are_cut(
        reasoning in proptest::option::of(texts()), text in texts(), has_call: bool,
        pieces in proptest::collection::vec((cuts(), 0..40_usize), 1..4), last in cuts(),
    ) {
        let say = |name, cuts: &[usize]| Said { reasoning: reasoning.clone(), has_call, ..said(name, &text, cuts) };
        // Up to the call, behind which no stream is resumed.
        let before_call = |said: &Said| stream(said).iter().position(|event| event.contains("function_call")).unwrap_or(usize::MAX);
        let first = say("first", &pieces[0].0);
        let cut = pieces[0].1.clamp(2, before_call(&first));
        let mut others: Vec<_> = pieces[1..].iter().map(|(cuts, cut)| {
            let said = say("later", cuts);
            let cut = (*cut).min(before_call(&said));
            (said, cut)
        }).collect();
        others.push((say("last", &last), usize::MAX));
        let client = run(&first, cut, &others, false);
        prop_assert!(client.is_whole(), "{:?}", client);
        prop_assert_eq!((&client.text, &client.reasoning), (&text, &reasoning.unwrap_or_default()));
        prop_assert!(client.ids.iter().all(|id| id == "resp_first"), "{:?}", client.ids);
    }

    #[test]
    fn different_responses_are_never_spliced(
        one in texts(), other in texts(), first in cuts(), second in cuts(), cut in 3..40_usize, again in 0..40_usize,
    ) {
        let had = run(&said("first", &one, &first), cut, &[], false).text;
        let client = run(&said("first", &one, &first), cut, &[(said("second", &other, &second), again)], false);
        if client.is_whole() {
            prop_assert!(client.text == one || client.text == other);
            prop_assert!(client.text.starts_with(&had));
        } else {
            prop_assert!(one.starts_with(&client.text) || other.starts_with(&client.text), "{:?}", client);
        }
        if !other.starts_with(&had) {
            prop_assert_eq!(client.text, had, "no part of the other response");
        }
    }

    #[test]
    fn reasoning_without_text_makes_no_difference(
        has_first: bool, has_second: bool, text in texts(), first in cuts(), second in cuts(), cut in 0..20_usize,
    ) {
        let say = |name, has: bool, cuts: &[usize]| Said { reasoning: has.then(String::new), ..said(name, &text, cuts) };
        let first = say("first", has_first, &first);
        // Behind the beginning of the message.
        let least = stream(&first).iter().position(|event| event.contains("content_part")).unwrap() + 1;
        let client = run(&first, least + cut, &[(say("second", has_second, &second), usize::MAX)], false);
        prop_assert!(client.is_whole(), "{client:?}");
        prop_assert_eq!(&client.text, &text);
    }

    #[test]
    fn a_prefix_is_continued_or_recognised(cuts in cuts(), cut in 5..7_usize, has_reasoning: bool) {
        let text = "It was a dark and stormy night; the rain fell in torrents.";
        let first = said("first", text, &[4, 9]);
        let had = run(&first, cut, &[], true).text;
        prop_assert!(!had.is_empty());
        let reasoning = has_reasoning.then(String::new);
        for next in [text, &text[had.len()..]] {
            let second = Said { reasoning: reasoning.clone(), ..said("second", next, &cuts) };
            let client = run(&first, cut, &[(second, usize::MAX)], true);
            prop_assert!(client.is_whole(), "{client:?}");
            prop_assert_eq!(&client.text, text);
            prop_assert_eq!(&client.last["response"]["output"][0]["content"][0]["text"], text);
        }
        let other = "It was a dull and quiet day; nothing fell from anywhere.";
        let client = run(&first, cut, &[(said("second", other, &cuts), usize::MAX)], true);
        prop_assert!(client.text.matches("It was").count() == 1, "{}", client.text);
    }

    #[test]
    fn accepts_random_events(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in texts(), picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let events = stream(&Said { reasoning: Some("hm".to_owned()), has_call: true, ..said("first", &text, &[3, 7]) });
        let mut delivered = DeliveredResponse::new(true, None);
        for pick in &picks {
            delivered.record(pick.get(&events).as_bytes());
        }
        delivered.record(&bytes);
        let mut delivered = DeliveredResponse::new(true, None);
        events.iter().take(9).for_each(|event| delivered.record(event.as_bytes()));
        let mut replay = ResponseReplay::continuing(delivered);
        for pick in &picks {
            replay.event(&Bytes::from(pick.get(&events).clone()));
        }
        replay.event(&Bytes::from([b"data: ", &bytes[..]].concat()));
    }
}

#[test]
fn what_cannot_be_compared_is_not_resumed() {
    let said = Said { has_call: true, ..said("first", "Hi", &[]) };
    let mut delivered = DeliveredResponse::new(false, None);
    for event in stream(&said) {
        let is_call = event.contains("function_call");
        delivered.record(event.as_bytes());
        if is_call {
            assert!(!delivered.is_resumable(), "{event}");
            break;
        }
        assert!(delivered.is_resumable(), "{event}");
    }
    let mut delivered = DeliveredResponse::new(false, None);
    let event = r#"{"type":"response.output_text.delta","output_index":0,"delta":"x","logprobs":[{"token":"x"}]}"#;
    delivered.record(format!("data: {event}\n\n").as_bytes());
    assert!(!delivered.is_resumable());
}

#[test]
fn counts_what_it_keeps() {
    let budget = crate::body::ByteBudget::new(3000);
    let mut delivered = DeliveredResponse::new(false, Some(budget.lease()));
    let events = stream(&said("first", &"x".repeat(1000), &[]));
    for event in events.iter().filter(|event| !event.contains("completed\"")) {
        delivered.record(event.as_bytes());
    }
    assert!(budget.used() >= 1000 || delivered.items[0].done.is_none(), "{}", budget.used());
    drop(delivered);
    let mut delivered = DeliveredResponse::new(false, Some(budget.lease()));
    stream(&said("first", &"x".repeat(4000), &[])).iter().for_each(|event| delivered.record(event.as_bytes()));
    assert!(!delivered.is_resumable(), "the budget has no room");
}
