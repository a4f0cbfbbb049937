//! Writes answers in Anthropic's format, streams with its whole grammar.

use super::{Block, Delta, Event, MessageDelta, Other, StopReason, encode_response, foreign_thinking};
use crate::dialect::{
    codec::{EncodeResponse, StreamItem, WireError},
    hub,
    value::Value,
};

/// The most that is held back, in bytes.
const MOST_HELD: usize = 1 << 20;

/// Writes Messages answers.
///
/// A stream's blocks follow each other: thoughts, texts and calls in the order in which they come; what is
/// said in the midst of a call comes after it. Thoughts that Anthropic did not sign are marked as such. Why it ended is told at [`StreamItem::Done`], when the tokens are known if ever.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponseEncoder {
    has_begun: bool,
    /// The provider's id of the answer.
    id: String,
    is_over: bool,
    /// The block that is being written.
    open: Option<Open>,
    /// How many blocks have been begun.
    blocks: u32,
    /// How many calls have been.
    calls: u32,
    /// The provider's id of the last one.
    call: String,
    /// How many bytes of thoughts have been told without their signature.
    unsigned: usize,
    /// What was said while a call was being written, which may go on.
    held: Vec<Piece>,
    /// How many bytes that is.
    held_bytes: usize,
    finish: Option<hub::FinishReason>,
    usage: Option<hub::Usage>,
}

/// Something that is said beside the calls.
#[derive(Clone, Debug)]
enum Piece {
    Thinking(String),
    Text(String),
    Signed(hub::Thought),
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
        // Nobody can ask for more than one in this format.
        if let Some(choice) = answer.choices.into_iter().next() {
            let has_called = choice.message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
            told.stop_reason = Some(encode_response::stop_reason(choice.finish_reason, has_called));
            let (content, is_cut) = encode_response::blocks(choice.message, &id);
            told.content = content;
            if is_cut {
                // A tool must not be run with half its input.
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
                // What a provider tells of the question before the answer begins.
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
            if matches!(self.open, Some(Open::Call(_))) {
                self.hold(piece, out);
            } else {
                self.say(piece, out);
            }
        }
        for call in calls.into_iter().flatten() {
            self.call(call, out);
        }
    }

    fn hold(&mut self, piece: Piece, out: &mut Vec<u8>) {
        self.held_bytes += piece.bytes();
        if self.held_bytes > MOST_HELD {
            let message = "the provider said too much in the midst of a tool call".to_owned();
            return self.fail(WireError { kind: None, code: None, message }, out);
        }
        match (self.held.last_mut(), piece) {
            (Some(Piece::Thinking(held)), Piece::Thinking(more)) | (Some(Piece::Text(held)), Piece::Text(more)) => {
                held.push_str(&more);
            }
            (_, piece) => self.held.push(piece),
        }
    }

    /// What was held back, when no call is being written any more.
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
                self.open(Open::Text, out, || Block::Text { text: String::new(), other: Other::new() });
                self.more(Delta::TextDelta { text }, out);
            }
            Piece::Signed(thought) => self.thought(thought, out),
        }
    }

    /// A signed thought: the signature of the one that is being told, or both at once. A signature that
    /// comes when its block is over, or is of another thought, is too late for this grammar.
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

    fn call(&mut self, call: hub::ToolCallDelta, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        let function = call.function.unwrap_or_default();
        let (id, name) = (call.id.unwrap_or_default(), function.name.unwrap_or_default());
        let is_open = self.open == Some(Open::Call(call.index));
        // Some do not count their calls, but name each.
        let is_another = is_open && !name.is_empty() && !id.is_empty() && !self.call.is_empty() && id != self.call;
        if !is_open || is_another {
            if call.index < self.calls && !is_another {
                // A block that is closed cannot be gone on with, and half an input must not look whole.
                let message = "the provider went back to a tool call that was over".to_owned();
                return self.fail(WireError { kind: None, code: None, message }, out);
            }
            self.release(out);
            if let Some(thought) = encode_response::google_thought(call.extra_content) {
                self.close(out);
                self.begin(thought, out);
                self.end(out);
            }
            let position = call.index.max(self.calls);
            self.calls = position.saturating_add(1);
            self.call.clone_from(&id);
            let (id, input) = (encode_response::call_id(&id, &self.id, position), Value::object([]));
            self.open(Open::Call(call.index), out, || Block::ToolUse { id, name, input, other: Other::new() });
        }
        if let Some(partial_json) = function.arguments.filter(|it| !it.is_empty()) {
            self.more(Delta::InputJsonDelta { partial_json }, out);
        }
    }

    /// Begins a block of this kind, if it is not the one that is being written.
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
        self.is_over = true;
        if !self.has_begun {
            event(&Event::MessageStart { message: encode_response::begun("", String::new(), None) }, out);
        }
        self.release(out);
        self.close(out);
        let stop_reason = Some(encode_response::stop_reason(self.finish.take(), self.calls > 0));
        let delta = MessageDelta { stop_reason, stop_sequence: None, other: Other::new() };
        event(&Event::MessageDelta { delta, usage: encode_response::tokens(self.usage.as_ref()) }, out);
        event(&Event::MessageStop, out);
    }

    fn fail(&mut self, error: WireError, out: &mut Vec<u8>) {
        self.is_over = true;
        event(&Event::Error { error: encode_response::error(error) }, out);
    }
}

/// What a delta says beside the calls, in order; nothing that is empty.
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
