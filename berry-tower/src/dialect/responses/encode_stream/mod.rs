//! Encodes streams.

mod call;
mod item;

use std::sync::Arc;

use super::{
    encode_response::{Ended, Head, ended},
    events::EventWriter,
    items::Status,
};
use crate::dialect::{
    codec::{EncodeResponse, StreamItem, WireError},
    hub,
    value::Value,
    wire_format::EncodeOptions,
};
use call::Call;
use item::{Message, Reasoning};

/// The most text that is held back while a call is being written, in bytes.
const MOST_HELD: usize = 1 << 20;

/// The most output of a stream, which its end repeats, in bytes.
const MOST_OUTPUT: usize = 64 << 20;

/// The most calls in one response.
const MOST_CALLS: usize = 128;

/// Encodes responses.
///
/// The items of a stream follow each other: reasoning, texts and calls in the order in which they come. Text that
/// comes within a call follows it. The response's end is emitted at [`StreamItem::Done`], when the token counts are
/// known.
#[derive(Debug)]
pub(super) struct ResponseEncoder {
    head: Head,
    events: EventWriter,
    has_begun: bool,
    is_over: bool,
    /// The finished items, as JSON.
    output: Vec<String>,
    /// The item that is being written.
    open: Option<Open>,
    /// The tool calls, by their numbers.
    calls: Vec<Call>,
    /// The length of the output so far in bytes.
    bytes: usize,
    /// The pieces that wait for the open call to end.
    held: Vec<Piece>,
    /// Their total length in bytes.
    held_bytes: usize,
    /// Google's signature of the text.
    signature: Option<String>,
    finish: Option<hub::FinishReason>,
    usage: Option<hub::Usage>,
}

/// A piece of text or reasoning.
#[derive(Debug)]
enum Piece {
    Reasoning(String),
    Signed(hub::Thought),
    Text(String, Option<Value>),
    Refusal(String),
}

#[derive(Debug)]
enum Open {
    Reasoning(Reasoning),
    Message(Message),
    /// A call, by its number.
    Call(usize),
}

impl ResponseEncoder {
    pub(super) fn new(caller: Option<Arc<hub::CallerFacts>>, options: EncodeOptions) -> Self {
        Self {
            head: Head::new(caller, options),
            events: EventWriter::default(),
            has_begun: false,
            is_over: false,
            output: Vec::new(),
            open: None,
            calls: Vec::new(),
            bytes: 0,
            held: Vec::new(),
            held_bytes: 0,
            signature: None,
            finish: None,
            usage: None,
        }
    }

    fn chunk(&mut self, chunk: hub::Chunk, out: &mut Vec<u8>) {
        self.usage = chunk.usage.or(self.usage.take());
        if !self.has_begun && chunk.choices.is_empty() && chunk.id.is_empty() {
            // Facts about the prompt before the response begins.
            return;
        }
        self.begin(chunk.model, out);
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.delta(choice.delta, choice.logprobs, out);
            self.finish = choice.finish_reason.or(self.finish.take());
        }
    }

    /// Emits the beginning of the response.
    fn begin(&mut self, model: String, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        self.head.model = model;
        let mut response = String::new();
        self.head.write(Ended::Not, &[], None, &mut response);
        for kind in ["response.created", "response.in_progress"] {
            self.events.with_json(kind, None, "response", &response, out);
        }
    }

    fn delta(&mut self, delta: hub::Delta, logprobs: Option<Value>, out: &mut Vec<u8>) {
        let is_filled = |text: &String| !text.is_empty();
        if let Some(signature) = delta.extra_content.and_then(|extra| extra.google?.thought_signature) {
            self.signature = Some(signature);
        }
        let reasoning = delta.reasoning_content.filter(is_filled).map(Piece::Reasoning);
        let text = delta.content.filter(is_filled).map(|text| Piece::Text(text, logprobs));
        let refusal = delta.refusal.filter(is_filled).map(Piece::Refusal);
        for piece in [reasoning, text, refusal].into_iter().flatten() {
            self.piece(piece, out);
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.call(call, out);
        }
    }

    fn piece(&mut self, piece: Piece, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        if self.is_in_call() {
            return self.hold(piece, out);
        }
        // What was held came earlier.
        if !self.held.is_empty() {
            self.release(out);
        }
        self.say(piece, out);
    }

    /// Whether an open call is incomplete or others wait for it.
    fn is_in_call(&self) -> bool {
        let Some(Open::Call(open)) = self.open else { return false };
        !self.calls[open].is_complete() || self.calls.iter().any(Call::is_waiting)
    }

    fn hold(&mut self, piece: Piece, out: &mut Vec<u8>) {
        self.held_bytes += piece.bytes();
        if self.held_bytes > MOST_HELD {
            return self.fail_by("too much text within a tool call", out);
        }
        self.held.push(piece);
    }

    /// Closes the open item and emits the held pieces.
    fn release(&mut self, out: &mut Vec<u8>) {
        self.close(Status::Completed, out);
        self.held_bytes = 0;
        for piece in std::mem::take(&mut self.held) {
            self.say(piece, out);
        }
    }

    fn say(&mut self, piece: Piece, out: &mut Vec<u8>) {
        self.bytes += piece.bytes();
        if self.bytes > MOST_OUTPUT {
            return self.fail_by("more than 64 MiB of output", out);
        }
        match piece {
            Piece::Reasoning(text) => self.reason(&text, out),
            Piece::Signed(thought) => self.thought(thought, out),
            Piece::Text(text, logprobs) => self.speak(&text, false, logprobs.as_ref(), out),
            Piece::Refusal(text) => self.speak(&text, true, None, out),
        }
    }

    /// Finishes the open item.
    fn close(&mut self, status: Status, out: &mut Vec<u8>) {
        match self.open.take() {
            None => {}
            Some(Open::Reasoning(reasoning)) => self.end_reasoning(reasoning, None, out),
            Some(Open::Message(message)) => self.end_message(&message, status, out),
            Some(Open::Call(at)) => self.end_call(at, out),
        }
    }

    /// Emits an item that is finished.
    fn finish_item(&mut self, item: String, out: &mut Vec<u8>) {
        self.events.with_json("response.output_item.done", Some(self.output.len()), "item", &item, out);
        self.output.push(item);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        self.begin(String::new(), out);
        let ended = ended(self.finish.as_ref());
        let status = if ended == Ended::Completed { Status::Completed } else { Status::Incomplete };
        self.finish_calls(out);
        // A tool must not run with incomplete input.
        if status == Status::Completed && self.calls.iter().any(Call::is_cut) {
            return self.fail_by("a tool call that is not complete", out);
        }
        if self.is_over {
            return;
        }
        self.close(status, out);
        if let Some(encrypted) = self.head.text_signature(self.signature.take()) {
            self.whole_reasoning("", &encrypted, out);
        }
        if self.output.is_empty() {
            // Clients expect a message, even an empty one.
            self.speak("", false, None, out);
            self.close(status, out);
        }
        self.is_over = true;
        let mut response = String::new();
        self.head.write(ended, &self.output, self.usage.as_ref(), &mut response);
        let kind = if ended == Ended::Completed { "response.completed" } else { "response.incomplete" };
        self.events.with_json(kind, None, "response", &response, out);
    }

    fn fail_by(&mut self, what: &str, out: &mut Vec<u8>) {
        let message = format!("the provider sent {what}");
        self.fail(&WireError { kind: None, code: None, message }, out);
    }

    fn fail(&mut self, error: &WireError, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.is_over, true) {
            let kind = error.kind.as_deref().unwrap_or("server_error");
            self.events.error(kind, error.code.as_deref(), &error.message, out);
        }
    }
}

impl EncodeResponse for ResponseEncoder {
    fn set_time(&mut self, now: u64) {
        self.head.set_time(now);
    }

    fn encode_response(&mut self, response: hub::Response) -> Vec<u8> {
        self.head.response(response)
    }

    fn encode_item(&mut self, item: StreamItem, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        match item {
            StreamItem::Chunk(chunk) => self.chunk(chunk, out),
            StreamItem::Thought(thought) => self.piece(Piece::Signed(thought), out),
            StreamItem::Error(error) => self.fail(&error, out),
            StreamItem::Done => self.finish(out),
        }
    }
}

impl Piece {
    const fn bytes(&self) -> usize {
        match self {
            Self::Reasoning(text) | Self::Text(text, _) | Self::Refusal(text) => text.len(),
            Self::Signed(hub::Thought::Thinking { signature, .. }) => signature.len(),
            Self::Signed(hub::Thought::RedactedThinking { data }) => data.len(),
        }
    }
}
