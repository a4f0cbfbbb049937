//! Decodes streams of Anthropic's format.

use super::{
    Block, Delta as BlockDelta, Event, Response, StopReason, Usage,
    decode_response::{self, extra, finish},
};
use crate::dialect::{
    codec::{DecodeResponse, Malformed, StreamEnd, StreamItem, WireError},
    hub::{self, Chunk, ChunkChoice, Delta, FunctionDelta, FunctionKind, Role, Thought, ToolCallDelta},
    lenient,
    value::Value,
};

/// The most bytes kept of a response: reasoning, which is emitted again with its signatures, and text that waits.
/// Above it the signatures are dropped and the text is emitted.
const MOST_KEPT: usize = 1 << 20;

/// Decodes the response to one request.
#[derive(Debug)]
pub(crate) struct ResponseDecoder {
    json_tool: Option<Box<str>>,
    created: u64,
    id: String,
    model: String,
    usage: Usage,
    stop_reason: Option<StopReason>,
    /// The open blocks by their index.
    open: Vec<(u32, Open)>,
    /// The complete reasoning blocks. They are emitted together, with the last piece, since SDKs cannot join lists
    /// without indices.
    thoughts: Vec<Thought>,
    calls: u32,
    /// Whether text has been emitted.
    spoke: bool,
    /// Text that is emitted only if no JSON output comes.
    held: String,
    /// The number of bytes kept.
    kept: usize,
    /// Whether the JSON output has begun.
    json: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No event has been decoded.
    New,
    /// The message has begun.
    Begun,
    /// The stream is over.
    Over,
}

/// An event whose content cannot be read, or output of an unknown type.
const NOT_MESSAGES: Malformed = Malformed("an event that is none of Messages");

/// The types of events and pieces that this decoder reads.
const KNOWN: [&str; 12] = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "ping",
    "error",
    "text_delta",
    "input_json_delta",
    "thinking_delta",
    "signature_delta",
];

/// Whether an event or a piece that was not recognised is no object, or has a known type, so that its content is at
/// fault.
fn is_malformed(value: &Value) -> bool {
    match value {
        Value::Object(_) => value.get("type").and_then(Value::as_str).is_some_and(|name| KNOWN.contains(&name)),
        Value::Null => false,
        _ => true,
    }
}

/// Whether a piece of an unknown type has text, reasoning or the input of a call, which the caller would miss.
fn bears_output(piece: &Value) -> bool {
    let members = ["text", "thinking", "partial_json"];
    members.iter().any(|name| piece.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty()))
}

/// An open block.
#[derive(Debug)]
enum Open {
    Text,
    Thought {
        thinking: String,
        signature: String,
    },
    Call {
        number: u32,
        input: Input,
    },
    Json(Input),
    /// A block that is skipped.
    Passed,
}

/// A call's input: whole at the beginning of the block, or in pieces after it.
#[derive(Debug)]
struct Input {
    whole: Value,
    in_pieces: bool,
}

impl ResponseDecoder {
    pub(super) fn new(json_tool: Option<Box<str>>, created: u64) -> Self {
        Self {
            json_tool,
            created,
            id: String::new(),
            model: String::new(),
            usage: Usage::default(),
            stop_reason: None,
            open: Vec::new(),
            thoughts: Vec::new(),
            calls: 0,
            spoke: false,
            held: String::new(),
            kept: 0,
            json: false,
            state: State::New,
        }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>) -> Chunk {
        Chunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices,
            ..Chunk::default()
        }
    }

    fn give(&mut self, delta: Delta, out: &mut Vec<StreamItem>) {
        self.begin(out);
        out.push(StreamItem::Chunk(self.chunk(vec![ChunkChoice { delta, ..ChunkChoice::default() }])));
    }

    /// Emits the initial chunk, which carries `role: "assistant"`.
    fn begin(&mut self, out: &mut Vec<StreamItem>) {
        if self.state == State::New {
            self.state = State::Begun;
            self.give(Delta { role: Some(Role::Assistant), ..Delta::default() }, out);
        }
    }

    fn message_start(&mut self, message: Response, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        if self.state != State::New && message.id == self.id && !self.id.is_empty() {
            return Ok(());
        }
        if self.state != State::New {
            return Err(Malformed("a message that begins twice"));
        }
        (self.id, self.model, self.usage) = (message.id, message.model, message.usage);
        self.begin(out);
        Ok(())
    }

    fn block_start(&mut self, index: u32, block: Block, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        if self.open.iter().any(|(open, _)| *open == index) {
            return Err(Malformed("a block that begins twice"));
        }
        decode_response::check(&block)?;
        let open = match block {
            Block::Text { text, .. } => {
                self.text(text, out);
                Open::Text
            }
            Block::Thinking { thinking, signature } => {
                self.keep(thinking.len() + signature.len());
                self.reasoning(&thinking, out);
                Open::Thought { thinking, signature }
            }
            Block::RedactedThinking { data } => {
                self.keep(data.len());
                if self.has_room() {
                    self.thought(Thought::RedactedThinking { data }, out);
                }
                Open::Passed
            }
            Block::ToolUse { name, input, .. } if self.json_tool.as_deref() == Some(&name) => {
                // A second output would make the first invalid JSON, as would text that was emitted before it.
                if self.json || self.spoke {
                    Open::Passed
                } else {
                    self.json = true;
                    Open::Json(Input::new(input))
                }
            }
            Block::ToolUse { id, name, input, .. } => {
                let number = self.calls;
                self.calls += 1;
                let id = if id.is_empty() { format!("call_{}_{number}", self.id) } else { id };
                let function = FunctionDelta { name: Some(name), arguments: Some(String::new()) };
                let kind = Some(FunctionKind::Function);
                let call =
                    ToolCallDelta { index: number, id: Some(id), kind, function: Some(function), extra_content: None };
                self.give(Delta { tool_calls: Some(vec![call]), ..Delta::default() }, out);
                Open::Call { number, input: Input::new(input) }
            }
            Block::Image { .. } | Block::Document { .. } | Block::ToolResult { .. } | Block::Other(_) => Open::Passed,
        };
        self.open.push((index, open));
        Ok(())
    }

    fn block_delta(&mut self, index: u32, delta: BlockDelta, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        use BlockDelta::{InputJsonDelta, SignatureDelta, TextDelta, ThinkingDelta, Unknown};
        if let ThinkingDelta { thinking: more } | SignatureDelta { signature: more } = &delta {
            self.keep(more.len());
        }
        let has_room = self.has_room();
        let Some((_, open)) = self.open.iter_mut().find(|(open, _)| *open == index) else {
            return Err(Malformed("a piece of a block that has not begun"));
        };
        match (open, delta) {
            (_, Unknown(piece)) if is_malformed(&piece) || bears_output(&piece) => return Err(NOT_MESSAGES),
            (Open::Passed, TextDelta { text }) if !text.is_empty() => {
                return Err(Malformed("text in a block of an unknown type"));
            }
            (Open::Passed, _) | (_, Unknown(_)) => {}
            (Open::Text, TextDelta { text }) => self.text(text, out),
            (Open::Thought { thinking, .. }, ThinkingDelta { thinking: more }) => {
                if has_room {
                    thinking.push_str(&more);
                }
                self.reasoning(&more, out);
            }
            (Open::Thought { signature, .. }, SignatureDelta { signature: more }) => {
                if has_room {
                    signature.push_str(&more);
                }
            }
            (Open::Call { number, input }, InputJsonDelta { partial_json }) if !partial_json.is_empty() => {
                input.in_pieces = true;
                let number = *number;
                self.arguments(number, partial_json, out);
            }
            (Open::Json(input), InputJsonDelta { partial_json }) if !partial_json.is_empty() => {
                input.in_pieces = true;
                self.content(partial_json, out);
            }
            (Open::Call { .. } | Open::Json(_), InputJsonDelta { .. }) => {}
            _ => return Err(Malformed("a piece of another kind than its block")),
        }
        Ok(())
    }

    fn block_stop(&mut self, index: u32, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        let Some(at) = self.open.iter().position(|(open, _)| *open == index) else {
            return Err(Malformed("the end of a block that has not begun"));
        };
        let (_, open) = self.open.remove(at);
        self.close(open, out);
        Ok(())
    }

    fn close(&mut self, open: Open, out: &mut Vec<StreamItem>) {
        match open {
            Open::Thought { thinking, signature } => {
                if !signature.is_empty() && self.has_room() {
                    self.thought(Thought::Thinking { thinking, signature }, out);
                }
            }
            Open::Call { number, input } if !input.in_pieces => {
                self.arguments(number, decode_response::arguments(&input.whole), out);
            }
            Open::Json(input) if !input.in_pieces => self.content(decode_response::arguments(&input.whole), out),
            Open::Text | Open::Call { .. } | Open::Json(_) | Open::Passed => {}
        }
    }

    /// Emits a whole block of reasoning, and keeps it for the last piece.
    fn thought(&mut self, thought: Thought, out: &mut Vec<StreamItem>) {
        self.begin(out);
        self.thoughts.push(thought.clone());
        out.push(StreamItem::Thought(thought));
    }

    /// Emits text; where JSON output is expected, text waits until it is clear that none comes.
    fn text(&mut self, text: String, out: &mut Vec<StreamItem>) {
        match (&self.json_tool, self.json) {
            (None, _) => self.content(text, out),
            (Some(_), false) => {
                self.keep(text.len());
                self.held.push_str(&text);
                if !self.has_room() {
                    let held = std::mem::take(&mut self.held);
                    self.content(held, out);
                }
            }
            (Some(_), true) => {}
        }
    }

    /// Counts kept bytes; above the limit reasoning is dropped, since it is useful only as a whole.
    fn keep(&mut self, bytes: usize) {
        self.kept = self.kept.saturating_add(bytes);
        if !self.has_room() {
            self.thoughts.clear();
        }
    }

    fn has_room(&self) -> bool {
        self.kept <= MOST_KEPT
    }

    fn content(&mut self, content: String, out: &mut Vec<StreamItem>) {
        if !content.is_empty() {
            self.spoke = true;
            self.give(Delta { content: Some(content), ..Delta::default() }, out);
        }
    }

    fn reasoning(&mut self, thinking: &str, out: &mut Vec<StreamItem>) {
        if !thinking.is_empty() {
            self.give(Delta { reasoning_content: Some(thinking.to_owned()), ..Delta::default() }, out);
        }
    }

    fn arguments(&mut self, number: u32, arguments: String, out: &mut Vec<StreamItem>) {
        let function = FunctionDelta { name: None, arguments: Some(arguments) };
        let call = ToolCallDelta { index: number, function: Some(function), ..ToolCallDelta::default() };
        self.give(Delta { tool_calls: Some(vec![call]), ..Delta::default() }, out);
    }

    fn message_stop(&mut self, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        if self.state == State::New {
            return Err(Malformed("the end of a message that has not begun"));
        }
        // Without a reason, or within a call, the stream was cut.
        let is_within_call = self.open.iter().any(|(_, open)| matches!(open, Open::Call { .. } | Open::Json(_)));
        let Some(reason) = self.stop_reason.take().filter(|_| !is_within_call) else {
            self.state = State::Over;
            return Ok(());
        };
        // Some servers do not end the blocks.
        for (_, open) in std::mem::take(&mut self.open) {
            self.close(open, out);
        }
        if !self.json {
            let held = std::mem::take(&mut self.held);
            self.content(held, out);
        }
        let delta = Delta {
            // A plain response has a content too, though an empty one.
            content: (!self.spoke && self.calls == 0).then(String::new),
            extra_content: extra(std::mem::take(&mut self.thoughts)),
            ..Delta::default()
        };
        let finish_reason = Some(finish(Some(reason), self.calls as usize));
        let last = ChunkChoice { delta, finish_reason, ..ChunkChoice::default() };
        out.push(StreamItem::Chunk(self.chunk(vec![last])));
        out.push(StreamItem::Chunk(Chunk {
            usage: Some(decode_response::usage(&self.usage)),
            ..self.chunk(Vec::new())
        }));
        out.push(StreamItem::Done);
        self.state = State::Over;
        Ok(())
    }
}

impl Input {
    fn new(whole: Value) -> Self {
        Self { whole, in_pieces: false }
    }
}

impl DecodeResponse for ResponseDecoder {
    fn decode_response(&mut self, body: &[u8]) -> Result<hub::Response, Malformed> {
        let answer = serde_json::from_slice(body).map_err(|_| Malformed("a body that is no message"))?;
        decode_response::translate(answer, self.json_tool.as_deref(), self.created)
    }

    fn decode_event(&mut self, _name: &str, data: &str, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        if self.state == State::Over {
            return Ok(());
        }
        let Ok(event) = serde_json::from_str(data) else {
            lenient::unreadable(data, Malformed("an event that is none of Messages"), out)?;
            self.state = State::Over;
            return Ok(());
        };
        let read = match event {
            Event::MessageStart { message } => self.message_start(message, out),
            Event::ContentBlockStart { index, content_block } => self.block_start(index, content_block, out),
            Event::ContentBlockDelta { index, delta } => self.block_delta(index, delta, out),
            Event::ContentBlockStop { index } => self.block_stop(index, out),
            Event::MessageDelta { delta, usage } => {
                self.stop_reason = delta.stop_reason.or(self.stop_reason.take());
                add(&mut self.usage, &usage);
                Ok(())
            }
            Event::MessageStop => self.message_stop(out),
            Event::Error { error } => {
                self.state = State::Over;
                let kind = (!error.kind.is_empty()).then_some(error.kind);
                out.push(StreamItem::Error(WireError { kind, code: None, message: error.message }));
                Ok(())
            }
            Event::Unknown(event) if is_malformed(&event) || event.get("delta").is_some_and(bears_output) => {
                Err(NOT_MESSAGES)
            }
            Event::Ping | Event::Unknown(_) => Ok(()),
        };
        // A violation of the grammar may be a gap in the response.
        if let Err(wrong) = read {
            self.state = State::Over;
            out.push(lenient::broken(wrong));
        }
        Ok(())
    }

    fn usage(&self) -> Option<hub::Usage> {
        let is_told = self.usage.input_tokens.or(self.usage.output_tokens).is_some();
        is_told.then(|| decode_response::usage(&self.usage))
    }

    fn decode_end(&mut self, _end: StreamEnd, _out: &mut Vec<StreamItem>) {
        self.state = State::Over;
    }
}

/// Merges token counts; each is of the whole response so far.
fn add(usage: &mut Usage, told: &Usage) {
    // A count of 0 does not replace an earlier one.
    let newer = |old: &mut Option<u64>, new: Option<u64>| *old = new.filter(|new| *new > 0).or(*old).or(new);
    newer(&mut usage.input_tokens, told.input_tokens);
    newer(&mut usage.cache_creation_input_tokens, told.cache_creation_input_tokens);
    newer(&mut usage.cache_read_input_tokens, told.cache_read_input_tokens);
    newer(&mut usage.output_tokens, told.output_tokens);
}
