//! Messages and reasoning in a stream.

use super::{Open, ResponseEncoder};
use crate::dialect::{
    hub,
    responses::{
        envelope::{Kind, UNSIGNED},
        events::{About, Value as Said},
        items::{self, Part, Status},
    },
    value::Value,
};

/// A reasoning item that is being written.
#[derive(Debug)]
pub(super) struct Reasoning {
    id: String,
    text: String,
}

/// A message that is being written.
#[derive(Debug)]
pub(super) struct Message {
    id: String,
    /// The parts, of which the last one is open.
    parts: Vec<Part>,
}

impl Message {
    /// What an event says about the open part.
    fn about<'a>(&'a self, at: usize, name: &'static str, value: Said<'a>) -> About<'a> {
        let index = Some(("content_index", self.parts.len().saturating_sub(1)));
        About { id: &self.id, at, index, name, value, logprobs: None }
    }
}

impl ResponseEncoder {
    /// Emits a piece of reasoning.
    pub(super) fn reason(&mut self, text: &str, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(Open::Reasoning(_))) {
            self.close(Status::Completed, out);
            self.open_reasoning(true, out);
        }
        let at = self.output.len();
        if let Some(Open::Reasoning(reasoning)) = &mut self.open {
            reasoning.text.push_str(text);
            let index = Some(("summary_index", 0));
            let about = About { id: &reasoning.id, at, index, name: "delta", value: Said::Text(text), logprobs: None };
            self.events.about("response.reasoning_summary_text.delta", &about, out);
        }
    }

    fn open_reasoning(&mut self, has_text: bool, out: &mut Vec<u8>) {
        let at = self.output.len();
        let id = self.head.item_id("rs", at);
        let mut item = String::new();
        items::reasoning(&id, "", None, &mut item);
        self.events.with_json("response.output_item.added", Some(at), "item", &item, out);
        if has_text {
            let mut part = String::new();
            items::summary("", &mut part);
            let index = Some(("summary_index", 0));
            let about = About { id: &id, at, index, name: "part", value: Said::Json(&part), logprobs: None };
            self.events.about("response.reasoning_summary_part.added", &about, out);
        }
        self.open = Some(Open::Reasoning(Reasoning { id, text: String::new() }));
    }

    /// Finishes reasoning, with what its backend wants back.
    pub(super) fn end_reasoning(&mut self, reasoning: Reasoning, encrypted: Option<&str>, out: &mut Vec<u8>) {
        let Reasoning { id, text } = reasoning;
        let at = self.output.len();
        if !text.is_empty() {
            let index = Some(("summary_index", 0));
            let about = About { id: &id, at, index, name: "text", value: Said::Text(&text), logprobs: None };
            self.events.about("response.reasoning_summary_text.done", &about, out);
            let mut part = String::new();
            items::summary(&text, &mut part);
            let about = About { name: "part", value: Said::Json(&part), ..about };
            self.events.about("response.reasoning_summary_part.done", &about, out);
        }
        let mut item = String::new();
        items::reasoning(&id, &text, Some(encrypted.unwrap_or(UNSIGNED)), &mut item);
        self.finish_item(item, out);
    }

    /// Emits a reasoning item at once.
    pub(super) fn whole_reasoning(&mut self, text: &str, encrypted: &str, out: &mut Vec<u8>) {
        self.close(Status::Completed, out);
        if text.is_empty() {
            self.open_reasoning(false, out);
        } else {
            self.reason(text, out);
        }
        if let Some(Open::Reasoning(reasoning)) = self.open.take() {
            self.end_reasoning(reasoning, Some(encrypted), out);
        }
    }

    /// Emits signed reasoning: the signature of the open item, or a whole item.
    pub(super) fn thought(&mut self, thought: hub::Thought, out: &mut Vec<u8>) {
        let (encrypted, text) = self.head.thought(thought);
        match self.open.take() {
            Some(Open::Reasoning(reasoning)) if reasoning.text == text => {
                self.end_reasoning(reasoning, Some(&encrypted), out);
            }
            // The caller has the text already, so a signature that comes too late cannot be expressed.
            open if !text.is_empty() => self.open = open,
            open => {
                self.open = open;
                self.whole_reasoning(&text, &encrypted, out);
            }
        }
    }

    /// Finishes the open reasoning with Google's signature of the call that follows. Returns whether there is any.
    pub(super) fn sign_reasoning(&mut self, signature: &str, out: &mut Vec<u8>) -> bool {
        match self.open.take() {
            Some(Open::Reasoning(reasoning)) => {
                let encrypted = self.head.sealed(Kind::GoogleCall, signature, &reasoning.text);
                self.end_reasoning(reasoning, Some(&encrypted), out);
                true
            }
            open => {
                self.open = open;
                false
            }
        }
    }

    /// Emits a piece of text or of a refusal.
    pub(super) fn speak(&mut self, text: &str, is_refusal: bool, logprobs: Option<&Value>, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(Open::Message(_))) {
            self.close(Status::Completed, out);
            let id = self.head.item_id("msg", self.output.len());
            let mut item = String::new();
            items::message(&id, Status::InProgress, &[], &mut item);
            self.events.with_json("response.output_item.added", Some(self.output.len()), "item", &item, out);
            self.open = Some(Open::Message(Message { id, parts: Vec::new() }));
        }
        let at = self.output.len();
        let Some(Open::Message(message)) = &mut self.open else { return };
        if message.parts.last().is_none_or(|part| part.is_refusal != is_refusal) {
            end_part(&mut self.events, message, at, out);
            let part = Part { is_refusal, ..Part::default() };
            let mut json = String::new();
            part.write(&mut json);
            message.parts.push(part);
            self.events.about("response.content_part.added", &message.about(at, "part", Said::Json(&json)), out);
        }
        let mut added = String::new();
        if let Some(logprobs) = logprobs {
            items::add_logprobs(logprobs, &mut added);
        }
        if let Some(part) = message.parts.last_mut() {
            part.text.push_str(text);
            if !added.is_empty() && !part.logprobs.is_empty() {
                part.logprobs.push(',');
            }
            part.logprobs.push_str(&added);
        }
        if text.is_empty() {
            return;
        }
        let about = message.about(at, "delta", Said::Text(text));
        if is_refusal {
            self.events.about("response.refusal.delta", &about, out);
        } else {
            self.events.about("response.output_text.delta", &About { logprobs: Some(&added), ..about }, out);
        }
    }

    pub(super) fn end_message(&mut self, message: &Message, status: Status, out: &mut Vec<u8>) {
        end_part(&mut self.events, message, self.output.len(), out);
        let mut item = String::new();
        items::message(&message.id, status, &message.parts, &mut item);
        self.finish_item(item, out);
    }
}

/// Finishes the open part of a message, if there is one.
fn end_part(events: &mut super::EventWriter, message: &Message, at: usize, out: &mut Vec<u8>) {
    let Some(part) = message.parts.last() else { return };
    let said = Said::Text(&part.text);
    if part.is_refusal {
        events.about("response.refusal.done", &message.about(at, "refusal", said), out);
    } else {
        let about = About { logprobs: Some(&part.logprobs), ..message.about(at, "text", said) };
        events.about("response.output_text.done", &about, out);
    }
    let mut json = String::new();
    part.write(&mut json);
    events.about("response.content_part.done", &message.about(at, "part", Said::Json(&json)), out);
}
