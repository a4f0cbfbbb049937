//! Whatever the responses and their chunks, the client gets one response or a part of one.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::resume::transcript::MAX_TEXT;

/// Returns a stream of this text, split into chunks at `cuts` (in characters), with a preamble.
fn stream(id: &str, text: &str, cuts: &[usize], with_role: bool) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (chars.len() + 1)).collect();
    at.extend([0, chars.len()]);
    at.sort_unstable();
    let event = |delta: Value, finish: Value| {
        let chunk =
            json!({ "id": id, "model": id, "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] });
        format!("data: {chunk}\n\n")
    };
    let mut events = vec![event(json!({ "role": "assistant", "content": "" }), Value::Null)];
    for part in at.windows(2) {
        let content: String = chars[part[0]..part[1]].iter().collect();
        let delta =
            if with_role { json!({ "role": "assistant", "content": content }) } else { json!({ "content": content }) };
        events.push(event(delta, Value::Null));
    }
    events.push(event(json!({}), json!("stop")));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// What the client has: the text, whether there was a `[DONE]`, and the ids of the chunks.
#[derive(Debug, Default)]
struct Client {
    text: String,
    done: bool,
    ids: Vec<String>,
}

impl Client {
    fn read(&mut self, event: &[u8]) {
        let data = data(std::str::from_utf8(event).unwrap()).unwrap();
        if data == DONE {
            self.done = true;
            return;
        }
        let chunk: Value = serde_json::from_str(&data).unwrap();
        self.ids.push(chunk["id"].as_str().unwrap().to_owned());
        self.text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
    }
}

/// Cuts the first response after `cut` events, and each later one; returns whether the stream ended
/// well.
fn run(first: &[String], cut: usize, others: &[(Vec<String>, usize)]) -> (Client, bool) {
    let (mut client, mut delivered) = (Client::default(), DeliveredTranscript::new(false, None));
    for event in first.iter().take(cut) {
        delivered.record(event.as_bytes());
        client.read(event.as_bytes());
    }
    for (events, cut) in others {
        if !delivered.is_resumable() {
            break;
        }
        let mut replay = Replay::from_start(delivered);
        for event in events.iter().take(*cut) {
            match replay.event(&Bytes::from(event.clone())) {
                Step::Skip => {}
                Step::Pass(events) => events.iter().for_each(|event| client.read(event)),
                Step::Differs => return (client, false),
            }
        }
        delivered = replay.into_delivered();
    }
    let whole = delivered.finished;
    (client, whole)
}

fn texts() -> impl Strategy<Value = String> {
    // A small alphabet, so that texts agree for a while, with characters that JSON escapes or that
    // take several bytes.
    proptest::collection::vec(prop_oneof![Just('a'), Just('"'), Just('\n'), Just('é'), Just('🦀')], 0..24)
        .prop_map(|chars| chars.into_iter().collect())
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..24_usize, 0..8)
}

proptest! {
    #[test]
    fn equal_responses_make_a_whole_one_however_they_are_cut(
        text in texts(), pieces in proptest::collection::vec((cuts(), 0..40_usize, any::<bool>()), 1..4), last in cuts(),
    ) {
        let (first, first_cut, role) = &pieces[0];
        let mut others: Vec<_> =
            pieces[1..].iter().enumerate().map(|(i, (cuts, cut, role))| (stream(&format!("{i}"), &text, cuts, *role), *cut)).collect();
        others.push((stream("last", &text, &last, false), usize::MAX));
        let (client, whole) = run(&stream("first", &text, first, *role), *first_cut, &others);
        prop_assert!(whole);
        prop_assert_eq!(&client.text, &text);
        if *first_cut > 0 {
            prop_assert!(client.ids.iter().all(|id| id == "first"), "{:?}", client.ids);
        }
    }

    #[test]
    fn different_responses_are_never_spliced(
        one in texts(), other in texts(), first in cuts(), second in cuts(), cut in 0..40_usize, again in 0..40_usize,
    ) {
        let events = stream("first", &one, &first, false);
        let (had, _) = run(&events, cut, &[]);
        let (client, whole) = run(&events, cut, &[(stream("second", &other, &second, true), again)]);
        if whole {
            prop_assert!(client.text == one || client.text == other);
            prop_assert!(client.text.starts_with(&had.text));
        } else {
            prop_assert!(!client.done);
            prop_assert!(one.starts_with(&client.text) || other.starts_with(&client.text), "{:?}", client);
        }
        if !other.starts_with(&had.text) {
            prop_assert_eq!(client.text, had.text, "no part of the other response");
        }
    }

    #[test]
    fn accepts_random_events(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in texts()) {
        let mut delivered = DeliveredTranscript::new(true, None);
        for event in stream("first", &text, &[3, 7], false).iter().take(3) {
            delivered.record(event.as_bytes());
        }
        let mut replay = Replay::from_start(delivered.clone());
        replay.event(&Bytes::from(bytes.clone()));
        let mut data = b"data: ".to_vec();
        data.extend(&bytes);
        replay.event(&Bytes::from(data));
        delivered.record(&bytes);
    }
}

#[test]
fn reasoning_is_compared_and_is_no_prefix() {
    let event =
        |delta: Value| format!("data: {}\n\n", json!({ "id": "x", "choices": [{ "index": 0, "delta": delta }] }));
    let mut delivered = DeliveredTranscript::new(true, None);
    delivered.record(event(json!({ "reasoning_content": "hm" })).as_bytes());
    delivered.record(event(json!({ "content": "a" })).as_bytes());
    assert!(delivered.is_resumable() && delivered.prefix().is_none());
    // The same text in another channel is a different response.
    let mut replay = Replay::from_start(delivered.clone());
    assert_eq!(replay.event(&event(json!({ "content": "hma" })).into()), Step::Skip);
    assert_eq!(replay.event(&event(json!({ "content": "and more" })).into()), Step::Differs);
    let mut replay = Replay::from_start(delivered);
    assert_eq!(replay.event(&event(json!({ "reasoning_content": "h" })).into()), Step::Skip);
    let step = replay.event(&event(json!({ "reasoning_content": "m", "content": "ab" })).into());
    assert_eq!(step, Step::Pass(vec![event(json!({ "reasoning_content": "", "content": "b" })).into()]));
}

#[test]
fn tool_call_is_not_resumed() {
    let mut delivered = DeliveredTranscript::new(true, None);
    delivered.record(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n");
    assert!(!delivered.is_resumable());
}

#[test]
fn passes_continuation_of_prefix_on() {
    let events = stream("first", "Hello you", &[5], false);
    let mut delivered = DeliveredTranscript::new(true, None);
    events[..2].iter().for_each(|event| delivered.record(event.as_bytes()));
    assert_eq!(delivered.prefix(), Some("Hello"));
    let mut replay = Replay::continuing(delivered);
    let mut client = Client::default();
    for event in stream("second", " there", &[], false) {
        if let Step::Pass(events) = replay.event(&event.into()) {
            events.iter().for_each(|event| client.read(event));
        }
    }
    assert!(client.done && client.text == " there" && client.ids.iter().all(|id| id == "first"));
    assert_eq!(replay.into_delivered().prefix(), Some("Hello there"));
}

/// Returns what the client has when a backend that was given a prefix sends `next`.
fn after_prefix(text: &str, cut: usize, next: &str, cuts: &[usize]) -> (Client, bool) {
    let (mut client, mut delivered) = (Client::default(), DeliveredTranscript::new(true, None));
    for event in stream("first", text, &[4, 9], false).iter().take(cut) {
        delivered.record(event.as_bytes());
        client.read(event.as_bytes());
    }
    let mut replay = Replay::continuing(delivered);
    for event in stream("second", next, cuts, false) {
        match replay.event(&event.into()) {
            Step::Skip => {}
            Step::Pass(events) => events.iter().for_each(|event| client.read(event)),
            Step::Differs => return (client, false),
        }
    }
    (client, replay.is_over())
}

proptest! {
    #[test]
    fn detects_backend_that_starts_over_despite_prefix(cuts in cuts(), cut in 2..4_usize) {
        let text = "It was a dark and stormy night; the rain fell in torrents.";
        let had = ["It w", "It was a "][cut - 2];
        let (client, whole) = after_prefix(text, cut, text, &cuts);
        prop_assert_eq!((client.text.as_str(), whole), (text, true), "the same response from its start");
        let (client, whole) = after_prefix(text, cut, &text[had.len()..], &cuts);
        prop_assert_eq!((client.text.as_str(), whole), (text, true), "a continuation");
        let (client, whole) = after_prefix(text, cut, "It was a dull and quiet day; nothing fell from anywhere.", &cuts);
        let spliced = client.text.matches("It was").count() > 1;
        prop_assert!(!spliced, "{}", client.text);
        prop_assert!(!whole || client.text.starts_with("It was a dull"));
    }
}

#[test]
fn text_after_finish_reason_reopens_the_response() {
    let event = |text: &str, finish: &str| {
        format!(r#"data: {{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{finish}}}]}}"#)
            + "\n\n"
    };
    let mut delivered = DeliveredTranscript::new(false, None);
    delivered.record(event("one", r#""stop""#).as_bytes());
    assert!(!delivered.is_resumable(), "finished");
    delivered.record(event(" two", "null").as_bytes());
    assert!(delivered.is_resumable(), "continued");
}

#[test]
fn keeps_a_bounded_text_for_a_prefix() {
    let event =
        |bytes: usize| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(bytes));
    let budget = crate::body::ByteBudget::new(4 * MAX_TEXT);
    let mut delivered = DeliveredTranscript::new(true, Some(budget.lease()));
    delivered.record(event(MAX_TEXT - 10).as_bytes());
    assert_eq!(delivered.prefix().map(str::len), Some(MAX_TEXT - 10));
    assert!(budget.used() >= MAX_TEXT - 10);
    delivered.record(event(11).as_bytes());
    assert!(delivered.prefix().is_none() && delivered.is_resumable(), "it is compared from the beginning");
    assert_eq!(budget.used(), 0);

    let small = crate::body::ByteBudget::new(1000);
    let mut delivered = DeliveredTranscript::new(true, Some(small.lease()));
    delivered.record(event(2000).as_bytes());
    assert!(delivered.prefix().is_none() && delivered.is_resumable(), "the budget has no room");
}
