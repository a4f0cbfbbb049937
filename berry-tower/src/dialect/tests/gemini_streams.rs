//! Streams of Google's: what they say is what the plain answer says, and nothing makes a cut one whole.

use crate::dialect::{
    codec::{DecodeResponse, EncodeResponse, StreamItem},
    gemini, hub, messages,
    wire_format::EncodedRequest,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::{
    fold::{chunks, fold},
    messages_answers::{Told, is_whole, written},
    wire::{Cuts, cuts, read},
};

/// A part of a candidate; texts and thoughts come in pieces where they are streamed.
#[derive(Clone, Debug)]
enum Part {
    Text(Vec<String>),
    Thought(Vec<String>),
    Call(String, Value, bool, Option<String>),
    /// The thoughts behind a text, after it.
    Signature(String),
    /// One that no chat knows.
    Unknown,
}

#[derive(Clone, Debug)]
struct Said {
    candidates: Vec<(Vec<Part>, &'static str)>,
    usage: [u16; 5],
    order: Vec<u8>,
    has_id: bool,
}

const FINISHES: [&str; 6] = ["STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "SPII", "SOMETHING_NEW"];

fn part() -> impl Strategy<Value = Part> {
    let texts = || vec("(?s).{0,6}", 0..5);
    let input = vec(("[a-z]{1,3}", "(?s).{0,4}".prop_map(Value::from)), 0..3);
    let signature = || "[A-Za-z0-9+/=]{1,8}";
    prop_oneof![
        4 => texts().prop_map(Part::Text),
        2 => texts().prop_map(Part::Thought),
        4 => ("weather|time", input, any::<bool>(), proptest::option::of(signature()))
            .prop_map(|(name, input, id, signature)| Part::Call(name, Value::Object(input.into_iter().collect()), id, signature)),
        1 => signature().prop_map(Part::Signature),
        1 => Just(Part::Unknown),
    ]
}

fn said(candidates: std::ops::Range<usize>) -> impl Strategy<Value = Said> {
    let candidate = (vec(part(), 0..6), proptest::sample::select(&FINISHES[..]));
    (vec(candidate, candidates), any::<[u16; 5]>(), vec(any::<u8>(), 32), any::<bool>())
        .prop_map(|(candidates, usage, order, has_id)| Said { candidates, usage, order, has_id })
}

impl Part {
    fn plain(&self, at: usize) -> Value {
        match self {
            Self::Text(pieces) => json!({"text": pieces.concat()}),
            Self::Thought(pieces) => json!({"text": pieces.concat(), "thought": true}),
            Self::Call(name, args, has_id, signature) => {
                let mut part = json!({"functionCall": {"name": name, "args": args}});
                if *has_id {
                    part["functionCall"]["id"] = format!("id_{at}").into();
                }
                if let Some(signature) = signature {
                    part["thoughtSignature"] = signature.as_str().into();
                }
                part
            }
            Self::Signature(signature) => json!({"text": "", "thoughtSignature": signature}),
            Self::Unknown => json!({"executableCode": {"language": "PYTHON", "code": "1"}, "partMetadata": {"a": [1]}}),
        }
    }

    fn pieces(&self, at: usize) -> Vec<Value> {
        let (pieces, thought) = match self {
            Self::Text(pieces) => (pieces, false),
            Self::Thought(pieces) => (pieces, true),
            whole => return vec![whole.plain(at)],
        };
        let piece = |text| if thought { json!({"text": text, "thought": true}) } else { json!({"text": text}) };
        pieces.iter().map(piece).collect()
    }
}

impl Said {
    fn envelope(&self, candidates: &[Value], finished: bool) -> Value {
        let [prompt, cached, answer, thoughts, tool] = self.usage;
        let usage = json!({"promptTokenCount": prompt, "cachedContentTokenCount": cached, "totalTokenCount": 1,
            "candidatesTokenCount": if finished { answer } else { answer / 2 }, "thoughtsTokenCount": thoughts,
            "toolUsePromptTokenCount": tool, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}]});
        let mut envelope = json!({"candidates": candidates, "usageMetadata": usage, "modelVersion": "gemini-x"});
        if self.has_id {
            envelope["responseId"] = "r-1_".into();
        }
        envelope
    }

    fn plain(&self) -> Vec<u8> {
        let candidates = self.candidates.iter().enumerate().map(|(index, (parts, finish))| {
            let parts: Vec<_> = parts.iter().enumerate().map(|(at, part)| part.plain(at)).collect();
            let mut candidate = json!({"content": {"role": "model", "parts": parts}, "finishReason": finish});
            if index > 0 {
                candidate["index"] = index.into();
            }
            candidate
        });
        self.envelope(&candidates.collect::<Vec<_>>(), true).to_string().into_bytes()
    }

    fn stream(&self) -> Vec<u8> {
        let mut order = self.order.iter().copied().cycle();
        let mut waiting: Vec<_> = self
            .candidates
            .iter()
            .map(|(parts, _)| parts.iter().enumerate().flat_map(|(at, part)| part.pieces(at)).collect::<Vec<_>>())
            .map(Vec::into_iter)
            .enumerate()
            .collect();
        let mut text = String::new();
        while !waiting.is_empty() {
            let choice = usize::from(order.next().unwrap()) % waiting.len();
            let (index, parts) = &mut waiting[choice];
            let index = *index;
            let next: Vec<_> = parts.take(usize::from(order.next().unwrap()) % 3).collect();
            let mut candidate =
                json!({"content": {"role": "model", "parts": next}, "index": index, "avgLogprobs": 0.1});
            let over = parts.len() == 0;
            if over {
                candidate["finishReason"] = self.candidates[index].1.into();
                waiting.remove(choice);
            }
            let finished = waiting.is_empty();
            text.push_str(&format!("data: {}\r\n\r\n", self.envelope(&[candidate], finished)));
            match order.next().unwrap() % 8 {
                0 => text.push_str(": nothing\n\n"),
                1 if !finished => text.push_str("data: {\"somethingNew\": {\"a\": 1}}\n\n"),
                _ => {}
            }
        }
        text.into_bytes()
    }
}

fn reader(candidates: usize) -> Box<dyn DecodeResponse> {
    let question = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "n": candidates});
    let question = hub::Request::parse(question.to_string().as_bytes()).unwrap();
    gemini::GeminiRequest::from_hub(&question).unwrap().response_decoder(super::decoding(1_700_000_000))
}

proptest! {
    #[test]
    fn stream_and_plain_response_agree(said in said(1..4), cuts in cuts()) {
        let (items, malformed) = read(&mut *reader(said.candidates.len()), &said.stream(), &cuts);
        prop_assert_eq!(malformed, 0);
        prop_assert_eq!(items.iter().filter(|item| **item == StreamItem::Done).count(), 1);
        prop_assert_eq!(items.last(), Some(&StreamItem::Done));
        prop_assert_eq!(fold(chunks(&items)), reader(said.candidates.len()).decode_response(&said.plain()).unwrap());
    }

    #[test]
    fn messages_caller_gets_the_same_content(said in said(1..2), cuts in cuts()) {
        let (items, _) = read(&mut *reader(1), &said.stream(), &cuts);
        let plain = messages::ResponseEncoder::default().encode_response(reader(1).decode_response(&said.plain()).unwrap());
        prop_assert_eq!(Told::stream(&written(items)), Told::plain(&plain));
    }

    #[test]
    fn responses_caller_gets_the_same_content(said in said(1..2), cuts in cuts()) {
        let (items, _) = read(&mut *reader(1), &said.stream(), &cuts);
        let (events, is_whole) = super::responses::by_grammar(items);
        prop_assert!(is_whole);
        let plain = super::responses::plain(reader(1).decode_response(&said.plain()).unwrap());
        prop_assert_eq!(super::responses::said(&events.last().unwrap()["response"]), super::responses::said(&plain));
    }

    #[test]
    fn cut_stream_is_never_complete(said in said(1..4), cut in any::<Index>(), cuts in cuts()) {
        let whole = said.stream();
        // Up to the last byte of the last event's data.
        let last = whole.iter().rposition(|byte| *byte == b'}').unwrap();
        let (items, _) = read(&mut *reader(said.candidates.len()), &whole[..cut.index(last)], &cuts);
        prop_assert!(!items.contains(&StreamItem::Done));
        prop_assert!(!super::responses::by_grammar(items.clone()).1);
        prop_assert!(!is_whole(&written(items)));
    }

    #[test]
    fn sends_nothing_after_an_error(said in said(1..3), at in any::<Index>(), in_list in any::<bool>()) {
        let mut text = String::from_utf8(said.stream()).unwrap();
        let starts: Vec<usize> = text.match_indices("data: ").map(|(at, _)| at).collect();
        let error = json!({"error": {"code": 503, "message": "Busy", "status": "UNAVAILABLE", "details": []}});
        let error = if in_list { json!([error]) } else { error };
        text.insert_str(starts[at.index(starts.len())], &format!("data: {error}\n\n"));
        let (items, _) = read(&mut *reader(said.candidates.len()), text.as_bytes(), &Cuts::At(Vec::new()));
        let Some(StreamItem::Error(error)) = items.last() else { panic!("no error at the end: {items:?}") };
        prop_assert_eq!((error.kind.as_deref(), error.code.as_deref(), &*error.message), (Some("UNAVAILABLE"), Some("503"), "Busy"));
        prop_assert!(!items.contains(&StreamItem::Done));
    }

    #[test]
    fn arbitrary_events_do_not_panic(said in said(1..4), picks in vec(any::<Index>(), 0..20), garbage in ".{0,40}") {
        let text = String::from_utf8(said.stream()).unwrap();
        let mut events: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        events.extend([&*garbage, "[]", "{}", "[{\"candidates\":[{\"index\":9}]}]", "{\"candidates\":[{\"index\":-1}]}"]);
        let mut reader = reader(said.candidates.len());
        let mut items = Vec::new();
        for data in picks.iter().map(|pick| events[pick.index(events.len())]) {
            let _ = reader.decode_event("", data, &mut items);
        }
        reader.decode_end(crate::dialect::codec::StreamEnd::Clean, &mut items);
        reader.decode_end(crate::dialect::codec::StreamEnd::Clean, &mut items);
        prop_assert!(items.iter().position(|item| *item == StreamItem::Done).is_none_or(|at| at == items.len() - 1));
        let _ = reader.decode_response(garbage.as_bytes());
    }
}
