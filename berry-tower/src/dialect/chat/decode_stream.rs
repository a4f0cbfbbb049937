//! Decodes streams of OpenAI's format.

use super::{
    decode_response::{self, CallPiece, Said, consistent},
    think_tags::ThinkTags,
};
use crate::dialect::{
    codec::{DecodeResponse, Malformed, StreamEnd, StreamItem, WireError},
    hub::{Chunk, ChunkChoice, Delta, FinishReason, FunctionDelta, FunctionKind, Response, Role, ToolCallDelta, Usage},
    lenient::{self, is_blank, text, whole},
    value::Value,
};

/// The most choices of a response, and the most calls of a choice.
const MOST: usize = 128;

/// Decodes chat responses.
///
/// A `finish_reason` is emitted when the stream ends, since only then it is clear that the choice does not
/// continue after it.
#[derive(Debug)]
pub(in crate::dialect) struct ResponseDecoder {
    /// How many choices were asked for.
    expected: usize,
    think_tags: bool,
    choices: Vec<Choice>,
    id: String,
    model: String,
    created: u64,
    usage: Option<Usage>,
    /// Whether later events are ignored.
    is_over: bool,
}

#[derive(Debug, Default)]
struct Choice {
    is_seen: bool,
    has_output: bool,
    finish: Option<FinishReason>,
    /// It continued after a finish: from then on only a clean end of the stream makes it complete.
    is_continued: bool,
    calls: Vec<Call>,
    tags: ThinkTags,
}

#[derive(Debug)]
struct Call {
    /// The provider's number of the call.
    index: Option<u32>,
    id: String,
    has_name: bool,
}

impl ResponseDecoder {
    /// A decoder of the response to a request for `choices` choices (`n`); with `think_tags` the text between
    /// `<think>` and `</think>` is reasoning.
    pub(in crate::dialect) fn new(choices: u32, think_tags: bool) -> Self {
        Self {
            expected: choices.clamp(1, 128) as usize,
            think_tags,
            choices: Vec::new(),
            id: String::new(),
            model: String::new(),
            created: 0,
            usage: None,
            is_over: false,
        }
    }

    fn decode(&mut self, event: &Value, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        if event.as_object().is_none() {
            return Err(Malformed("an event that is no chat chunk"));
        }
        if let Some(error) = decode_response::error(event) {
            self.fail(error, out);
            return Ok(());
        }
        let newer = |old: &mut String, name: &str| {
            if let (true, Some(text)) = (old.is_empty(), text(event.get(name))) {
                *old = text;
            }
        };
        newer(&mut self.id, "id");
        newer(&mut self.model, "model");
        self.created = whole(event.get("created")).filter(|created| *created > 0).unwrap_or(self.created);
        let groq = event.get("x_groq").and_then(|it| it.get("usage"));
        self.count(decode_response::usage(event.get("usage").filter(|it| !it.is_null()).or(groq)));
        for choice in decode_response::choices(event)? {
            if !is_blank(Some(choice)) {
                self.count(decode_response::usage(choice.get("usage")));
                self.decode_choice(choice, out)?;
            }
        }
        Ok(())
    }

    fn decode_choice(&mut self, value: &Value, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        let index = match value.get("index") {
            index if is_blank(index) => 0,
            index => whole(index).ok_or(Malformed("a choice with an index that is no number"))? as usize,
        };
        if index >= MOST {
            return Err(Malformed("more than 128 choices"));
        }
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, Choice::default);
        }
        let choice = &mut self.choices[index];
        let delta = value.get("delta").filter(|it| !is_blank(Some(it)));
        // Some send the whole message once, in place of deltas.
        let whole_message = value.get("message").or_else(|| value.get("text")).filter(|_| !choice.has_output);
        let mut said = Said::read(delta.or(whole_message))?;
        if self.think_tags {
            choice.tags.split(&mut said);
        }
        let reason = decode_response::finish_reason(value);
        if let Some(FinishReason::Other(name)) = reason.as_ref().filter(|reason| decode_response::is_failure(reason)) {
            let message = format!("the model failed (finish_reason: {name})");
            self.fail(WireError { kind: None, code: None, message }, out);
            return Ok(());
        }
        if choice.finish.is_some() && !said.is_empty() {
            choice.is_continued = true;
            choice.finish = None;
        }
        choice.finish = reason.or(choice.finish.take());
        let logprobs = value.get("logprobs").filter(|it| !it.is_null()).cloned();
        self.say(index, said, logprobs, out)
    }

    fn say(
        &mut self,
        index: usize,
        said: Said,
        logprobs: Option<Value>,
        out: &mut Vec<StreamItem>,
    ) -> Result<(), Malformed> {
        let choice = &mut self.choices[index];
        let is_first = !std::mem::replace(&mut choice.is_seen, true);
        choice.has_output |= !said.is_empty();
        let mut calls = Vec::with_capacity(said.calls.len());
        for piece in said.calls {
            calls.extend(choice.call(piece)?);
        }
        let filled = |text: String| (!text.is_empty()).then_some(text);
        let delta = Delta {
            role: is_first.then_some(Role::Assistant),
            content: filled(said.content),
            refusal: filled(said.refusal),
            reasoning_content: filled(said.reasoning),
            tool_calls: (!calls.is_empty()).then_some(calls),
            extra_content: said.extra_content,
            ..Delta::default()
        };
        if delta != Delta::default() || logprobs.is_some() {
            self.chunk(vec![ChunkChoice { index: number(index), delta, finish_reason: None, logprobs }], None, out);
        }
        Ok(())
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>, out: &mut Vec<StreamItem>) {
        out.push(StreamItem::Chunk(Chunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
            ..Chunk::default()
        }));
    }

    /// Takes over later counts; none of 0 takes back an earlier one.
    fn count(&mut self, later: Option<Usage>) {
        let Some(later) = later else { return };
        let usage = self.usage.get_or_insert_default();
        let newer = |old: &mut u64, new: u64| {
            if new > 0 {
                *old = new;
            }
        };
        newer(&mut usage.prompt_tokens, later.prompt_tokens);
        newer(&mut usage.completion_tokens, later.completion_tokens);
        newer(&mut usage.total_tokens, later.total_tokens);
        let sum = usage.prompt_tokens.saturating_add(usage.completion_tokens);
        usage.total_tokens = usage.total_tokens.max(sum);
        usage.prompt_tokens_details = later.prompt_tokens_details.or(usage.prompt_tokens_details);
        usage.completion_tokens_details = later.completion_tokens_details.or(usage.completion_tokens_details);
    }

    fn fail(&mut self, error: WireError, out: &mut Vec<StreamItem>) {
        if !std::mem::replace(&mut self.is_over, true) {
            out.push(StreamItem::Error(error));
        }
    }

    /// Ends the stream if every choice has finished: all that have appeared for an explicit end, and all that
    /// were asked for otherwise. A choice that went on after a finish needs a clean end.
    fn finish(&mut self, end: StreamEnd, out: &mut Vec<StreamItem>) {
        let seen = self.choices.iter().filter(|choice| choice.is_seen);
        let is_whole = seen.clone().all(|it| it.finish.is_some() && (end != StreamEnd::Broken || !it.is_continued))
            && seen.count() >= if end == StreamEnd::Marked { 1 } else { self.expected };
        if self.is_over || !is_whole {
            return;
        }
        if self.choices.iter().any(|choice| choice.calls.iter().any(|call| !call.has_name)) {
            return self.fail_by("a tool call without a name", out);
        }
        for index in 0..self.choices.len() {
            let rest = self.choices[index].tags.finish();
            if !rest.is_empty() && self.say(index, rest, None, out).is_err() {
                return self.fail_by("more than can be read", out);
            }
            let choice = &mut self.choices[index];
            if let Some(reason) = choice.finish.take() {
                let finish_reason = Some(consistent(reason, !choice.calls.is_empty()));
                let last = ChunkChoice { index: number(index), finish_reason, ..ChunkChoice::default() };
                self.chunk(vec![last], None, out);
            }
        }
        if self.usage.is_some() {
            self.chunk(Vec::new(), self.usage.clone(), out);
        }
        self.is_over = true;
        out.push(StreamItem::Done);
    }

    fn fail_by(&mut self, what: &'static str, out: &mut Vec<StreamItem>) {
        self.is_over = true;
        out.push(lenient::broken(Malformed(what)));
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Choice {
    /// Finds the call that a piece belongs to: by the provider's number, and where that is missing or the same
    /// for all, by the id. `None` for a piece that says nothing.
    fn call(&mut self, piece: CallPiece) -> Result<Option<ToolCallDelta>, Malformed> {
        let CallPiece { index, id, name, arguments, extra_content } = piece;
        let known = match index {
            Some(_) => self.calls.iter().rposition(|call| call.index == index),
            None if self.calls.iter().any(|call| !id.is_empty() && call.id == id) => {
                self.calls.iter().rposition(|call| call.id == id)
            }
            // Some give every piece an id of its own.
            None if !id.is_empty() && (!name.is_empty() || arguments.is_empty()) => None,
            None if !name.is_empty() => None,
            None => self.calls.len().checked_sub(1),
        };
        let is_other = |call: &Call| !id.is_empty() && !name.is_empty() && !call.id.is_empty() && call.id != id;
        let known = known.filter(|at| !is_other(&self.calls[*at]));
        let known = known.or_else(|| {
            // Some number every call alike; then the id identifies the call.
            self.calls.iter().rposition(|call| !id.is_empty() && call.id == id)
        });
        if known.is_none() && id.is_empty() && name.is_empty() && arguments.is_empty() {
            return Ok(None);
        }
        let at = known.unwrap_or(self.calls.len());
        if at >= MOST {
            return Err(Malformed("more than 128 tool calls"));
        }
        let is_new = at == self.calls.len();
        if is_new {
            self.calls.push(Call { index, id: String::new(), has_name: false });
        }
        let call = &mut self.calls[at];
        let told_id = (call.id.is_empty() && !id.is_empty()).then(|| id.clone());
        if let Some(id) = &told_id {
            call.id.clone_from(id);
        }
        let told_name = (!call.has_name && !name.is_empty()).then_some(name);
        call.has_name |= told_name.is_some();
        let function = FunctionDelta { name: told_name, arguments: (!arguments.is_empty()).then_some(arguments) };
        Ok(Some(ToolCallDelta {
            index: number(at),
            id: told_id,
            kind: is_new.then_some(FunctionKind::Function),
            function: Some(function),
            extra_content,
        }))
    }
}

impl DecodeResponse for ResponseDecoder {
    fn decode_response(&mut self, body: &[u8]) -> Result<Response, Malformed> {
        let has_tags = self.think_tags;
        decode_response::decode_response(body, |said| {
            if has_tags {
                ThinkTags::split_whole(said);
            }
        })
    }

    fn decode_event(&mut self, _name: &str, data: &str, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        if self.is_over {
            return Ok(());
        }
        if data.trim() == "[DONE]" {
            self.finish(StreamEnd::Marked, out);
            return Ok(());
        }
        let event: Value = serde_json::from_str(data).map_err(|_| Malformed("an event that is no chat chunk"))?;
        if let Err(malformed) = self.decode(&event, out) {
            self.is_over = true;
            out.push(lenient::broken(malformed));
        }
        Ok(())
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.clone()
    }

    fn decode_end(&mut self, end: StreamEnd, out: &mut Vec<StreamItem>) {
        self.finish(end, out);
    }
}
