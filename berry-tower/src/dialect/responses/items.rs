//! The items of a response, as JSON.

use super::custom_input::CustomInput;
use crate::dialect::{hub, value::Value};

/// The status of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
}

impl Status {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

/// Appends a text as JSON.
pub(super) fn quote(text: &str, out: &mut String) {
    // A text can always be written.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// A part of a message: a text or a refusal.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) is_refusal: bool,
    pub(super) text: String,
    /// The log-probabilities of the tokens, each as JSON, separated by commas.
    pub(super) logprobs: String,
}

impl Part {
    pub(super) fn write(&self, out: &mut String) {
        if self.is_refusal {
            out.push_str(r#"{"type":"refusal","refusal":"#);
            quote(&self.text, out);
            out.push('}');
            return;
        }
        out.push_str(r#"{"type":"output_text","text":"#);
        quote(&self.text, out);
        out.push_str(r#","annotations":[],"logprobs":["#);
        out.push_str(&self.logprobs);
        out.push_str("]}");
    }
}

/// Appends a message item.
pub(super) fn message(id: &str, status: Status, parts: &[Part], out: &mut String) {
    out.push_str(r#"{"type":"message","id":""#);
    out.push_str(id);
    out.push_str(r#"","status":""#);
    out.push_str(status.name());
    out.push_str(r#"","role":"assistant","content":["#);
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        part.write(out);
    }
    out.push_str("]}");
}

/// Appends a reasoning item.
pub(super) fn reasoning(id: &str, text: &str, encrypted: Option<&str>, out: &mut String) {
    out.push_str(r#"{"type":"reasoning","id":""#);
    out.push_str(id);
    out.push_str(r#"","summary":["#);
    if !text.is_empty() {
        summary(text, out);
    }
    out.push_str(r#"],"encrypted_content":"#);
    match encrypted {
        Some(encrypted) => quote(encrypted, out),
        None => out.push_str("null"),
    }
    out.push('}');
}

/// Appends the part of a summary.
pub(super) fn summary(text: &str, out: &mut String) {
    out.push_str(r#"{"type":"summary_text","text":"#);
    quote(text, out);
    out.push('}');
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub(super) struct CallItem<'a> {
    pub(super) id: &'a str,
    pub(super) call_id: &'a str,
    pub(super) tool: &'a hub::ToolName,
    /// The arguments of a function, or the input of a custom tool.
    pub(super) input: &'a str,
    pub(super) status: Status,
}

impl CallItem<'_> {
    pub(super) fn write(&self, out: &mut String) {
        let (kind, input) =
            if self.tool.is_custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
        out.push_str(&format!(r#"{{"type":"{kind}","id":"{}","call_id":"#, self.id));
        quote(self.call_id, out);
        out.push_str(r#","name":"#);
        quote(&self.tool.name, out);
        if let Some(namespace) = &self.tool.namespace {
            out.push_str(r#","namespace":"#);
            quote(namespace, out);
        }
        out.push_str(&format!(r#","{input}":"#));
        quote(self.input, out);
        out.push_str(&format!(r#","status":"{}"}}"#, self.status.name()));
    }
}

/// Returns the input of a whole call as the caller gets it, and whether it was cut.
pub(super) fn whole_input(arguments: &str, is_custom: bool) -> (String, bool) {
    if !is_custom {
        return match arguments.trim().is_empty() {
            true => ("{}".to_owned(), false),
            false => (arguments.to_owned(), is_cut_json(arguments)),
        };
    }
    let mut input = CustomInput::default();
    let mut text = input.push(arguments);
    let is_cut = input.is_cut(arguments);
    text.push_str(&input.finish(arguments));
    (text, is_cut)
}

/// Whether arguments are no whole JSON value.
pub(super) fn is_cut_json(arguments: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_err()
}

/// Appends the log-probabilities of a choice to those of a part, with every member that the format requires.
pub(super) fn add_logprobs(logprobs: &Value, out: &mut String) {
    for token in logprobs.get("content").and_then(Value::as_array).unwrap_or_default() {
        if !out.is_empty() {
            out.push(',');
        }
        let top = token.get("top_logprobs").and_then(Value::as_array).unwrap_or_default();
        let top = Value::Array(top.iter().map(|token| Value::object(logprob(token))).collect());
        let mut members: crate::dialect::value::Object =
            logprob(token).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        members.insert("top_logprobs".to_owned(), top);
        out.push_str(&Value::from(members).to_string());
    }
}

fn logprob(token: &Value) -> [(&'static str, Value); 3] {
    let member = |name: &str| token.get(name).filter(|value| !value.is_null()).cloned();
    [
        ("token", member("token").unwrap_or_else(|| "".into())),
        ("logprob", member("logprob").unwrap_or_else(|| 0.into())),
        ("bytes", member("bytes").unwrap_or_else(|| Value::Array(Vec::new()))),
    ]
}

/// Appends the token counts, of which every one is there.
pub(super) fn usage(usage: Option<&hub::Usage>, out: &mut String) {
    let none = hub::Usage::default();
    let usage = usage.unwrap_or(&none);
    let total = usage.total_tokens.max(usage.prompt_tokens.saturating_add(usage.completion_tokens));
    let cached = usage.prompt_tokens_details.unwrap_or_default().cached_tokens;
    let reasoning = usage.completion_tokens_details.unwrap_or_default().reasoning_tokens;
    out.push_str(&format!(
        r#"{{"input_tokens":{},"input_tokens_details":{{"cached_tokens":{cached}}},"output_tokens":{},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{total}}}"#,
        usage.prompt_tokens, usage.completion_tokens,
    ));
}
