//! Decodes the parts of a response.

use super::{LogprobsResult, Part, Status, Token, UsageMetadata};
use crate::dialect::{
    codec::{Malformed, WireError},
    hub, lenient,
    value::Value,
};

/// The number of characters of a response's id in the ids of its calls; OpenAI accepts ids of 40.
const ID: usize = 24;

/// The finish of a candidate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// The candidate continues.
    GoesOn,
    /// It finished for this reason.
    Reason(hub::FinishReason),
    /// The model failed.
    Failed,
}

impl Finish {
    /// Converts Google's finish reason. An unknown reason becomes `content_filter`: neither the model nor the length
    /// ended the response.
    pub(super) fn of(reason: Option<&str>, has_called: bool) -> Self {
        match reason {
            None | Some("" | "FINISH_REASON_UNSPECIFIED") => Self::GoesOn,
            Some("STOP") if has_called => Self::Reason(hub::FinishReason::ToolCalls),
            Some("STOP") => Self::Reason(hub::FinishReason::Stop),
            Some("MAX_TOKENS") => Self::Reason(hub::FinishReason::Length),
            Some(
                "MALFORMED_FUNCTION_CALL"
                | "UNEXPECTED_TOOL_CALL"
                | "TOO_MANY_TOOL_CALLS"
                | "MALFORMED_RESPONSE"
                | "MISSING_THOUGHT_SIGNATURE",
            ) => Self::Failed,
            // SAFETY, RECITATION, BLOCKLIST, PROHIBITED_CONTENT, SPII, LANGUAGE, OTHER, …
            Some(_) => Self::Reason(hub::FinishReason::ContentFilter),
        }
    }
}

/// Decodes a part as a delta; `None` for an empty one. `calls` counts the calls; `id` makes an id for a call without
/// one.
///
/// # Errors
/// The part holds a medium, which cannot be translated.
pub(super) fn delta(
    part: Part,
    calls: &mut u32,
    id: impl FnOnce(u32) -> String,
) -> Result<Option<hub::Delta>, Malformed> {
    let extra_content = part.thought_signature.map(|signature| hub::ExtraContent {
        google: Some(hub::Google { thought_signature: Some(signature) }),
        ..hub::ExtraContent::default()
    });
    if part.inline_data.is_some() || part.file_data.is_some() {
        return Err(Malformed("a picture or another medium, which cannot be translated"));
    }
    if let Some(call) = part.function_call {
        if call.name.is_empty() {
            return Err(Malformed("a tool call without a name"));
        }
        let index = *calls;
        *calls += 1;
        let arguments = Value::from(call.args.unwrap_or_default()).to_string();
        let call = hub::ToolCallDelta {
            index,
            id: Some(call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| id(index))),
            kind: Some(hub::FunctionKind::Function),
            function: Some(hub::FunctionDelta { name: Some(call.name), arguments: Some(arguments) }),
            extra_content,
        };
        return Ok(Some(hub::Delta { tool_calls: Some(vec![call]), ..hub::Delta::default() }));
    }
    let text = part.text.filter(|text| !text.is_empty());
    let text = text.or_else(|| code(part.executable_code?.get("code"), "python"));
    let text = text.or_else(|| code(part.code_execution_result?.get("output"), ""));
    if text.is_none() && extra_content.is_none() {
        return Ok(None);
    }
    let (content, reasoning_content) = if part.thought == Some(true) { (None, text) } else { (text, None) };
    Ok(Some(hub::Delta { content, reasoning_content, extra_content, ..hub::Delta::default() }))
}

/// Code that the model ran, or its output, as a block of Markdown.
fn code(text: Option<&Value>, language: &str) -> Option<String> {
    let text = lenient::text(text)?;
    Some(format!("\n```{language}\n{}\n```\n", text.trim_end()))
}

/// Makes an id for a call without one, unique in its conversation: from the response's id, or else from the length of
/// the conversation.
pub(super) fn call_id(answer: Option<&str>, turns: usize, choice: u32, call: u32) -> String {
    let answer = answer.unwrap_or_default().chars();
    let answer: String = answer.filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(ID).collect();
    if answer.is_empty() { format!("call_{turns}_{choice}_{call}") } else { format!("call_{answer}_{choice}_{call}") }
}

/// Adds a delta to a message.
pub(super) fn add(message: &mut hub::Message, delta: hub::Delta) {
    if let Some(text) = delta.content {
        match &mut message.content {
            Some(hub::Content::Text(said)) => said.push_str(&text),
            content => *content = Some(hub::Content::Text(text)),
        }
    }
    if let Some(thoughts) = delta.reasoning_content {
        message.reasoning_content.get_or_insert_default().push_str(&thoughts);
    }
    message.extra_content = delta.extra_content.or(message.extra_content.take());
    for call in delta.tool_calls.into_iter().flatten() {
        let function = call.function.unwrap_or_default();
        message.tool_calls.get_or_insert_default().push(hub::ToolCall {
            id: call.id.unwrap_or_default(),
            kind: hub::FunctionKind::Function,
            function: hub::CalledFunction {
                name: function.name.unwrap_or_default(),
                arguments: function.arguments.unwrap_or_default(),
            },
            extra_content: call.extra_content,
        });
    }
}

/// Returns the token counts; reasoning counts as output, and tokens of Google's own tools as input.
pub(super) fn usage(told: &UsageMetadata) -> hub::Usage {
    let prompt_tokens = told.prompt_token_count.saturating_add(told.tool_use_prompt_token_count);
    let completion_tokens = told.candidates_token_count.saturating_add(told.thoughts_token_count);
    let cached = hub::CachedTokens { cached_tokens: told.cached_content_token_count, ..Default::default() };
    let thoughts = hub::ReasoningTokens { reasoning_tokens: told.thoughts_token_count };
    hub::Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens.saturating_add(completion_tokens),
        prompt_tokens_details: Some(cached),
        completion_tokens_details: Some(thoughts),
    }
}

/// Encodes log-probabilities in OpenAI's form.
pub(super) fn logprobs(told: LogprobsResult) -> Value {
    let token = |it: &Token| {
        let bytes = it.token.bytes().map(|byte| u64::from(byte).into()).collect();
        let logprob = serde_json::Number::from_f64(it.log_probability).map_or(Value::Null, Value::Number);
        [("token", it.token.as_str().into()), ("logprob", logprob), ("bytes", Value::Array(bytes))]
    };
    let mut tops = told.top_candidates.into_iter();
    let content = told.chosen_candidates.iter().map(|chosen| {
        let top =
            tops.next().map_or_else(Vec::new, |top| top.candidates.iter().map(|it| Value::object(token(it))).collect());
        let [text, logprob, bytes] = token(chosen);
        Value::object([text, logprob, bytes, ("top_logprobs", Value::Array(top))])
    });
    Value::object([("content", Value::Array(content.collect())), ("refusal", Value::Null)])
}

/// Converts an error.
pub(super) fn error(told: Status) -> WireError {
    let code = told.code.and_then(|code| match code {
        Value::String(code) => Some(code),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    });
    WireError { kind: told.status, code, message: told.message.unwrap_or_default() }
}
