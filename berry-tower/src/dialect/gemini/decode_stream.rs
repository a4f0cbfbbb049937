//! Decodes streams of Google's format.

use super::{
    Candidate, Part, Response, UsageMetadata,
    decode_response::{self, Finish},
};
use crate::dialect::{
    codec::{DecodeResponse, Malformed, StreamEnd, StreamItem, WireError},
    hub, lenient,
};

/// The most choices of one response.
const CHOICES: u32 = 8;

/// Decodes Google's responses.
///
/// A stream is complete when every candidate has a finish reason. A blocked prompt becomes an empty response with
/// the finish reason `content_filter`. A candidate whose model failed, for example by a malformed tool call, is an
/// error.
#[derive(Debug)]
pub(crate) struct ResponseDecoder {
    created: u64,
    model: String,
    /// The response's id, once it is known.
    id: Option<String>,
    /// The number of messages, which makes call ids unique in the conversation where the response has no id.
    turns: usize,
    choices: Vec<Choice>,
    usage: Option<hub::Usage>,
    counts: UsageMetadata,
    over: bool,
}

/// One choice of a stream.
#[derive(Clone, Debug, Default)]
struct Choice {
    /// The finish reason, unless the choice has continued since. It is emitted when the stream ends: some servers
    /// write a reason into every event.
    finish: Option<hub::FinishReason>,
    /// It continued after a finish: from then on only a clean end of the stream makes it complete.
    is_continued: bool,
    has_spoken: bool,
    calls: u32,
}

impl ResponseDecoder {
    /// A decoder of the response to a request for `choices` choices in a conversation of `turns` messages; `model`
    /// is the model's name where the response has none.
    pub(super) fn new(choices: u32, created: u64, model: String, turns: usize) -> Self {
        let choices = vec![Choice::default(); choices.clamp(1, CHOICES) as usize];
        Self { created, model, id: None, turns, choices, usage: None, counts: UsageMetadata::default(), over: false }
    }

    /// Reads the facts about the whole response.
    fn learn(&mut self, answer: &mut Response) {
        self.id = answer.response_id.take().filter(|id| !id.is_empty()).or(self.id.take());
        if let Some(model) = answer.model_version.take().filter(|model| !model.is_empty()) {
            self.model = model;
        }
        if let Some(usage) = answer.usage_metadata {
            // A count of 0 does not take back an earlier one.
            self.counts = self.counts.merge(usage);
            self.usage = Some(decode_response::usage(&self.counts));
        }
    }

    /// Returns the response's id for the caller.
    fn told_id(&self) -> String {
        self.id.clone().unwrap_or_else(|| format!("chatcmpl-{}-{}", self.created, self.turns))
    }

    /// Decodes a part of choice `index`; `calls` counts its calls.
    fn delta(&self, part: Part, index: u32, calls: &mut u32) -> Result<Option<hub::Delta>, Malformed> {
        decode_response::delta(part, calls, |at| decode_response::call_id(self.id.as_deref(), self.turns, index, at))
    }

    fn message(&self, candidate: Candidate, index: u32) -> Result<hub::Choice, Malformed> {
        let mut message = hub::Message { role: hub::Role::Assistant, ..hub::Message::default() };
        let mut calls = 0;
        for part in candidate.content.into_iter().flat_map(|content| content.parts) {
            if let Some(delta) = self.delta(part, index, &mut calls)? {
                decode_response::add(&mut message, delta);
            }
        }
        let finish_reason = match Finish::of(candidate.finish_reason.as_deref(), calls > 0) {
            Finish::Reason(reason) => Some(reason),
            Finish::GoesOn => return Err(Malformed("an answer that is not finished")),
            Finish::Failed => return Err(Malformed("an answer that the model failed to give")),
        };
        let logprobs = candidate.logprobs_result.map(decode_response::logprobs);
        Ok(hub::Choice { index, message, finish_reason, logprobs })
    }

    fn read(&mut self, mut answer: Response, out: &mut Vec<StreamItem>) {
        if self.over {
            return;
        }
        self.learn(&mut answer);
        if let Some(error) = answer.error {
            return self.fail(decode_response::error(error), out);
        }
        if answer.candidates.is_empty() && is_blocked(&answer) {
            for choice in &mut self.choices {
                choice.finish = Some(hub::FinishReason::ContentFilter);
            }
        }
        for (at, candidate) in answer.candidates.into_iter().enumerate() {
            self.candidate(candidate, at, out);
        }
    }

    fn candidate(&mut self, candidate: Candidate, at: usize, out: &mut Vec<StreamItem>) {
        let index = candidate.index.map_or(at, |index| usize::try_from(index).unwrap_or(usize::MAX));
        // After a failed candidate the others are ignored.
        let choice = self.choices.get(index).filter(|_| !self.over);
        let Some(calls) = choice.map(|choice| choice.calls) else {
            if !self.over && candidate.content.is_some_and(|content| !content.parts.is_empty()) {
                self.over = true;
                out.push(lenient::broken(Malformed("a choice that was not asked for")));
            }
            return;
        };
        let (mut calls, told) = (calls, u32::try_from(index).unwrap_or(u32::MAX));
        let parts = candidate.content.into_iter().flat_map(|content| content.parts);
        let deltas: Result<Vec<_>, _> =
            parts.filter_map(|part| self.delta(part, told, &mut calls).transpose()).collect();
        let mut deltas = match deltas {
            Ok(deltas) => deltas,
            Err(malformed) => {
                self.over = true;
                return out.push(lenient::broken(malformed));
            }
        };
        let choice = &mut self.choices[index];
        choice.calls = calls;
        if choice.finish.is_some() && !deltas.is_empty() {
            choice.is_continued = true;
            choice.finish = None;
        }
        let mut logprobs = candidate.logprobs_result.map(decode_response::logprobs);
        if logprobs.is_some() && deltas.is_empty() {
            deltas.push(hub::Delta::default());
        }
        for delta in deltas {
            self.say(index, hub::ChunkChoice { delta, logprobs: logprobs.take(), ..hub::ChunkChoice::default() }, out);
        }
        let reason = candidate.finish_reason.as_deref();
        match Finish::of(reason, calls > 0) {
            Finish::GoesOn => {}
            Finish::Reason(reason) => self.choices[index].finish = Some(reason),
            Finish::Failed => {
                let message = format!("the model failed to answer: {}", reason.unwrap_or_default());
                self.fail(WireError { kind: reason.map(str::to_owned), code: None, message }, out);
            }
        }
    }

    fn say(&mut self, index: usize, mut choice: hub::ChunkChoice, out: &mut Vec<StreamItem>) {
        if !std::mem::replace(&mut self.choices[index].has_spoken, true) {
            choice.delta.role = Some(hub::Role::Assistant);
        }
        choice.index = u32::try_from(index).unwrap_or(u32::MAX);
        self.chunk(vec![choice], None, out);
    }

    fn chunk(&self, choices: Vec<hub::ChunkChoice>, usage: Option<hub::Usage>, out: &mut Vec<StreamItem>) {
        out.push(StreamItem::Chunk(hub::Chunk {
            id: self.told_id(),
            object: "chat.completion.chunk".into(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
            other: hub::Other::default(),
        }));
    }

    fn fail(&mut self, error: WireError, out: &mut Vec<StreamItem>) {
        if !std::mem::replace(&mut self.over, true) {
            out.push(StreamItem::Error(error));
        }
    }
}

impl DecodeResponse for ResponseDecoder {
    fn decode_response(&mut self, body: &[u8]) -> Result<hub::Response, Malformed> {
        let mut answer: Response =
            serde_json::from_slice(body).map_err(|_| Malformed("a body that is no answer of generateContent"))?;
        if answer.error.is_some() {
            return Err(Malformed("an error in place of an answer"));
        }
        self.learn(&mut answer);
        let choices = match (answer.candidates.is_empty(), is_blocked(&answer)) {
            (true, true) => (0..).zip(&self.choices).map(|(index, _)| blocked(index)).collect(),
            (true, false) => return Err(Malformed("an answer without candidates")),
            _ => (0..)
                .zip(answer.candidates)
                .map(|(at, candidate)| {
                    let index = candidate.index.and_then(|index| u32::try_from(index).ok()).unwrap_or(at);
                    self.message(candidate, index)
                })
                .collect::<Result<_, _>>()?,
        };
        Ok(hub::Response {
            id: self.told_id(),
            object: "chat.completion".into(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage: self.usage.clone(),
            other: hub::Other::default(),
        })
    }

    fn decode_event(&mut self, _name: &str, data: &str, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        const MALFORMED: Malformed = Malformed("an event that is no answer of generateContent");
        if self.over {
            return Ok(());
        }
        // Errors may come in a list.
        let is_list = data.trim_start().starts_with('[');
        let answers: Result<Vec<Response>, _> =
            if is_list { serde_json::from_str(data) } else { serde_json::from_str(data).map(|answer| vec![answer]) };
        let Ok(answers) = answers else {
            lenient::unreadable(data, MALFORMED, out)?;
            self.over = true;
            return Ok(());
        };
        answers.into_iter().for_each(|answer| self.read(answer, out));
        Ok(())
    }

    fn usage(&self) -> Option<hub::Usage> {
        self.usage.clone()
    }

    fn decode_end(&mut self, end: StreamEnd, out: &mut Vec<StreamItem>) {
        let is_whole = |choice: &Choice| choice.finish.is_some() && (end != StreamEnd::Broken || !choice.is_continued);
        if !self.choices.iter().all(is_whole) || std::mem::replace(&mut self.over, true) {
            return;
        }
        for index in 0..self.choices.len() {
            let finish_reason = self.choices[index].finish.take();
            self.say(index, hub::ChunkChoice { finish_reason, ..hub::ChunkChoice::default() }, out);
        }
        if self.usage.is_some() {
            self.chunk(Vec::new(), self.usage.clone(), out);
        }
        out.push(StreamItem::Done);
    }
}

fn is_blocked(answer: &Response) -> bool {
    let reason = answer.prompt_feedback.as_ref().and_then(|feedback| feedback.block_reason.as_deref());
    reason.is_some_and(|reason| reason != "BLOCK_REASON_UNSPECIFIED")
}

fn blocked(index: u32) -> hub::Choice {
    let message = hub::Message { role: hub::Role::Assistant, ..hub::Message::default() };
    hub::Choice { index, message, finish_reason: Some(hub::FinishReason::ContentFilter), logprobs: None }
}
