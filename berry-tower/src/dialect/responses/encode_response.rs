//! Encodes a response, plain or as a whole at the beginning and the end of a stream.

use std::{fmt::Write as _, sync::Arc};

use super::{
    envelope::{self, Kind, Seal},
    items::{self, CallItem, Part, Status},
};
use crate::dialect::{hub, wire_format::EncodeOptions};

/// What all events of a response, or a plain one, have in common.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) caller: Arc<hub::CallerFacts>,
    pub(super) options: EncodeOptions,
    pub(super) model: String,
    /// The time in seconds since 1970.
    now: u64,
}

/// How a response ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Not,
    Completed,
    /// With the reason.
    Incomplete(&'static str),
}

impl Head {
    pub(super) fn new(caller: Option<Arc<hub::CallerFacts>>, options: EncodeOptions) -> Self {
        let now = options.created;
        Self { caller: caller.unwrap_or_default(), options, model: String::new(), now }
    }

    /// Sets the time, which a response that ends now has as that of its end.
    pub(super) fn set_time(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// Returns the id of the response.
    pub(super) fn response_id(&self) -> String {
        format!("resp_{:032x}", self.options.seed)
    }

    /// Returns the id of an item at this position.
    pub(super) fn item_id(&self, prefix: &str, at: usize) -> String {
        format!("{prefix}_{:032x}{at:04x}", self.options.seed)
    }

    /// Returns the provider's id of a call, or one for a call without.
    pub(super) fn call_id(&self, id: String, at: usize) -> String {
        if id.is_empty() { format!("call_{:024x}{at:02x}", self.options.seed >> 32) } else { id }
    }

    /// Returns the tool as the caller knows it.
    pub(super) fn tool(&self, name: &str) -> hub::ToolName {
        let unknown = || hub::ToolName { name: name.to_owned(), ..hub::ToolName::default() };
        self.caller.tools.get(name).cloned().unwrap_or_else(unknown)
    }

    pub(super) const fn seal(&self) -> Option<&Seal> {
        self.options.seal.as_ref()
    }

    /// Returns the encrypted content of reasoning with this text.
    pub(super) fn sealed(&self, kind: Kind, data: &str, text: &str) -> String {
        self.seal().map_or_else(|| envelope::UNSIGNED.to_owned(), |seal| seal.close(kind, data, text))
    }

    /// Returns the encrypted content of the item that follows a text for Google's signature of it. Google requires no
    /// such signature, and callers take the last item for the message, so that only those get it who asked.
    pub(super) fn text_signature(&self, signature: Option<String>) -> Option<String> {
        let signature = signature.filter(|_| self.caller.wants_encrypted_reasoning)?;
        Some(self.sealed(Kind::GoogleText, &signature, ""))
    }

    /// Returns the encrypted content of a thought, and its text.
    pub(super) fn thought(&self, thought: hub::Thought) -> (String, String) {
        match thought {
            hub::Thought::Thinking { thinking, signature } => {
                (self.sealed(Kind::Thinking, &signature, &thinking), thinking)
            }
            hub::Thought::RedactedThinking { data } => (self.sealed(Kind::Redacted, &data, ""), String::new()),
        }
    }

    /// Appends the response with this output.
    pub(super) fn write(&self, ended: Ended, output: &[String], usage: Option<&hub::Usage>, out: &mut String) {
        let created = self.options.created;
        let status = match ended {
            Ended::Not => "in_progress",
            Ended::Completed => "completed",
            Ended::Incomplete(_) => "incomplete",
        };
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            r#"{{"id":"{}","object":"response","created_at":{created},"status":"{status}","completed_at":"#,
            self.response_id()
        );
        match ended {
            Ended::Completed => out.push_str(&self.now.to_string()),
            Ended::Not | Ended::Incomplete(_) => out.push_str("null"),
        }
        out.push_str(r#","error":null,"incomplete_details":"#);
        match ended {
            Ended::Incomplete(reason) => {
                let _ = write!(out, r#"{{"reason":"{reason}"}}"#);
            }
            Ended::Not | Ended::Completed => out.push_str("null"),
        }
        out.push_str(r#","model":"#);
        items::quote(&self.model, out);
        out.push_str(r#","output":["#);
        for (at, item) in output.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(item);
        }
        out.push_str(r#"],"usage":"#);
        match ended {
            Ended::Not => out.push_str("null"),
            Ended::Completed | Ended::Incomplete(_) => items::usage(usage, out),
        }
        if !self.caller.echo.is_empty() {
            out.push(',');
            out.push_str(&self.caller.echo);
        }
        out.push('}');
    }

    /// Encodes a plain response.
    pub(super) fn response(&mut self, response: hub::Response) -> Vec<u8> {
        self.model = response.model;
        let mut output = Output { head: self, items: Vec::new(), is_cut: false };
        let mut reason = None;
        // This format has one choice.
        if let Some(choice) = response.choices.into_iter().next() {
            reason = choice.finish_reason;
            let status = if is_incomplete(reason.as_ref()) { Status::Incomplete } else { Status::Completed };
            output.message(choice.message, choice.logprobs.as_ref(), status);
        }
        let Output { items, is_cut, .. } = output;
        // A tool must not run with incomplete input.
        let reason = if is_cut { Some(hub::FinishReason::Length) } else { reason };
        let mut out = String::new();
        self.write(ended(reason.as_ref()), &items, response.usage.as_ref(), &mut out);
        out.into_bytes()
    }
}

/// Returns how a response ended that stopped for this reason.
pub(super) fn ended(reason: Option<&hub::FinishReason>) -> Ended {
    match reason {
        Some(hub::FinishReason::Length) => Ended::Incomplete("max_output_tokens"),
        Some(hub::FinishReason::ContentFilter) => Ended::Incomplete("content_filter"),
        _ => Ended::Completed,
    }
}

/// Whether a response that stopped for this reason is incomplete.
pub(super) fn is_incomplete(reason: Option<&hub::FinishReason>) -> bool {
    matches!(ended(reason), Ended::Incomplete(_))
}

/// The output of a plain response.
struct Output<'a> {
    head: &'a Head,
    items: Vec<String>,
    is_cut: bool,
}

impl Output<'_> {
    fn push(&mut self, prefix: &str, write: impl FnOnce(&str, &mut String)) {
        let mut item = String::new();
        write(&self.head.item_id(prefix, self.items.len()), &mut item);
        self.items.push(item);
    }

    fn reasoning(&mut self, text: &str, encrypted: &str) {
        self.push("rs", |id, out| items::reasoning(id, text, Some(encrypted), out));
    }

    fn message(&mut self, message: hub::Message, logprobs: Option<&crate::dialect::value::Value>, status: Status) {
        let hub::Message { content, refusal, reasoning_content, tool_calls, extra_content, .. } = message;
        let hub::ExtraContent { anthropic, google, .. } = extra_content.unwrap_or_default();
        let text = match content {
            None => String::new(),
            Some(hub::Content::Text(text)) => text,
            Some(hub::Content::Parts(parts)) => parts.into_iter().filter_map(text_of).collect(),
        };
        let refusal = refusal.filter(|refusal| !refusal.is_empty());
        let mut calls = tool_calls.unwrap_or_default();
        // Reasoning directly before a call carries its signature.
        let first = calls.first_mut().filter(|_| text.is_empty() && refusal.is_none());
        let signature = first.and_then(|call| call.extra_content.as_mut()?.google.take()?.thought_signature);
        let reasoning = reasoning_content.unwrap_or_default();
        let signature = self.thoughts(&reasoning, anthropic.unwrap_or_default(), signature);
        if let (Some(signature), Some(call)) = (signature, calls.first_mut()) {
            let google = Some(hub::Google { thought_signature: Some(signature) });
            call.extra_content.get_or_insert_default().google = google;
        }
        if !text.is_empty() || refusal.is_some() || calls.is_empty() {
            let mut parts = Vec::new();
            if !text.is_empty() || refusal.is_none() {
                let mut part = Part { text, ..Part::default() };
                if let Some(logprobs) = logprobs {
                    items::add_logprobs(logprobs, &mut part.logprobs);
                }
                parts.push(part);
            }
            parts.extend(refusal.map(|text| Part { is_refusal: true, text, ..Part::default() }));
            let status = if calls.is_empty() { status } else { Status::Completed };
            self.push("msg", |id, out| items::message(id, status, &parts, out));
        }
        if let Some(encrypted) = self.head.text_signature(google.and_then(|google| google.thought_signature)) {
            self.reasoning("", &encrypted);
        }
        for (at, call) in calls.into_iter().enumerate() {
            self.call(call, at);
        }
    }

    /// Adds reasoning. Returns Google's signature unless the reasoning carries it.
    fn thoughts(&mut self, text: &str, signed: Vec<hub::Thought>, mut google: Option<String>) -> Option<String> {
        let texts = signed.iter().map(|thought| match thought {
            hub::Thought::Thinking { thinking, .. } => &**thinking,
            hub::Thought::RedactedThinking { .. } => "",
        });
        let is_covered = texts.collect::<String>() == text;
        if !is_covered && !text.is_empty() {
            let sealed = google.take().map(|signature| self.head.sealed(Kind::GoogleCall, &signature, text));
            self.reasoning(text, sealed.as_deref().unwrap_or(envelope::UNSIGNED));
        }
        for thought in signed {
            if is_covered || matches!(thought, hub::Thought::RedactedThinking { .. }) {
                let (encrypted, text) = self.head.thought(thought);
                self.reasoning(&text, &encrypted);
            }
        }
        google
    }

    fn call(&mut self, call: hub::ToolCall, at: usize) {
        let google = call.extra_content.and_then(|extra| extra.google?.thought_signature);
        if let Some(signature) = google {
            let encrypted = self.head.sealed(Kind::GoogleCall, &signature, "");
            self.reasoning("", &encrypted);
        }
        let tool = self.head.tool(&call.function.name);
        let (input, is_cut) = items::whole_input(&call.function.arguments, tool.is_custom);
        self.is_cut |= is_cut;
        let status = if is_cut { Status::Incomplete } else { Status::Completed };
        let call_id = self.head.call_id(call.id, at);
        let prefix = if tool.is_custom { "ctc" } else { "fc" };
        self.push(prefix, |id, out| {
            CallItem { id, call_id: &call_id, tool: &tool, input: &input, status }.write(out);
        });
    }
}

fn text_of(part: hub::Part) -> Option<String> {
    match part {
        hub::Part::Text { text, .. } => Some(text),
        hub::Part::Refusal { refusal } => Some(refusal),
        _ => None,
    }
}
