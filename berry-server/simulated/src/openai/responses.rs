//! The Responses API, plain and in typed events.

use super::{content_text, last_of, prompt_tokens};
use crate::body::{Piece, Role};
use crate::dialect::{ModelRequest, Shape};
use crate::layout::ValidResponse;
use crate::words::{Output, Question, Voice, count};
use serde_json::{Value, json};

pub(super) fn answer(ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse {
    let input = &ask.body["input"];
    let (asked, tokens_in) = match input {
        Value::Array(_) => (last_of(input, "user"), prompt_tokens(input)),
        input => {
            let text = content_text(input);
            let tokens = count(&text) + 7;
            (text, tokens)
        }
    };
    let question = Question { asked: &asked, limit: ask.number("max_output_tokens"), ..Question::default() };
    let said = voice.say(question, shape);
    let response = Response { ask, voice, seed, said: &said, tokens_in };
    if shape.stream {
        ValidResponse::events(response.events())
    } else {
        ValidResponse::json(response.whole().to_string())
    }
}

struct Response<'a> {
    ask: &'a ModelRequest,
    voice: &'a Voice,
    seed: u64,
    said: &'a Output,
    tokens_in: usize,
}

impl Response<'_> {
    fn item_id(&self) -> String {
        format!("msg_{:016x}", self.seed)
    }

    fn part(text: &str) -> Value {
        json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
    }

    fn item(&self, status: &str, content: &Value) -> Value {
        json!({
            "type": "message",
            "id": self.item_id(),
            "status": status,
            "role": "assistant",
            "content": content,
        })
    }

    fn object(&self, status: &str, output: &Value, usage: &Value) -> Value {
        let incomplete = match status {
            "incomplete" => json!({"reason": "max_output_tokens"}),
            _ => Value::Null,
        };
        json!({
            "id": format!("resp_{:016x}", self.seed),
            "object": "response",
            "created_at": self.voice.created,
            "status": status,
            "error": null,
            "incomplete_details": incomplete,
            "instructions": null,
            "max_output_tokens": self.ask.body["max_output_tokens"],
            "metadata": {},
            "model": self.ask.model,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "service_tier": "default",
            "store": true,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage,
            "user": null,
        })
    }

    fn status(&self) -> &'static str {
        if self.said.cut_short { "incomplete" } else { "completed" }
    }

    fn whole(&self) -> Value {
        let tokens_out = self.said.tokens.len();
        let usage = json!({
            "input_tokens": self.tokens_in,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.tokens_in + tokens_out,
        });
        let content = json!([Self::part(&self.said.text())]);
        let item = self.item(self.status(), &content);
        self.object(self.status(), &json!([item]), &usage)
    }

    fn events(&self) -> Vec<Piece> {
        let mut out = Events::default();
        let started = || json!({"response": self.object("in_progress", &json!([]), &Value::Null)});
        let at = json!({"item_id": self.item_id(), "output_index": 0, "content_index": 0});
        let at = |more: Value| joined(&at, &more);
        out.add(Role::Preamble, "response.created", &started());
        out.add(Role::Preamble, "response.in_progress", &started());
        let item = self.item("in_progress", &json!([]));
        let added = json!({"output_index": 0, "item": item});
        out.add(Role::Preamble, "response.output_item.added", &added);
        let part = at(json!({"part": Self::part("")}));
        out.add(Role::Preamble, "response.content_part.added", &part);
        for token in &self.said.tokens {
            let delta = at(json!({"delta": token, "logprobs": []}));
            out.add(Role::Token, "response.output_text.delta", &delta);
        }
        let text = self.said.text();
        let done = at(json!({"text": text, "logprobs": []}));
        out.add(Role::Usage, "response.output_text.done", &done);
        let part = at(json!({"part": Self::part(&text)}));
        out.add(Role::Usage, "response.content_part.done", &part);
        let item = self.item(self.status(), &json!([Self::part(&text)]));
        let done = json!({"output_index": 0, "item": item});
        out.add(Role::Usage, "response.output_item.done", &done);
        let last = match self.status() {
            "incomplete" => "response.incomplete",
            _ => "response.completed",
        };
        out.add(Role::Finish, last, &json!({"response": self.whole()}));
        out.0
    }
}

fn joined(left: &Value, right: &Value) -> Value {
    let all = [left, right].into_iter().filter_map(Value::as_object).flatten();
    all.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Events so far; each one is numbered.
#[derive(Default)]
struct Events(Vec<Piece>);

impl Events {
    fn add(&mut self, role: Role, name: &str, fields: &Value) {
        let head = json!({"type": name, "sequence_number": self.0.len()});
        let data = joined(&head, fields);
        let event = format!("event: {name}\ndata: {data}\n\n");
        self.0.push(Piece::new(role, event));
    }
}
