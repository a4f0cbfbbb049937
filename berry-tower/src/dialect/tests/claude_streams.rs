//! Streams of Anthropic's: what they say is what the plain answer says, and nothing makes a cut one whole.

use crate::dialect::{
    codec::{DecodeResponse, EncodeResponse, StreamItem},
    hub::{self, Response},
    messages::{self, ResponseEncoder},
    wire_format::EncodedRequest,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::{
    fold::{chunks, fold},
    messages_answers::{Told, written},
    wire::{Cuts, cuts, read},
};

/// A block: what a plain answer has of it, and the pieces that a stream gives it in.
#[derive(Clone, Debug)]
enum Block {
    Text(Vec<String>),
    Thinking(Vec<String>, String),
    Redacted(String),
    /// A call, and whether a stream gives the input with its beginning.
    Call(String, Value, bool, Vec<Index>),
    /// One that no chat knows.
    Unknown,
}

#[derive(Clone, Debug)]
struct Said {
    blocks: Vec<Block>,
    stop: Option<&'static str>,
    usage: [u64; 4],
    /// What decides the order of blocks' events, and what comes between them.
    order: Vec<u8>,
    line_end: &'static str,
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec("(?s).{0,6}", 0..5)
}

fn input() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "(?s).{0,6}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("[a-z]{1,3}", inner), 0..3).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    vec(("[a-z]{1,3}", value), 0..4).prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// `json` says whether calls of the tool for JSON answers are among the blocks.
fn block(json: bool) -> impl Strategy<Value = Block> {
    let name = if json { "json_answer|weather" } else { "weather|time" };
    prop_oneof![
        4 => texts().prop_map(Block::Text),
        2 => (texts(), "[A-Za-z0-9+/=]{0,8}").prop_map(|(texts, signature)| Block::Thinking(texts, signature)),
        1 => "[A-Za-z0-9]{1,8}".prop_map(Block::Redacted),
        4 => (name, input(), any::<bool>(), vec(any::<Index>(), 0..4))
            .prop_map(|(name, input, whole, cuts)| Block::Call(name, input, whole, cuts)),
        1 => Just(Block::Unknown),
    ]
}

fn said(json: bool) -> impl Strategy<Value = Said> {
    let stop = prop_oneof![
        Just(Some("end_turn")),
        Just(Some("stop_sequence")),
        Just(Some("max_tokens")),
        Just(Some("tool_use")),
        Just(Some("refusal")),
        Just(Some("pause_turn")),
        Just(Some("something_new")),
    ];
    let line_end = prop_oneof![Just("\n"), Just("\r\n")];
    (vec(block(json), 0..6), stop, any::<[u16; 4]>(), vec(any::<u8>(), 64), line_end).prop_map(
        |(blocks, stop, usage, order, line_end)| Said { blocks, stop, usage: usage.map(u64::from), order, line_end },
    )
}

impl Block {
    fn plain(&self, index: usize) -> Value {
        match self {
            Self::Text(pieces) => json!({"type": "text", "text": pieces.concat(), "citations": null}),
            Self::Thinking(pieces, signature) => {
                json!({"type": "thinking", "thinking": pieces.concat(), "signature": signature})
            }
            Self::Redacted(data) => json!({"type": "redacted_thinking", "data": data}),
            Self::Call(name, input, ..) => {
                json!({"type": "tool_use", "id": format!("toolu_{index}"), "name": name, "input": input})
            }
            Self::Unknown => json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}),
        }
    }

    /// Of blocks of one kind a stream has only one at a time.
    fn kind(&self) -> u8 {
        match self {
            Self::Text(_) => 0,
            Self::Thinking(..) | Self::Redacted(_) => 1,
            Self::Call(..) => 2,
            Self::Unknown => 3,
        }
    }

    /// The block's events, from its beginning to its end.
    fn events(&self, index: usize) -> Vec<Value> {
        let mut begin = self.plain(index);
        let deltas: Vec<Value> = match self {
            Self::Text(pieces) => {
                begin["text"] = "".into();
                pieces.iter().map(|text| json!({"type": "text_delta", "text": text})).collect()
            }
            Self::Thinking(pieces, signature) => {
                (begin["thinking"], begin["signature"]) = ("".into(), "".into());
                let thoughts = pieces.iter().map(|text| json!({"type": "thinking_delta", "thinking": text}));
                thoughts.chain([json!({"type": "signature_delta", "signature": signature})]).collect()
            }
            Self::Call(_, input, false, cuts) => {
                begin["input"] = json!({});
                let text = input.to_string();
                let pieces = pieces(&text, cuts);
                let pieces = [""].into_iter().chain(if text == "{}" { Vec::new() } else { pieces });
                pieces.map(|piece| json!({"type": "input_json_delta", "partial_json": piece})).collect()
            }
            Self::Unknown => vec![json!({"type": "input_json_delta", "partial_json": "{}"})],
            Self::Redacted(_) | Self::Call(..) => Vec::new(),
        };
        let deltas = deltas.into_iter().map(|delta| json!({"type": "content_block_delta", "delta": delta}));
        let mut events: Vec<_> = [json!({"type": "content_block_start", "content_block": begin})]
            .into_iter()
            .chain(deltas)
            .chain([json!({"type": "content_block_stop"})])
            .collect();
        for event in &mut events {
            event["index"] = index.into();
        }
        events
    }
}

/// A text in pieces, cut between characters.
fn pieces<'a>(text: &'a str, cuts: &[Index]) -> Vec<&'a str> {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let mut at: Vec<usize> = cuts.iter().map(|cut| places[cut.index(places.len())]).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

impl Said {
    fn usage(&self) -> Value {
        let [input_tokens, creation, read, output] = self.usage;
        json!({"input_tokens": input_tokens, "cache_creation_input_tokens": creation,
               "cache_read_input_tokens": read, "output_tokens": output})
    }

    fn message(&self) -> Value {
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [],
               "stop_reason": null, "stop_sequence": null, "usage": self.usage()})
    }

    fn plain(&self) -> Vec<u8> {
        let mut message = self.message();
        message["content"] = self.blocks.iter().enumerate().map(|(i, block)| block.plain(i)).collect();
        message["stop_reason"] = self.stop.into();
        message.to_string().into_bytes()
    }

    /// The blocks' events: each block's in order, those of different kinds mixed.
    fn mixed(&self, order: &mut impl Iterator<Item = u8>) -> Vec<Value> {
        let mut waiting: Vec<_> = self.blocks.iter().enumerate().rev().collect();
        let mut running: Vec<(u8, std::vec::IntoIter<Value>)> = Vec::new();
        let mut events = Vec::new();
        while !waiting.is_empty() || !running.is_empty() {
            let next = waiting.last().filter(|(_, block)| running.iter().all(|(kind, _)| *kind != block.kind()));
            let choice = usize::from(order.next().unwrap_or_default()) % (running.len() + usize::from(next.is_some()));
            match running.get_mut(choice) {
                None => {
                    let (index, block) = waiting.pop().unwrap();
                    let mut block_events = block.events(index).into_iter();
                    events.extend(block_events.next());
                    running.push((block.kind(), block_events));
                }
                Some((_, block_events)) => {
                    events.extend(block_events.next());
                    if block_events.len() == 0 {
                        running.remove(choice);
                    }
                }
            }
        }
        events
    }

    fn stream(&self) -> Vec<u8> {
        let mut order = self.order.iter().copied();
        let mut first = self.message();
        // A later 0 does not take back a positive count.
        first["usage"]["output_tokens"] = self.usage[3].min(1).into();
        let mut events = vec![json!({"type": "message_start", "message": first})];
        events.extend(self.mixed(&mut order));
        let delta = |reason: Option<&str>, usage| json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": usage});
        if order.next().unwrap_or_default() % 2 == 0 {
            events.push(delta(None, json!({"output_tokens": self.usage[3] / 2})));
        }
        events.push(delta(self.stop, json!({"output_tokens": self.usage[3]})));
        let mut text = String::new();
        for event in &events {
            self.write(event, &mut text);
            match order.next().unwrap_or_default() % 8 {
                0 => self.write(&json!({"type": "ping"}), &mut text),
                1 => self.write(&json!({"type": "content_block_glow", "index": 0, "glow": {"a": [1]}}), &mut text),
                2 => text.push_str(&format!(": nothing{0}{0}", self.line_end)),
                _ => {}
            }
        }
        self.write(&json!({"type": "message_stop"}), &mut text);
        text.into_bytes()
    }

    fn write(&self, event: &Value, text: &mut String) {
        let end = self.line_end;
        text.push_str(&format!("event: {}{end}data: {event}{end}{end}", event["type"].as_str().unwrap()));
    }
}

/// What reads the answers to a question, with a JSON answer wanted or not.
fn reader(json: bool) -> Box<dyn DecodeResponse> {
    let tool = |name| json!({"type": "function", "function": {"name": name}});
    let mut question = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}],
                              "tools": [tool("weather"), tool("time")]});
    if json {
        question["response_format"] = json!({"type": "json_object"});
    }
    let question = hub::Request::parse(question.to_string().as_bytes()).unwrap();
    messages::MessagesRequest::from_hub(&question).unwrap().response_decoder(super::decoding(1_700_000_000))
}

fn answer(said: &Said, json: bool) -> Response {
    reader(json).decode_response(&said.plain()).unwrap()
}

fn assert_same(said: &Said, json: bool, cuts: &Cuts) {
    let (items, malformed) = read(&mut *reader(json), &said.stream(), cuts);
    assert_eq!(malformed, 0);
    assert_eq!(items.iter().filter(|item| **item == StreamItem::Done).count(), 1);
    assert_eq!(items.last(), Some(&StreamItem::Done));
    let answer = answer(said, json);
    let last: Vec<_> =
        chunks(&items).map(|chunk| chunk.choices.first().and_then(|c| c.finish_reason.clone())).collect();
    assert_eq!(last[last.len() - 2..], [answer.choices[0].finish_reason.clone(), None]);
    assert_eq!(fold(chunks(&items)), answer);
}

proptest! {
    #[test]
    fn stream_and_plain_response_agree(said in said(false), cuts in cuts()) {
        assert_same(&said, false, &cuts);
    }

    #[test]
    fn structured_output_is_unwrapped_alike(said in said(true), cuts in cuts()) {
        assert_same(&said, true, &cuts);
    }

    /// Anthropic's answers in Anthropic's format again say what they said.
    #[test]
    fn messages_caller_gets_the_same_content(said in said(false), cuts in cuts()) {
        let (items, _) = read(&mut *reader(false), &said.stream(), &cuts);
        let told = Told::plain(&ResponseEncoder::default().encode_response(answer(&said, false)));
        prop_assert_eq!(&Told::stream(&written(items)), &told);
        let first = Told::plain(&said.plain());
        prop_assert_eq!((told.thinking, told.text, told.calls), (first.thinking, first.text, first.calls));
    }

    /// Every event is by the grammar, and the caller of Responses is told the same.
    #[test]
    fn responses_caller_gets_the_same_content(said in said(false), cuts in cuts()) {
        let (items, _) = read(&mut *reader(false), &said.stream(), &cuts);
        let (events, is_whole) = super::responses::by_grammar(items);
        prop_assert!(is_whole);
        let plain = super::responses::plain(answer(&said, false));
        prop_assert_eq!(&events.last().unwrap()["response"]["usage"], &plain["usage"]);
        prop_assert_eq!(super::responses::said(&events.last().unwrap()["response"]), super::responses::said(&plain));
    }

    #[test]
    fn cut_stream_is_never_complete(said in said(false), cut in any::<Index>(), cuts in cuts()) {
        let whole = said.stream();
        // Up to the last byte of the last event's data.
        let cut = cut.index(whole.iter().rposition(|byte| *byte == b'}').unwrap());
        let (items, _) = read(&mut *reader(false), &whole[..cut], &cuts);
        let (all, _) = read(&mut *reader(false), &whole, &cuts);
        prop_assert!(!items.contains(&StreamItem::Done));
        prop_assert!(!super::responses::by_grammar(items.clone()).1);
        prop_assert!(chunks(&items).all(|chunk| chunk.choices.iter().all(|choice| choice.finish_reason.is_none())));
        prop_assert_eq!(&items[..], &all[..items.len()]);
    }

    #[test]
    fn sends_nothing_after_an_error(said in said(false), at in any::<Index>(), cuts in cuts()) {
        let mut text = String::from_utf8(said.stream()).unwrap();
        let ends: Vec<usize> = text.match_indices("event: ").map(|(at, _)| at).collect();
        let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
        let mut event = String::new();
        said.write(&error, &mut event);
        text.insert_str(ends[at.index(ends.len())], &event);
        let (items, _) = read(&mut *reader(false), text.as_bytes(), &cuts);
        let Some(StreamItem::Error(error)) = items.last() else { panic!("no error at the end: {items:?}") };
        prop_assert_eq!((error.kind.as_deref(), &*error.message), (Some("overloaded_error"), "Overloaded"));
        prop_assert!(!items.contains(&StreamItem::Done));
    }

    /// Events that are left out, doubled or out of order: never a panic, and the end comes once, last, and
    /// only after a `message_stop`.
    #[test]
    fn arbitrary_events_do_not_panic(said in said(true), picks in vec(any::<Index>(), 0..20), garbage in ".{0,40}") {
        let text = String::from_utf8(said.stream()).unwrap();
        let mut events: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        events.push(&garbage);
        let mut reader = reader(true);
        let (mut items, mut stopped) = (Vec::new(), false);
        for data in picks.iter().map(|pick| events[pick.index(events.len())]) {
            let _ = reader.decode_event("", data, &mut items);
            stopped |= data.contains("message_stop");
        }
        reader.decode_end(crate::dialect::codec::StreamEnd::Clean, &mut items);
        let done = items.iter().position(|item| *item == StreamItem::Done);
        prop_assert!(done.is_none_or(|at| stopped && at == items.len() - 1));
        let _ = reader.decode_response(garbage.as_bytes());
    }
}
