//! Tool calls in a stream.

use super::{MOST_CALLS, MOST_OUTPUT, Open, ResponseEncoder};
use crate::dialect::{
    hub,
    responses::{
        custom_input::CustomInput,
        envelope::Kind,
        events::{About, Value as Said},
        items::{self, CallItem, Status},
    },
};

/// A tool call. Pieces of several calls may interleave, but items follow each other: a call waits while an incomplete
/// one is open.
#[derive(Debug, Default)]
pub(super) struct Call {
    id: String,
    name: String,
    /// The arguments so far.
    arguments: String,
    /// Google's signature.
    signature: Option<String>,
    state: CallState,
    /// The item's id and the tool, once it is open.
    item: String,
    tool: hub::ToolName,
    /// Unwraps the input of a custom tool.
    custom: CustomInput,
    /// The input so far, as the caller has it.
    input: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CallState {
    #[default]
    Waiting,
    Open,
    Closed,
}

impl Call {
    pub(super) fn is_waiting(&self) -> bool {
        self.state == CallState::Waiting
    }

    /// Whether the arguments are a whole JSON object, so that no piece is to be expected.
    pub(super) fn is_complete(&self) -> bool {
        let text = self.arguments.trim_end();
        text.ends_with('}') && !items::is_cut_json(text)
    }

    /// Whether the arguments end too early.
    pub(super) fn is_cut(&self) -> bool {
        if self.arguments.trim().is_empty() {
            return false;
        }
        if self.tool.is_custom { self.custom.is_cut(&self.arguments) } else { items::is_cut_json(&self.arguments) }
    }
}

impl ResponseEncoder {
    /// Adds a piece of a call.
    pub(super) fn call(&mut self, piece: hub::ToolCallDelta, out: &mut Vec<u8>) {
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
        self.bytes += more.len();
        if self.bytes > MOST_OUTPUT {
            return self.fail_by("tool calls that are too long", out);
        }
        let call = &mut self.calls[at];
        call.id.extend(piece.id.filter(|_| call.id.is_empty()));
        call.name.extend(function.name.filter(|_| call.name.is_empty()));
        call.signature = piece.extra_content.and_then(|it| it.google?.thought_signature).or(call.signature.take());
        call.arguments.push_str(&more);
        match call.state {
            CallState::Closed if more.trim().is_empty() => {}
            CallState::Closed => self.fail_by("more of a tool call that was complete", out),
            CallState::Open => {
                self.add_input(at, &more, out);
                if self.calls.iter().any(Call::is_waiting) {
                    self.begin_call(out);
                }
            }
            CallState::Waiting => self.begin_call(out),
        }
    }

    /// Opens the first waiting call unless an incomplete one is open.
    fn begin_call(&mut self, out: &mut Vec<u8>) {
        if let Some(Open::Call(open)) = self.open
            && !self.calls[open].is_complete()
        {
            return;
        }
        let waits = |call: &Call| call.is_waiting() && !call.name.is_empty();
        let Some(at) = self.calls.iter().position(waits) else { return };
        let signature = self.calls[at].signature.take();
        if self.held.is_empty()
            && let Some(signature) = &signature
            && self.sign_reasoning(signature, out)
        {
            self.release(out);
        } else {
            self.release(out);
            self.close(Status::Completed, out);
            if let Some(signature) = signature {
                let encrypted = self.head.sealed(Kind::GoogleCall, &signature, "");
                self.whole_reasoning("", &encrypted, out);
            }
        }
        let index = self.output.len();
        let call = &mut self.calls[at];
        call.state = CallState::Open;
        call.tool = self.head.tool(&call.name);
        call.id = self.head.call_id(std::mem::take(&mut call.id), at);
        call.item = self.head.item_id(if call.tool.is_custom { "ctc" } else { "fc" }, index);
        let mut item = String::new();
        let (id, call_id, tool) = (&*call.item, &*call.id, &call.tool);
        CallItem { id, call_id, tool, input: "", status: Status::InProgress }.write(&mut item);
        self.events.with_json("response.output_item.added", Some(index), "item", &item, out);
        let arguments = call.arguments.clone();
        self.open = Some(Open::Call(at));
        self.add_input(at, &arguments, out);
    }

    /// Emits a piece of the arguments of an open call.
    fn add_input(&mut self, at: usize, arguments: &str, out: &mut Vec<u8>) {
        let call = &mut self.calls[at];
        if call.tool.is_custom {
            let text = call.custom.push(arguments);
            self.emit_input(at, &text, out);
        } else {
            let is_first = call.input.is_empty();
            self.emit_input(at, if is_first { arguments.trim_start() } else { arguments }, out);
        }
    }

    fn emit_input(&mut self, at: usize, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        let call = &mut self.calls[at];
        call.input.push_str(text);
        let kind = if call.tool.is_custom {
            "response.custom_tool_call_input.delta"
        } else {
            "response.function_call_arguments.delta"
        };
        let (id, index) = (&*call.item, self.output.len());
        let about = About { id, at: index, index: None, name: "delta", value: Said::Text(text), logprobs: None };
        self.events.about(kind, &about, out);
    }

    /// Finishes a call.
    pub(super) fn end_call(&mut self, at: usize, out: &mut Vec<u8>) {
        let call = &mut self.calls[at];
        call.state = CallState::Closed;
        let status = if call.is_cut() { Status::Incomplete } else { Status::Completed };
        let rest = match call.tool.is_custom {
            true => call.custom.finish(&call.arguments),
            // The arguments of a call without any are an empty object.
            false if call.input.is_empty() => "{}".to_owned(),
            false => String::new(),
        };
        self.emit_input(at, &rest, out);
        let call = &self.calls[at];
        let (kind, name) = if call.tool.is_custom {
            ("response.custom_tool_call_input.done", "input")
        } else {
            ("response.function_call_arguments.done", "arguments")
        };
        let (id, index) = (&*call.item, self.output.len());
        let about = About { id, at: index, index: None, name, value: Said::Text(&call.input), logprobs: None };
        self.events.about(kind, &about, out);
        let mut item = String::new();
        CallItem { id, call_id: &call.id, tool: &call.tool, input: &call.input, status }.write(&mut item);
        self.finish_item(item, out);
    }

    /// Emits all waiting calls, one after the other, and what was held back.
    pub(super) fn finish_calls(&mut self, out: &mut Vec<u8>) {
        if self.calls.iter().any(Call::is_waiting) || !self.held.is_empty() {
            self.release(out);
        }
        while self.calls.iter().any(|call| call.is_waiting() && !call.name.is_empty()) {
            self.close(Status::Completed, out);
            self.begin_call(out);
        }
        if self.calls.iter().any(Call::is_waiting) {
            self.fail_by("a tool call without a name", out);
        }
    }
}
