//! The events of a stream. Each item in turn is added, filled and completed.

use super::response::Response;
use crate::piece::{Piece, Role};
use crate::reply::{Call, Finish};
use serde_json::{Value, json};

pub(super) fn events(response: &Response<'_>) -> Vec<Piece> {
    let mut out = Events { response, pieces: Vec::new(), sequence: 0, item: 0 };
    let started = || json!({"response": response.resource("in_progress", &[], &Value::Null)});
    out.add(Role::Preamble, "response.created", started());
    out.add(Role::Preamble, "response.in_progress", started());
    if !response.reply.thoughts.is_empty() {
        out.reasoning();
    }
    if !response.reply.text.is_empty() || response.reply.calls.is_empty() {
        out.message();
    }
    for (number, call) in response.reply.calls.iter().enumerate() {
        out.call(number, call);
    }
    let last = if response.is_incomplete() { "response.incomplete" } else { "response.completed" };
    out.add(Role::Finish, last, json!({"response": response.whole()}));
    out.pieces
}

/// The events so far and the index of the current item.
struct Events<'a> {
    response: &'a Response<'a>,
    pieces: Vec<Piece>,
    sequence: usize,
    item: usize,
}

impl Events<'_> {
    fn add(&mut self, role: Role, name: &str, mut data: Value) {
        data["type"] = name.into();
        data["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        self.pieces.push(Piece::new(role, format!("event: {name}\ndata: {data}\n\n")));
    }

    fn open(&mut self, item: &Value) {
        self.add(Role::Preamble, "response.output_item.added", json!({"output_index": self.item, "item": item}));
    }

    fn close(&mut self, item: &Value) {
        self.add(Role::Usage, "response.output_item.done", json!({"output_index": self.item, "item": item}));
        self.item += 1;
    }

    fn reasoning(&mut self) {
        let response = self.response;
        self.open(&response.reasoning(&[]));
        if response.has_summary() {
            let at = json!({"item_id": response.item_id("rs", 0), "output_index": self.item, "summary_index": 0});
            let with = |more: Value| joined(&at, more);
            let part = |text: &str| with(json!({"part": {"type": "summary_text", "text": text}}));
            self.add(Role::Preamble, "response.reasoning_summary_part.added", part(""));
            for thought in &response.reply.thoughts {
                self.add(Role::Token, "response.reasoning_summary_text.delta", with(json!({"delta": thought})));
            }
            let text = response.reply.thoughts.concat();
            self.add(Role::Preamble, "response.reasoning_summary_text.done", with(json!({"text": text})));
            self.add(Role::Preamble, "response.reasoning_summary_part.done", part(&text));
        }
        self.close(&response.reasoning(&response.summary()));
    }

    fn message(&mut self) {
        let response = self.response;
        self.open(&response.message("in_progress", &[]));
        let at = json!({"item_id": response.item_id("msg", 0), "output_index": self.item, "content_index": 0});
        let with = |more: Value| joined(&at, more);
        self.add(Role::Preamble, "response.content_part.added", with(json!({"part": response.part("")})));
        let (kind, declined) = match response.reply.finish {
            Finish::Declined => ("refusal", true),
            _ => ("output_text", false),
        };
        for token in &response.reply.text {
            let delta = if declined { json!({"delta": token}) } else { json!({"delta": token, "logprobs": []}) };
            self.add(Role::Token, &format!("response.{kind}.delta"), with(delta));
        }
        let text = response.reply.text.concat();
        let done = if declined { json!({"refusal": text}) } else { json!({"text": text, "logprobs": []}) };
        self.add(Role::Usage, &format!("response.{kind}.done"), with(done));
        self.add(Role::Usage, "response.content_part.done", with(json!({"part": response.part(&text)})));
        self.close(&response.message(response.status(), &[response.part(&text)]));
    }

    fn call(&mut self, number: usize, call: &Call) {
        let response = self.response;
        let item = response.call(number, call, "in_progress", "");
        self.open(&item);
        let at = json!({"item_id": item["id"], "output_index": self.item});
        let (kind, field) =
            if call.custom { ("custom_tool_call_input", "input") } else { ("function_call_arguments", "arguments") };
        for piece in &call.input {
            self.add(Role::Token, &format!("response.{kind}.delta"), joined(&at, json!({"delta": piece})));
        }
        let input = call.input.concat();
        self.add(Role::Preamble, &format!("response.{kind}.done"), joined(&at, json!({field: input})));
        self.close(&response.call(number, call, "completed", &input));
    }
}

fn joined(at: &Value, mut more: Value) -> Value {
    for (name, value) in at.as_object().into_iter().flatten() {
        more[name] = value.clone();
    }
    more
}
