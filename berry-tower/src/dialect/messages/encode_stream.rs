//! Encodes streams in Anthropic's format.

use super::{Block, Delta, Event, MessageDelta, Other, StopReason, encode_response, foreign_thinking};
use crate::dialect::{
    codec::{EncodeResponse, StreamItem, WireError},
    hub,
    responses::envelope::Seal,
    value::Value,
};

/// The most text that is held back while a call is being written, in bytes.
const MOST_HELD: usize = 1 << 20;

/// The most arguments of tool calls, in bytes.
const MOST_ARGUMENTS: usize = 16 << 20;

/// The most calls in one response.
const MOST_CALLS: usize = 128;

/// Encodes responses in Anthropic's format.
///
/// The blocks of a stream follow each other: reasoning, texts and calls in the order in which they come. Text that
/// comes within a call follows it. Reasoning that Anthropic did not sign is marked. The stop reason is emitted at
/// [`StreamItem::Done`], when the token counts are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponseEncoder {
    has_begun: bool,
    /// The response's id.
    id: String,
    is_over: bool,
    /// The open block.
    open: Option<Open>,
    /// The number of blocks so far.
    blocks: u32,
    /// The tool calls, by their numbers.
    calls: Vec<Call>,
    /// The total length of their arguments in bytes.
    kept_bytes: usize,
    /// The length of the reasoning emitted without a signature, in bytes.
    unsigned: usize,
    /// The pieces that wait for the open call to end.
    held: Vec<Piece>,
    /// Their total length in bytes.
    held_bytes: usize,
    finish: Option<hub::FinishReason>,
    usage: Option<hub::Usage>,
    /// What binds signatures of Google's to the backend.
    seal: Option<Seal>,
}

impl ResponseEncoder {
    /// An encoder of a backend's response, which has the backend's seal.
    pub(crate) fn new(seal: Option<Seal>) -> Self {
        Self { seal, ..Self::default() }
    }
}

/// A piece of text or reasoning.
#[derive(Clone, Debug)]
enum Piece {
    Thinking(String),
    Text(String),
    Signed(hub::Thought),
}

/// A tool call. Pieces of several calls may interleave, but blocks follow each other: a call waits while an
/// incomplete one is open.
#[derive(Clone, Debug, Default)]
struct Call {
    id: String,
    name: String,
    /// The arguments so far.
    arguments: String,
    extra_content: Option<hub::ExtraContent>,
    state: CallState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CallState {
    #[default]
    Waiting,
    Open,
    Closed,
}

impl Call {
    /// Whether the arguments are a whole JSON object, so that no piece is to be expected.
    fn is_complete(&self) -> bool {
        let text = self.arguments.trim_end();
        text.ends_with('}') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    }

    /// Whether the arguments end too early.
    fn is_cut(&self) -> bool {
        !self.arguments.trim().is_empty() && serde_json::from_str::<serde::de::IgnoredAny>(&self.arguments).is_err()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Thinking,
    Text,
    Call(u32),
}

impl EncodeResponse for ResponseEncoder {
    fn encode_response(&mut self, mut answer: hub::Response) -> Vec<u8> {
        let (id, model) = (std::mem::take(&mut answer.id), std::mem::take(&mut answer.model));
        let mut told = encode_response::begun(&id, model, answer.usage.as_ref());
        // This format has one choice.
        if let Some(choice) = answer.choices.into_iter().next() {
            let has_called = choice.message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
            told.stop_reason = Some(encode_response::stop_reason(choice.finish_reason.as_ref(), has_called));
            let (content, is_cut) = encode_response::blocks(choice.message, &id, self.seal.as_ref());
            told.content = content;
            if is_cut {
                // A tool must not run with incomplete input.
                told.stop_reason = Some(StopReason::MaxTokens);
            }
        }
        // Only a map with keys that are no texts could fail, and there is none.
        serde_json::to_vec(&told).unwrap_or_default()
    }

    fn encode_item(&mut self, item: StreamItem, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        match item {
            StreamItem::Chunk(chunk) => self.chunk(chunk, out),
            StreamItem::Thought(_) => {}
            StreamItem::Error(error) => self.fail(error, out),
            StreamItem::Done => self.finish(out),
        }
    }
}

impl ResponseEncoder {
    fn chunk(&mut self, chunk: hub::Chunk, out: &mut Vec<u8>) {
        self.usage = chunk.usage.or(self.usage.take());
        if !self.has_begun {
            if chunk.choices.is_empty() && chunk.id.is_empty() {
                // Facts about the prompt before the response begins.
                return;
            }
            self.has_begun = true;
            self.id.clone_from(&chunk.id);
            let message = encode_response::begun(&chunk.id, chunk.model, self.usage.as_ref());
            event(&Event::MessageStart { message }, out);
        }
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.delta(choice.delta, out);
            self.finish = choice.finish_reason.or(self.finish.take());
        }
    }

    fn delta(&mut self, mut delta: hub::Delta, out: &mut Vec<u8>) {
        let calls = delta.tool_calls.take();
        for piece in pieces(delta) {
            if self.is_in_call() {
                self.hold(piece, out);
            } else {
                // What was held came earlier.
                if !self.held.is_empty() {
                    self.release(out);
                }
                self.say(piece, out);
            }
        }
        for call in calls.into_iter().flatten() {
            self.call(call, out);
        }
    }

    /// Whether an open call is incomplete or others wait for it.
    fn is_in_call(&self) -> bool {
        let Some(Open::Call(open)) = self.open else { return false };
        !self.calls[open as usize].is_complete() || self.calls.iter().any(|call| call.state == CallState::Waiting)
    }

    fn hold(&mut self, piece: Piece, out: &mut Vec<u8>) {
        self.held_bytes += piece.bytes();
        if self.held_bytes > MOST_HELD {
            return self.fail_by("too much text within a tool call", out);
        }
        match (self.held.last_mut(), piece) {
            (Some(Piece::Thinking(held)), Piece::Thinking(more)) | (Some(Piece::Text(held)), Piece::Text(more)) => {
                held.push_str(&more);
            }
            (_, piece) => self.held.push(piece),
        }
    }

    /// Closes the open call and emits the held pieces.
    fn release(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        self.held_bytes = 0;
        for piece in std::mem::take(&mut self.held) {
            self.say(piece, out);
        }
    }

    fn say(&mut self, piece: Piece, out: &mut Vec<u8>) {
        match piece {
            Piece::Thinking(thinking) => {
                self.open(Open::Thinking, out, || Block::Thinking {
                    thinking: String::new(),
                    signature: String::new(),
                });
                self.unsigned += thinking.len();
                self.more(Delta::ThinkingDelta { thinking }, out);
            }
            Piece::Text(text) => {
                self.open(Open::Text, out, || Block::Text { text: String::new(), other: Other::default() });
                self.more(Delta::TextDelta { text }, out);
            }
            Piece::Signed(thought) => self.thought(thought, out),
        }
    }

    /// Emits signed reasoning: the signature of the open block, or a whole block. A signature that comes after its
    /// block, or belongs to another one, cannot be expressed.
    fn thought(&mut self, thought: hub::Thought, out: &mut Vec<u8>) {
        let signs = |thinking: &str| self.open == Some(Open::Thinking) && self.unsigned == thinking.len();
        match thought {
            hub::Thought::Thinking { thinking, signature } if self.unsigned > 0 && signs(&thinking) => {
                self.unsigned = 0;
                self.more(Delta::SignatureDelta { signature }, out);
                self.close(out);
            }
            _ if self.unsigned > 0 => {}
            hub::Thought::Thinking { thinking, signature } => {
                self.close(out);
                self.begin(Block::Thinking { thinking: String::new(), signature: String::new() }, out);
                if !thinking.is_empty() {
                    self.more(Delta::ThinkingDelta { thinking }, out);
                }
                self.more(Delta::SignatureDelta { signature }, out);
                self.end(out);
            }
            redacted @ hub::Thought::RedactedThinking { .. } => {
                self.close(out);
                self.begin(encode_response::thought(redacted), out);
                self.end(out);
            }
        }
    }

    fn call(&mut self, piece: hub::ToolCallDelta, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        let at = piece.index as usize;
        if at >= MOST_CALLS {
            return self.fail_by("too many tool calls", out);
        }
        if self.calls.len() <= at {
            self.calls.resize_with(at + 1, Call::default);
        }
        let function = piece.function.unwrap_or_default();
        let more = function.arguments.unwrap_or_default();
        self.kept_bytes += more.len();
        if self.kept_bytes > MOST_ARGUMENTS {
            return self.fail_by("tool calls that are too long", out);
        }
        let call = &mut self.calls[at];
        call.id.extend(piece.id.filter(|_| call.id.is_empty()));
        call.name.extend(function.name.filter(|_| call.name.is_empty()));
        call.extra_content = piece.extra_content.or(call.extra_content.take());
        call.arguments.push_str(&more);
        match call.state {
            CallState::Closed if more.trim().is_empty() => {}
            CallState::Closed => self.fail_by("more of a tool call that was complete", out),
            CallState::Open => {
                if !more.is_empty() {
                    self.more(Delta::InputJsonDelta { partial_json: more }, out);
                }
                if self.calls.iter().any(|call| call.state == CallState::Waiting) {
                    self.begin_call(out);
                }
            }
            CallState::Waiting => self.begin_call(out),
        }
    }

    /// Writes the first waiting call unless an incomplete one is open.
    fn begin_call(&mut self, out: &mut Vec<u8>) {
        if let Some(Open::Call(open)) = self.open
            && !self.calls[open as usize].is_complete()
        {
            return;
        }
        let waits = |call: &Call| call.state == CallState::Waiting && !call.name.is_empty();
        let Some(at) = self.calls.iter().position(waits) else { return };
        self.release(out);
        let number = u32::try_from(at).unwrap_or(u32::MAX);
        let Call { id, name, arguments, extra_content, state } = &mut self.calls[at];
        *state = CallState::Open;
        let (thought, partial_json) =
            (encode_response::google_thought(extra_content.take(), self.seal.as_ref()), arguments.clone());
        let id = encode_response::call_id(id, &self.id, number);
        let block = Block::ToolUse { id, name: name.clone(), input: Value::object([]), other: Other::default() };
        if let Some(thought) = thought {
            self.close(out);
            self.begin(thought, out);
            self.end(out);
        }
        self.open(Open::Call(number), out, || block);
        if !partial_json.is_empty() {
            self.more(Delta::InputJsonDelta { partial_json }, out);
        }
    }

    /// Writes all waiting calls, one after the other.
    fn finish_calls(&mut self, out: &mut Vec<u8>) {
        self.release(out);
        while self.calls.iter().any(|call| call.state == CallState::Waiting && !call.name.is_empty()) {
            self.close(out);
            self.begin_call(out);
        }
        if self.calls.iter().any(|call| call.state == CallState::Waiting) {
            self.fail_by("a tool call without a name", out);
        }
    }

    /// Opens a block of this kind unless it is open.
    fn open(&mut self, kind: Open, out: &mut Vec<u8>, block: impl FnOnce() -> Block) {
        if self.open != Some(kind) {
            self.close(out);
            self.begin(block(), out);
            self.open = Some(kind);
        }
    }

    fn begin(&mut self, content_block: Block, out: &mut Vec<u8>) {
        event(&Event::ContentBlockStart { index: self.blocks, content_block }, out);
        self.blocks += 1;
    }

    fn more(&self, delta: Delta, out: &mut Vec<u8>) {
        event(&Event::ContentBlockDelta { index: self.blocks.saturating_sub(1), delta }, out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(open) = self.open.take() {
            if let Open::Call(at) = open {
                self.calls[at as usize].state = CallState::Closed;
            }
            if open == Open::Thinking && self.unsigned > 0 {
                self.more(Delta::SignatureDelta { signature: foreign_thinking::UNSIGNED.to_owned() }, out);
            }
            self.end(out);
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        event(&Event::ContentBlockStop { index: self.blocks.saturating_sub(1) }, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.has_begun {
            event(&Event::MessageStart { message: encode_response::begun("", String::new(), None) }, out);
        }
        self.finish_calls(out);
        if self.is_over {
            return;
        }
        // A tool must not run with incomplete input.
        if self.finish != Some(hub::FinishReason::Length) && self.calls.iter().any(Call::is_cut) {
            return self.fail_by("a tool call that is not complete", out);
        }
        self.is_over = true;
        self.close(out);
        let stop_reason = Some(encode_response::stop_reason(self.finish.take().as_ref(), !self.calls.is_empty()));
        let delta = MessageDelta { stop_reason, stop_sequence: None, other: Other::default() };
        event(&Event::MessageDelta { delta, usage: encode_response::tokens(self.usage.as_ref()) }, out);
        event(&Event::MessageStop, out);
    }

    fn fail_by(&mut self, what: &str, out: &mut Vec<u8>) {
        let message = format!("the provider sent {what}");
        self.fail(WireError { kind: None, code: None, message }, out);
    }

    fn fail(&mut self, error: WireError, out: &mut Vec<u8>) {
        self.is_over = true;
        event(&Event::Error { error: encode_response::error(error) }, out);
    }
}

/// Returns the text and reasoning of a delta, in order, without empty pieces.
fn pieces(delta: hub::Delta) -> impl Iterator<Item = Piece> {
    let text = |it: &String| !it.is_empty();
    let thinking = delta.reasoning_content.filter(text).map(Piece::Thinking);
    let signed = delta.extra_content.and_then(|extra| extra.anthropic).into_iter().flatten().map(Piece::Signed);
    let texts = [delta.content, delta.refusal].into_iter().flatten().filter(text).map(Piece::Text);
    thinking.into_iter().chain(signed).chain(texts)
}

impl Piece {
    fn bytes(&self) -> usize {
        match self {
            Self::Thinking(text) | Self::Text(text) => text.len(),
            Self::Signed(hub::Thought::Thinking { thinking, signature }) => {
                size_of::<Self>() + thinking.len() + signature.len()
            }
            Self::Signed(hub::Thought::RedactedThinking { data }) => size_of::<Self>() + data.len(),
        }
    }
}

fn event(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.name().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    // Writing into a vector cannot fail.
    let _ = serde_json::to_writer(&mut *out, event);
    out.extend_from_slice(b"\n\n");
}
