//! Decodes what OpenAI's format says, and the many things that providers say in its place.

use crate::dialect::{
    codec::{Malformed, WireError},
    hub::{
        CachedTokens, CalledFunction, Choice, Content, ExtraContent, FinishReason, FunctionKind, Message, Other,
        ReasoningTokens, Response, Role, ToolCall, Usage,
    },
    lenient::{self, is_blank, text, whole},
    value::Value,
};

const CHOICES: Malformed = Malformed("choices that are no list");
const CALLS: Malformed = Malformed("tool calls that are no list");

/// What a message or a delta says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) content: String,
    pub(super) refusal: String,
    pub(super) reasoning: String,
    pub(super) calls: Vec<CallPiece>,
    pub(super) extra_content: Option<ExtraContent>,
}

/// A tool call, or a piece of one.
#[derive(Debug, Default)]
pub(super) struct CallPiece {
    /// The provider's number of the call; some leave it out.
    pub(super) index: Option<u32>,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
    pub(super) extra_content: Option<ExtraContent>,
}

impl Said {
    pub(super) fn is_empty(&self) -> bool {
        self.content.is_empty()
            && self.refusal.is_empty()
            && self.reasoning.is_empty()
            && self.calls.is_empty()
            && self.extra_content.is_none()
    }

    /// Reads a message or a delta.
    ///
    /// # Errors
    /// It holds something that the caller would miss.
    pub(super) fn read(value: Option<&Value>) -> Result<Self, Malformed> {
        let mut said = Self::default();
        match value {
            Some(Value::Object(_)) => {}
            Some(Value::Array(list)) if list.len() == 1 => return Self::read(list.first()),
            // A delta or a message that is a mere text.
            Some(Value::String(text)) => {
                said.content.push_str(text);
                return Ok(said);
            }
            value if is_blank(value) => return Ok(said),
            _ => return Err(Malformed("a message that is no object")),
        }
        let member = |name: &str| value.and_then(|value| value.get(name));
        said.add_content(member("content"))?;
        said.refusal = text(member("refusal")).unwrap_or_default();
        if said.reasoning.is_empty() {
            // Several names of the same text: never more than one of them counts.
            said.reasoning = ["reasoning_content", "reasoning", "reasoning_details"]
                .into_iter()
                .map(|name| reasoning_text(member(name)))
                .find(|text| !text.is_empty())
                .unwrap_or_default();
        }
        for call in lenient::list(member("tool_calls"), CALLS)? {
            said.calls.extend(CallPiece::read(call)?);
        }
        if let (true, Some(call)) = (said.calls.is_empty(), member("function_call").filter(|it| !is_blank(Some(it)))) {
            said.calls.extend(CallPiece::of_function(None, String::new(), Some(call), None)?);
        }
        if !is_blank(member("audio")) {
            return Err(Malformed("audio, which cannot be translated"));
        }
        if !is_blank(member("images")) {
            return Err(Malformed("a picture, which cannot be translated"));
        }
        said.extra_content = member("extra_content").filter(|it| !it.is_null()).and_then(Value::read);
        Ok(said)
    }

    fn add_content(&mut self, content: Option<&Value>) -> Result<(), Malformed> {
        match content {
            Some(Value::Array(parts)) => parts.iter().try_for_each(|part| self.add_part(part)),
            Some(part @ Value::Object(_)) => self.add_part(part),
            Some(Value::Bool(_)) => Err(Malformed("a content that is no text")),
            content => {
                self.content.extend(text(content));
                Ok(())
            }
        }
    }

    fn add_part(&mut self, part: &Value) -> Result<(), Malformed> {
        if part.as_object().is_none() {
            self.content.extend(text(Some(part)));
            return Ok(());
        }
        let named = part.get("type").and_then(Value::as_str).filter(|kind| !kind.is_empty());
        let kind = named.unwrap_or_else(|| {
            let of = |kind: &&str| !is_blank(part.get(kind));
            ["thinking", "refusal"].into_iter().find(of).unwrap_or("text")
        });
        match kind {
            "text" | "output_text" => self.content.push_str(&flat_text(part.get("text"))),
            "refusal" => self.refusal.extend(text(part.get("refusal"))),
            // Mistral's; its text is itself a list of parts.
            "thinking" | "reasoning" => self.reasoning.push_str(&reasoning_text(Some(part))),
            // References say where the text comes from, not more of it.
            "reference" => {}
            _ if kind.contains("image") => return Err(Malformed("a picture, which cannot be translated")),
            _ if kind.contains("audio") => return Err(Malformed("audio, which cannot be translated")),
            _ => return Err(Malformed("a part of an unknown type, which cannot be translated")),
        }
        Ok(())
    }
}

/// Returns the text of a text, of a part, or of a list of them.
fn flat_text(value: Option<&Value>) -> String {
    match value {
        Some(Value::Array(parts)) => parts.iter().map(|part| flat_text(Some(part))).collect(),
        Some(part @ Value::Object(_)) => flat_text(part.get("text").or_else(|| part.get("content"))),
        value => text(value).unwrap_or_default(),
    }
}

/// Returns the text of a reasoning, in any of the shapes that providers give it.
fn reasoning_text(value: Option<&Value>) -> String {
    match value {
        Some(Value::Array(parts)) => parts.iter().map(|part| reasoning_text(Some(part))).collect(),
        Some(part @ Value::Object(_)) => {
            let members = ["thinking", "text", "summary", "content", "reasoning"];
            members.into_iter().map(|name| reasoning_text(part.get(name))).find(|it| !it.is_empty()).unwrap_or_default()
        }
        value => text(value).unwrap_or_default(),
    }
}

impl CallPiece {
    /// Reads a piece of a call; `None` for one that says nothing.
    fn read(call: &Value) -> Result<Option<Self>, Malformed> {
        if is_blank(Some(call)) {
            return Ok(None);
        }
        if call.as_object().is_none() {
            return Err(Malformed("a tool call that is no object"));
        }
        if !is_blank(call.get("custom")) {
            return Err(Malformed("a call of a custom tool, which cannot be translated"));
        }
        let index = whole(call.get("index")).and_then(|index| u32::try_from(index).ok());
        let id = text(call.get("id")).unwrap_or_default();
        let extra_content = call.get("extra_content").filter(|it| !it.is_null()).and_then(Value::read);
        // Some give the function's members beside it.
        let function = call.get("function").filter(|it| it.as_object().is_some()).or(Some(call));
        Self::of_function(index, id, function, extra_content)
    }

    fn of_function(
        index: Option<u32>,
        id: String,
        function: Option<&Value>,
        extra_content: Option<ExtraContent>,
    ) -> Result<Option<Self>, Malformed> {
        let member = |name: &str| function.and_then(|function| function.get(name));
        let arguments = match member("arguments").or_else(|| member("parameters")) {
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            value if is_blank(value) => String::new(),
            _ => return Err(Malformed("arguments of a tool call that are no object")),
        };
        Ok(Some(Self { index, id, name: text(member("name")).unwrap_or_default(), arguments, extra_content }))
    }
}

/// Reads the reason why a choice stopped.
pub(super) fn finish_reason(choice: &Value) -> Option<FinishReason> {
    Some(match text(choice.get("finish_reason"))?.as_str() {
        "stop" | "eos" | "end_turn" => FinishReason::Stop,
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        "null" => return None,
        other => FinishReason::Other(other.to_owned()),
    })
}

/// Whether a choice stopped because the model failed: `error` of OpenRouter, and DeepSeek's for a response that ended
/// for want of resources.
pub(super) fn is_failure(reason: &FinishReason) -> bool {
    matches!(reason, FinishReason::Other(reason) if matches!(reason.as_str(), "error" | "insufficient_system_resource"))
}

/// Returns the reason in keeping with what was said: one that called a tool stopped for its call, and one
/// that did not call any just stopped.
pub(super) fn consistent(reason: FinishReason, has_called: bool) -> FinishReason {
    match (reason, has_called) {
        (FinishReason::Stop, true) => FinishReason::ToolCalls,
        (FinishReason::ToolCalls, false) => FinishReason::Stop,
        (reason, _) => reason,
    }
}

/// Returns the error that an object reports in place of a response or an event.
pub(super) fn error(value: &Value) -> Option<WireError> {
    let member = |name: &str| value.get(name);
    let error = member("error").filter(|error| !is_blank(Some(error)) && **error != Value::Bool(false));
    if let Some(error) = error {
        let inner = |name: &str| text(error.get(name));
        let message = inner("message").or_else(|| text(Some(error))).or_else(|| text(member("message")));
        return Some(WireError {
            kind: inner("type"),
            code: inner("code").or_else(|| text(member("code"))),
            message: message.unwrap_or_default(),
        });
    }
    // vLLM, in older versions.
    if member("object").is_some_and(|object| *object == "error") || member("type").is_some_and(|kind| *kind == "error")
    {
        let message = text(member("message")).unwrap_or_default();
        return Some(WireError { kind: None, code: text(member("code")), message });
    }
    // MiniMax.
    if let Some(base) = member("base_resp")
        && let Some(status) = whole(base.get("status_code")).filter(|status| *status != 0)
    {
        let message = text(base.get("status_msg")).unwrap_or_default();
        return Some(WireError { kind: Some("base_resp".to_owned()), code: Some(status.to_string()), message });
    }
    // FastAPI, and the Chinese platforms' `{"code","msg"}`.
    if member("choices").is_none()
        && let Some(message) = text(member("detail")).or_else(|| text(member("msg")))
    {
        return Some(WireError { kind: None, code: text(member("code")), message });
    }
    None
}

/// Reads token counts, under all the names that providers give them.
pub(in crate::dialect) fn usage(value: Option<&Value>) -> Option<Usage> {
    let usage = value.filter(|usage| usage.as_object().is_some_and(|members| !members.is_empty()))?;
    let of = |names: &[&str]| names.iter().find_map(|name| whole(usage.get(name)).filter(|count| *count > 0));
    let detail = |lists: &[&str], name: &str| {
        lists.iter().find_map(|list| whole(usage.get(list)?.get(name)).filter(|count| *count > 0))
    };
    let prompt_tokens = of(&["prompt_tokens", "input_tokens"]).unwrap_or_default();
    let completion_tokens = of(&["completion_tokens", "output_tokens"]).unwrap_or_default();
    let cached = detail(&["prompt_tokens_details", "input_tokens_details"], "cached_tokens").or(of(&[
        "prompt_cache_hit_tokens",
        "cached_tokens",
        "cache_read_input_tokens",
        "num_cached_tokens",
    ]));
    let written = detail(&["prompt_tokens_details", "input_tokens_details"], "cache_write_tokens");
    let reasoning = detail(&["completion_tokens_details", "output_tokens_details"], "reasoning_tokens")
        .or(of(&["reasoning_tokens"]));
    Some(Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: of(&["total_tokens"]).unwrap_or(prompt_tokens.saturating_add(completion_tokens)),
        prompt_tokens_details: cached.or(written).map(|_| CachedTokens {
            cached_tokens: cached.unwrap_or_default(),
            cache_write_tokens: written.unwrap_or_default(),
        }),
        completion_tokens_details: reasoning.map(|reasoning_tokens| ReasoningTokens { reasoning_tokens }),
    })
}

/// Returns the choices of a response or an event.
///
/// # Errors
/// They are of a type in which they cannot be read.
pub(super) fn choices(value: &Value) -> Result<&[Value], Malformed> {
    lenient::list(value.get("choices"), CHOICES)
}

/// Decodes a plain response.
///
/// # Errors
/// The body is no chat completion, or it holds something that cannot be translated.
pub(super) fn decode_response(body: &[u8], split_thoughts: impl Fn(&mut Said)) -> Result<Response, Malformed> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Malformed("a body that is no chat completion"))?;
    if error(&body).is_some() {
        return Err(Malformed("an error in place of a chat completion"));
    }
    let mut choices = Vec::new();
    for (at, choice) in self::choices(&body)?.iter().enumerate() {
        if is_blank(Some(choice)) {
            continue;
        }
        choices.push(decode_choice(choice, at, &split_thoughts)?);
    }
    if choices.is_empty() {
        return Err(Malformed("a chat completion without choices"));
    }
    Ok(Response {
        id: text(body.get("id")).unwrap_or_default(),
        object: "chat.completion".to_owned(),
        created: whole(body.get("created")).unwrap_or_default(),
        model: text(body.get("model")).unwrap_or_default(),
        choices,
        usage: usage(body.get("usage")),
        other: Other::default(),
    })
}

fn decode_choice(choice: &Value, at: usize, split_thoughts: &impl Fn(&mut Said)) -> Result<Choice, Malformed> {
    let message = choice.get("message").or_else(|| choice.get("delta")).or_else(|| choice.get("text"));
    if message.is_none_or(Value::is_null) {
        return Err(Malformed("a choice without a message"));
    }
    let mut said = Said::read(message)?;
    split_thoughts(&mut said);
    if said.calls.iter().any(|call| call.name.is_empty()) {
        return Err(Malformed("a tool call without a name"));
    }
    let reason = finish_reason(choice);
    if reason.as_ref().is_some_and(is_failure) {
        return Err(Malformed("a response that the model failed to give"));
    }
    let has_called = !said.calls.is_empty();
    let calls: Vec<_> = said.calls.into_iter().map(CallPiece::into_call).collect();
    let filled = |text: String| (!text.is_empty()).then_some(text);
    let message = Message {
        role: Role::Assistant,
        content: (!said.content.is_empty() || !has_called && said.refusal.is_empty())
            .then_some(Content::Text(said.content)),
        refusal: filled(said.refusal),
        reasoning_content: filled(said.reasoning),
        tool_calls: has_called.then_some(calls),
        extra_content: said.extra_content,
        ..Message::default()
    };
    let index = whole(choice.get("index")).unwrap_or(at as u64);
    Ok(Choice {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        message,
        finish_reason: reason.map(|reason| consistent(reason, has_called)),
        logprobs: choice.get("logprobs").filter(|it| !it.is_null()).cloned(),
    })
}

impl CallPiece {
    fn into_call(self) -> ToolCall {
        let Self { id, name, arguments, extra_content, .. } = self;
        ToolCall { id, kind: FunctionKind::Function, function: CalledFunction { name, arguments }, extra_content }
    }
}
