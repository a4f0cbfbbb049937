//! Answers in Anthropic's format: streams keep to its grammar and say what plain answers say.

use crate::dialect::{
    chat::ResponseDecoder,
    codec::{DecodeResponse, EncodeResponse, StreamItem, WireError},
    hub,
    messages::{Block, Delta, Event, Response, ResponseEncoder, StopReason, Usage},
};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::wire::{cuts, read};

/// What an answer says, whatever its blocks are cut into.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    id: String,
    model: String,
    pub(crate) thinking: String,
    pub(crate) text: String,
    pub(crate) calls: Vec<(String, String, Value)>,
    stop_reason: Option<StopReason>,
    usage: Usage,
}

/// A stream's events.
pub(crate) fn events(bytes: &[u8]) -> Vec<Event> {
    let text = std::str::from_utf8(bytes).unwrap();
    let events = text.split_terminator("\n\n").map(|event| {
        let (name, data) = event.strip_prefix("event: ").and_then(|event| event.split_once("\ndata: ")).unwrap();
        let event: Event = serde_json::from_str(data).unwrap();
        assert_eq!(event.name(), name);
        event
    });
    events.collect()
}

/// Whether a stream ends as one that is whole.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    events(bytes).iter().any(|event| matches!(event, Event::MessageStop | Event::MessageDelta { .. }))
}

impl Told {
    pub(crate) fn plain(body: &[u8]) -> Self {
        Self::answer(serde_json::from_slice(body).unwrap())
    }

    fn answer(answer: Response) -> Self {
        assert_eq!(answer.kind, "message");
        let mut told = Self { id: answer.id, model: answer.model, ..Self::default() };
        (told.stop_reason, told.usage) = (answer.stop_reason, answer.usage);
        for block in answer.content {
            match block {
                Block::Text { text, .. } => told.text.push_str(&text),
                Block::Thinking { thinking, .. } => told.thinking.push_str(&thinking),
                Block::ToolUse { id, name, input, .. } => told.calls.push((id, name, input.into())),
                _ => {}
            }
        }
        told
    }

    /// A whole stream, put together as a client does it; its grammar is checked.
    pub(crate) fn stream(bytes: &[u8]) -> Self {
        let mut events = events(bytes).into_iter();
        let Some(Event::MessageStart { message: mut answer }) = events.next() else { panic!("no beginning") };
        let (mut open, mut json) = (false, String::new());
        loop {
            match events.next().expect("an end") {
                Event::ContentBlockStart { index, content_block } => {
                    assert!(!std::mem::replace(&mut open, true));
                    assert_eq!(index as usize, answer.content.len());
                    answer.content.push(content_block);
                }
                Event::ContentBlockDelta { index, delta } => {
                    assert!(open && index as usize == answer.content.len() - 1);
                    match (answer.content.last_mut().unwrap(), delta) {
                        (Block::Text { text, .. }, Delta::TextDelta { text: more }) => text.push_str(&more),
                        (Block::Thinking { thinking, .. }, Delta::ThinkingDelta { thinking: more }) => {
                            thinking.push_str(&more);
                        }
                        (Block::Thinking { signature, .. }, Delta::SignatureDelta { signature: more }) => {
                            signature.push_str(&more);
                        }
                        (Block::ToolUse { .. }, Delta::InputJsonDelta { partial_json }) => json.push_str(&partial_json),
                        (block, delta) => panic!("{delta:?} in {block:?}"),
                    }
                }
                Event::ContentBlockStop { index } => {
                    assert!(std::mem::take(&mut open) && index as usize == answer.content.len() - 1);
                    let json = std::mem::take(&mut json);
                    if let (Block::ToolUse { input, .. }, false) = (answer.content.last_mut().unwrap(), json.is_empty())
                    {
                        *input = serde_json::from_str(&json).unwrap();
                    }
                }
                Event::MessageDelta { delta, usage } => {
                    assert!(!open);
                    (answer.stop_reason, answer.usage) = (delta.stop_reason, usage);
                    break;
                }
                event => panic!("{event:?} in the midst"),
            }
        }
        assert_eq!(events.collect::<Vec<_>>(), [Event::MessageStop]);
        Self::answer(answer)
    }
}

/// What a provider of OpenAI's format says, in the order in which it says it.
#[derive(Clone, Debug)]
struct Said {
    thinking: Vec<String>,
    text: Vec<String>,
    refusal: Vec<String>,
    calls: Vec<(String, Value, Vec<Index>)>,
    finish: &'static str,
    usage: Option<[u16; 3]>,
    /// Whether the tokens are told with the last piece or after it, and whether `[DONE]` is.
    ending: (bool, bool),
}

fn said() -> impl Strategy<Value = Said> {
    let texts = || vec("(?s).{0,6}", 0..4);
    let input = vec(("[a-z]{1,3}", "(?s).{0,4}".prop_map(Value::from)), 0..3);
    let input = input.prop_map(|members| Value::Object(members.into_iter().collect()));
    let calls = vec(("weather|time", input, vec(any::<Index>(), 0..4)), 0..3);
    let finish = proptest::sample::select(&["stop", "length", "tool_calls", "content_filter", "something_new"][..]);
    (texts(), texts(), texts(), calls, finish, any::<Option<[u16; 3]>>(), any::<(bool, bool)>()).prop_map(
        |(thinking, text, refusal, calls, finish, usage, ending)| Said {
            thinking,
            text,
            refusal,
            calls,
            finish,
            usage,
            ending,
        },
    )
}

impl Said {
    fn usage(&self) -> Option<Value> {
        let [prompt, cached, completion] = self.usage?;
        Some(json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 0,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0}}))
    }

    fn plain(&self) -> Vec<u8> {
        let calls: Vec<_> = (0..)
            .zip(&self.calls)
            .map(|(at, (name, input, _)): (u32, _)| {
                json!({"id": format!("call.{at}"), "type": "function",
                       "function": {"name": name, "arguments": input.to_string()}})
            })
            .collect();
        let mut message = json!({"role": "assistant", "content": self.text.concat(), "refusal": self.refusal.concat(),
            "reasoning_content": self.thinking.concat()});
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        let mut answer = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt",
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish, "logprobs": null}]});
        if let Some(usage) = self.usage() {
            answer["usage"] = usage;
        }
        answer.to_string().into_bytes()
    }

    fn stream(&self) -> Vec<u8> {
        let mut deltas = vec![json!({"role": "assistant", "content": ""})];
        let told = [("reasoning_content", &self.thinking), ("content", &self.text), ("refusal", &self.refusal)];
        deltas.extend(told.iter().flat_map(|(name, texts)| texts.iter().map(move |text| json!({*name: text}))));
        for (at, (name, input, cuts)) in self.calls.iter().enumerate() {
            let begin = json!({"name": name, "arguments": ""});
            deltas.push(json!({"tool_calls": [{"index": at, "id": format!("call.{at}"), "type": "function", "function": begin}]}));
            let text = input.to_string();
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| places[cut.index(places.len())]).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                let function = json!({"arguments": &text[pair[0]..pair[1]]});
                deltas.push(json!({"tool_calls": [{"index": at, "function": function}]}));
            }
        }
        let choice = |delta, finish: Option<&str>| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        let mut choices: Vec<_> = deltas.into_iter().map(|delta| (choice(delta, None), None)).collect();
        let (with_last, has_done) = self.ending;
        let (last, after) = if with_last { (self.usage(), None) } else { (None, self.usage()) };
        choices.push((choice(json!({}), Some(self.finish)), last));
        choices.extend(after.map(|usage| (json!([]), Some(usage))));
        let mut text = String::new();
        for (choices, usage) in choices {
            let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt",
                "choices": choices, "usage": usage});
            text.push_str(&format!("data: {chunk}\n\n"));
        }
        if has_done {
            text.push_str("data: [DONE]\n\n");
        }
        text.into_bytes()
    }
}

pub(crate) fn written(items: Vec<StreamItem>) -> Vec<u8> {
    written_by(ResponseEncoder::default(), items)
}

pub(crate) fn written_by(mut writer: ResponseEncoder, items: Vec<StreamItem>) -> Vec<u8> {
    let mut out = Vec::new();
    items.into_iter().for_each(|item| writer.encode_item(item, &mut out));
    out
}

proptest! {
    #[test]
    fn stream_and_plain_response_agree(said in said(), cuts in cuts()) {
        let (items, malformed) = read(&mut ResponseDecoder::new(1, false), &said.stream(), &cuts);
        prop_assert_eq!(malformed, 0);
        let answer = ResponseDecoder::new(1, false).decode_response(&said.plain()).unwrap();
        prop_assert_eq!(Told::stream(&written(items)), Told::plain(&ResponseEncoder::default().encode_response(answer)));
    }

    #[test]
    fn cut_stream_is_never_complete(said in said(), cut in any::<Index>(), cuts in cuts()) {
        let whole = said.stream();
        let text = std::str::from_utf8(&whole).unwrap();
        // Up to the last byte of the reason's event.
        let finish = format!("\"finish_reason\":\"{}\"", said.finish);
        let finish = text.rfind(&finish).unwrap();
        let last = finish + text[finish..].find("}\n").unwrap();
        let (items, _) = read(&mut ResponseDecoder::new(1, false), &whole[..cut.index(last)], &cuts);
        prop_assert!(!items.contains(&StreamItem::Done));
        prop_assert!(!is_whole(&written(items)));
    }

    /// After an error, or after the end, a writer says no more; whatever the pieces are, it never panics, and
    /// it begins once.
    #[test]
    fn arbitrary_events_do_not_panic(said in said(), picks in vec(any::<Index>(), 0..30), fails in any::<bool>()) {
        let (items, _) = read(&mut ResponseDecoder::new(1, false), &said.stream(), &super::wire::Cuts::At(Vec::new()));
        let mut items: Vec<_> = picks.iter().map(|pick| items[pick.index(items.len())].clone()).collect();
        if fails {
            items.insert(items.len() / 2, StreamItem::Error(WireError::default()));
        }
        let told = events(&written(items));
        let is_end = |event: &Event| matches!(event, Event::MessageStop | Event::Error { .. });
        prop_assert!(told.iter().position(is_end).is_none_or(|at| at == told.len() - 1));
        let begins = told.iter().filter(|event| matches!(event, Event::MessageStart { .. })).count();
        prop_assert!(begins <= 1);
    }
}

#[test]
fn partial_tool_call_is_never_sent_as_complete() {
    let piece = |index: u32, id: Option<&str>, arguments: &str| {
        let call = json!({"index": index, "id": id, "function": {"name": id, "arguments": arguments}});
        let chunk = json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]});
        StreamItem::Chunk(serde_json::from_value::<hub::Chunk>(chunk).unwrap())
    };
    let half = [
        vec![piece(0, Some("a"), "{")],
        vec![piece(0, Some("a"), "{"), piece(1, Some("b"), "{}")],
        vec![piece(0, Some("a"), "{}"), piece(1, Some("b"), "{")],
    ];
    for mut items in half {
        items.push(StreamItem::Done);
        let told = written(items);
        assert!(!is_whole(&told));
        assert!(matches!(events(&told).last(), Some(Event::Error { .. })));
    }
    // Pieces of several calls may interleave.
    let told =
        written(vec![piece(0, Some("a"), "{"), piece(1, Some("b"), "{}"), piece(0, None, "}"), StreamItem::Done]);
    let calls = ["a", "b"].map(|id| (id.to_owned(), id.to_owned(), json!({})));
    assert_eq!(Told::stream(&told).calls, calls);
}
