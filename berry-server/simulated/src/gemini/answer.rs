//! Responses, plain and as events of the same shape.

use super::signatures::sign;
use super::turn::turn;
use crate::model_request::ModelRequest;
use crate::piece::{Piece, Role, event};
use crate::reply::{Call, Finish, Reply, Usage};
use crate::shape::Shape;
use crate::valid_response::ValidResponse;
use crate::words::Voice;
use serde_json::{Value, json};

/// The maximum number of candidates in a response.
const MAX_CANDIDATES: usize = 8;

pub(super) fn answer(ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse {
    let turn = turn(&ask.body);
    let count = ask.body["generationConfig"]["candidateCount"].as_u64().unwrap_or(1);
    let count = usize::try_from(count).unwrap_or(MAX_CANDIDATES).clamp(1, MAX_CANDIDATES);
    let replies: Vec<_> = (0..count).map(|number| turn.reply(shape, voice, number)).collect();
    let usage = Usage::of(&turn, shape, &replies);
    let with_logprobs = ask.body["generationConfig"]["responseLogprobs"] == Value::Bool(true);
    let signature = sign(voice.account, seed);
    let answer = Answer { ask, seed, signature, usage, no_usage: shape.no_usage && shape.stream, with_logprobs };
    match (shape.blocked, shape.stream) {
        (true, true) => ValidResponse::events(vec![event(Role::Finish, answer.blocked())]),
        (true, false) => ValidResponse::json(answer.blocked().to_string()),
        (false, true) => ValidResponse::events(answer.events(&replies)),
        (false, false) => {
            let candidates = replies.iter().enumerate().map(|(index, reply)| answer.candidate(index, reply));
            let candidates = candidates.collect();
            ValidResponse::json(format!("{:#}", answer.document(candidates, usage.output)))
        }
    }
}

fn finish(reply: &Reply) -> &'static str {
    match reply.finish {
        Finish::End | Finish::Stop(_) | Finish::Calls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Declined | Finish::Filtered => "SAFETY",
    }
}

fn text(text: &str) -> Value {
    json!({"text": text})
}

fn thought(text: &str) -> Value {
    json!({"text": text, "thought": true})
}

struct Answer<'a> {
    ask: &'a ModelRequest,
    seed: u64,
    signature: String,
    usage: Usage,
    no_usage: bool,
    with_logprobs: bool,
}

impl Answer<'_> {
    fn document(&self, candidates: Vec<Value>, output: usize) -> Value {
        let mut document = json!({
            "candidates": Value::Array(candidates),
            "modelVersion": self.ask.model,
            "responseId": format!("{:016x}", self.seed),
        });
        if !self.no_usage {
            document["usageMetadata"] = self.metadata(output);
        }
        document
    }

    /// Returns the usage. Thoughts are counted separately, and zero counts are omitted.
    fn metadata(&self, output: usize) -> Value {
        let Usage { prompt, cached, thoughts, .. } = self.usage;
        let thoughts = thoughts.min(output);
        let mut usage = json!({
            "promptTokenCount": prompt,
            "totalTokenCount": prompt + output,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        });
        let counts = [
            ("candidatesTokenCount", output - thoughts),
            ("thoughtsTokenCount", thoughts),
            ("cachedContentTokenCount", cached),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            usage[name] = count.into();
        }
        usage
    }

    /// Returns the last text of a reply. Thinking models sign a reply without calls there.
    fn last_text(&self, last: &str, reply: &Reply) -> Value {
        let mut part = text(last);
        if !reply.thoughts.is_empty() && reply.calls.is_empty() {
            part["thoughtSignature"] = self.signature.as_str().into();
        }
        part
    }

    fn call(&self, number: usize, call: &Call, signed: bool) -> Value {
        let mut part = json!({"functionCall": {"name": call.name, "args": call.input()}});
        // Thinking models add ids to calls and sign the first call.
        if signed {
            part["functionCall"]["id"] = format!("{:016x}{number}", self.seed).into();
        }
        if signed && number == 0 {
            part["thoughtSignature"] = self.signature.as_str().into();
        }
        part
    }

    fn candidate(&self, index: usize, reply: &Reply) -> Value {
        if reply.finish == Finish::Declined {
            return self.declined(index);
        }
        let mut parts = Vec::new();
        if !reply.thoughts.is_empty() {
            parts.push(thought(&reply.thoughts.concat()));
        }
        if !reply.text.is_empty() {
            parts.push(self.last_text(&reply.text.concat(), reply));
        }
        let calls = reply.calls.iter().enumerate();
        parts.extend(calls.map(|(number, call)| self.call(number, call, !reply.thoughts.is_empty())));
        let mut candidate = json!({
            "content": {"parts": parts, "role": "model"},
            "finishReason": finish(reply),
            "index": index,
        });
        if self.with_logprobs {
            candidate["logprobsResult"] = logprobs(&reply.text);
        }
        candidate
    }

    /// Returns a candidate that was stopped for safety, without content.
    fn declined(&self, index: usize) -> Value {
        let rating = json!({"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": true});
        json!({"finishReason": "SAFETY", "index": index, "safetyRatings": [rating]})
    }

    /// Returns the response to a blocked prompt, without candidates.
    fn blocked(&self) -> Value {
        let mut document = self.document(Vec::new(), 0);
        if let Some(fields) = document.as_object_mut() {
            fields.remove("candidates");
        }
        document["promptFeedback"] = json!({"blockReason": "PROHIBITED_CONTENT"});
        document
    }

    fn events(&self, replies: &[Reply]) -> Vec<Piece> {
        let mut out = Vec::new();
        let mut output = 0;
        for (index, reply) in replies.iter().enumerate() {
            for (part, tokens) in self.parts(reply) {
                output += tokens;
                let candidate = self.step(index, part);
                out.push(event(Role::Token, self.document(vec![candidate], output)));
            }
        }
        for (index, reply) in replies.iter().enumerate() {
            let candidate = match reply.finish {
                Finish::Declined => self.declined(index),
                _ => {
                    let mut last = self.step(index, self.last_text("", reply));
                    last["finishReason"] = finish(reply).into();
                    last
                }
            };
            out.push(event(Role::Finish, self.document(vec![candidate], self.usage.output)));
        }
        out
    }

    /// Returns the parts of a stream with their token counts. A call is a single part.
    fn parts(&self, reply: &Reply) -> Vec<(Value, usize)> {
        let thoughts = reply.thoughts.iter().map(|token| (thought(token), 1));
        let said = if reply.finish == Finish::Declined { &[][..] } else { &reply.text };
        let said = said.iter().map(|token| (text(token), 1));
        let signed = !reply.thoughts.is_empty();
        let calls = reply.calls.iter().enumerate();
        let calls = calls.map(|(number, call)| (self.call(number, call, signed), call.input.len() + 1));
        thoughts.chain(said).chain(calls).collect()
    }

    /// Returns a candidate within a stream.
    fn step(&self, index: usize, part: Value) -> Value {
        let said = part["text"].as_str().filter(|text| self.with_logprobs && !text.is_empty()).map(str::to_owned);
        let mut candidate = json!({"content": {"parts": Value::Array(vec![part]), "role": "model"}, "index": index});
        if let Some(said) = said {
            candidate["logprobsResult"] = logprobs(&[said]);
        }
        candidate
    }
}

/// Returns log probabilities with one alternative per token, the token itself.
fn logprobs(tokens: &[String]) -> Value {
    let chosen: Vec<_> =
        tokens.iter().map(|token| json!({"token": token, "tokenId": 1, "logProbability": -0.125})).collect();
    let top: Vec<_> = chosen.iter().map(|one| json!({"candidates": [one]})).collect();
    json!({"chosenCandidates": chosen, "topCandidates": top})
}
