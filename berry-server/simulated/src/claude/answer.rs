//! Responses, plain and streamed.

use super::signatures::sign;
use super::turn::turn;
use crate::model_request::ModelRequest;
use crate::piece::{Piece, Role};
use crate::reply::{Call, Finish, Reply, Usage};
use crate::shape::Shape;
use crate::valid_response::ValidResponse;
use crate::words::Voice;
use bytes::Bytes;
use serde_json::{Value, json};

pub(super) fn answer(ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse {
    let turn = turn(&ask.body);
    let reply = turn.reply(shape, voice, 0);
    let usage = Usage::of(&turn, shape, std::slice::from_ref(&reply));
    let answer = Answer { ask, reply, usage, seed, account: voice.account };
    if shape.stream {
        ValidResponse::events(answer.events(shape.no_usage))
    } else {
        ValidResponse::json(answer.whole().to_string())
    }
}

struct Answer<'a> {
    ask: &'a ModelRequest,
    reply: Reply,
    usage: Usage,
    seed: u64,
    account: u64,
}

impl Answer<'_> {
    fn sign(&self, thoughts: &str) -> String {
        sign(self.account, &self.ask.body, thoughts)
    }

    /// Returns the stop reason and the stop sequence, if any.
    fn stop(&self) -> (&'static str, Value) {
        let reason = match &self.reply.finish {
            Finish::Stop(stop) => return ("stop_sequence", json!(stop)),
            Finish::End => "end_turn",
            Finish::Length => "max_tokens",
            Finish::Calls => "tool_use",
            Finish::Declined | Finish::Filtered => "refusal",
        };
        (reason, Value::Null)
    }

    /// Returns the message. Without `output`, it is the message at the start of a stream.
    fn message(&self, content: Vec<Value>, output: Option<usize>) -> Value {
        let (reason, sequence) = match output {
            Some(_) => self.stop(),
            None => ("", Value::Null),
        };
        json!({
            "id": format!("msg_{:016x}", self.seed),
            "type": "message",
            "role": "assistant",
            "model": self.ask.model,
            "content": Value::Array(content),
            "stop_reason": (!reason.is_empty()).then_some(reason),
            "stop_sequence": sequence,
            "usage": self.usage(output.unwrap_or(1), true),
        })
    }

    /// Returns the usage. Cached tokens are not part of the input tokens.
    fn usage(&self, output: usize, with_tier: bool) -> Value {
        let mut usage = json!({
            "input_tokens": self.usage.prompt - self.usage.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self.usage.cached,
            "output_tokens": output,
        });
        if with_tier {
            usage["cache_creation"] = json!({"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0});
            usage["service_tier"] = json!("standard");
        }
        usage
    }

    fn tool_use(&self, number: usize, call: &Call, input: &Value) -> Value {
        json!({
            "type": "tool_use",
            "id": format!("toolu_{:016x}{number:02}", self.seed),
            "name": call.name,
            "input": input,
        })
    }

    fn whole(&self) -> Value {
        let Reply { thoughts, text, calls, .. } = &self.reply;
        let mut content = Vec::new();
        if !thoughts.is_empty() {
            let thoughts = thoughts.concat();
            let signature = self.sign(&thoughts);
            content.push(json!({"type": "thinking", "thinking": thoughts, "signature": signature}));
        }
        if !text.is_empty() {
            content.push(json!({"type": "text", "text": text.concat()}));
        }
        let calls = calls.iter().enumerate();
        content.extend(calls.map(|(number, call)| self.tool_use(number, call, &call.input())));
        self.message(content, Some(self.usage.output))
    }

    fn events(&self, no_usage: bool) -> Vec<Piece> {
        let mut out = Events::default();
        let mut message = self.message(Vec::new(), None);
        if no_usage && let Some(fields) = message.as_object_mut() {
            fields.remove("usage");
        }
        out.add(Role::Preamble, "message_start", json!({"message": message}));
        let Reply { thoughts, text, calls, .. } = &self.reply;
        if !thoughts.is_empty() {
            out.start(Role::Preamble, &json!({"type": "thinking", "thinking": "", "signature": ""}));
            for thought in thoughts {
                out.delta(Role::Token, &json!({"type": "thinking_delta", "thinking": thought}));
            }
            let signature = self.sign(&thoughts.concat());
            out.delta(Role::Preamble, &json!({"type": "signature_delta", "signature": signature}));
            out.stop();
        }
        if !text.is_empty() {
            out.start(Role::Preamble, &json!({"type": "text", "text": ""}));
            for token in text {
                out.delta(Role::Token, &json!({"type": "text_delta", "text": token}));
            }
            out.stop();
        }
        for (number, call) in calls.iter().enumerate() {
            out.start(Role::Token, &self.tool_use(number, call, &json!({})));
            // The first delta is empty, as in the provider's streams.
            out.delta(Role::Preamble, &json!({"type": "input_json_delta", "partial_json": ""}));
            for piece in &call.input {
                out.delta(Role::Token, &json!({"type": "input_json_delta", "partial_json": piece}));
            }
            out.stop();
        }
        let (reason, sequence) = self.stop();
        let mut end = json!({"delta": {"stop_reason": reason, "stop_sequence": sequence}});
        if !no_usage {
            end["usage"] = self.usage(self.usage.output, false);
        }
        out.add(Role::Finish, "message_delta", end);
        out.add(Role::Done, "message_stop", json!({}));
        out.pieces
    }
}

/// Returns the event that keeps a stream alive.
pub(super) fn ping() -> Bytes {
    Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n")
}

/// The events so far and the index of the current block.
#[derive(Default)]
struct Events {
    pieces: Vec<Piece>,
    block: usize,
}

impl Events {
    fn add(&mut self, role: Role, name: &str, mut data: Value) {
        data["type"] = json!(name);
        self.pieces.push(Piece::new(role, format!("event: {name}\ndata: {data}\n\n")));
    }

    fn start(&mut self, role: Role, block: &Value) {
        self.add(role, "content_block_start", json!({"index": self.block, "content_block": block}));
        if self.block == 0 {
            self.pieces.push(Piece::new(Role::Preamble, ping()));
        }
    }

    fn delta(&mut self, role: Role, delta: &Value) {
        self.add(role, "content_block_delta", json!({"index": self.block, "delta": delta}));
    }

    fn stop(&mut self) {
        self.add(Role::Preamble, "content_block_stop", json!({"index": self.block}));
        self.block += 1;
    }
}
