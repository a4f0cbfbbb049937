//! Encodes a plain response in Anthropic's format.

use super::{Block, EventError, Other, Response, Role, StopReason, Usage, foreign_thinking};
use crate::dialect::{
    codec::WireError,
    embedded, hub,
    responses::envelope::Seal,
    value::{Object, Value},
};

/// Anthropic's error types.
const KINDS: [&str; 9] = [
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "timeout_error",
    "overloaded_error",
];

/// The number of characters of a response's id in the ids of its calls; OpenAI accepts ids of 40.
const ID: usize = 24;

/// Returns a message without content.
pub(super) fn begun(id: &str, model: String, usage: Option<&hub::Usage>) -> Response {
    Response {
        id: message_id(id),
        kind: "message".into(),
        role: Role::Assistant,
        model,
        content: Vec::new(),
        stop_reason: None,
        stop_sequence: None,
        usage: tokens(usage),
        other: Other::default(),
    }
}

/// Returns a message id.
fn message_id(id: &str) -> String {
    if id.starts_with("msg_") { id.to_owned() } else { format!("msg_{}", plain(id.trim_start_matches("chatcmpl-"))) }
}

/// Returns a call id in Anthropic's alphabet, since Anthropic refuses other characters in later turns. A missing id is
/// made from the response's id.
pub(super) fn call_id(id: &str, answer: &str, position: u32) -> String {
    if !id.is_empty() {
        return plain(id);
    }
    let answer = plain(answer.trim_start_matches("chatcmpl-"));
    // The characters are ASCII; the end of an id varies most.
    format!("toolu_{}_{position}", &answer[answer.len().saturating_sub(ID)..])
}

fn plain(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// Returns the token counts; missing ones are 0.
pub(super) fn tokens(usage: Option<&hub::Usage>) -> Usage {
    let details = usage.and_then(|usage| usage.prompt_tokens_details).unwrap_or_default();
    let (read, written) = (details.cached_tokens, details.cache_write_tokens);
    let (prompt, completion) = usage.map_or((0, 0), |usage| (usage.prompt_tokens, usage.completion_tokens));
    Usage {
        input_tokens: Some(prompt.saturating_sub(read).saturating_sub(written)),
        cache_creation_input_tokens: Some(written),
        cache_read_input_tokens: Some(read),
        output_tokens: Some(completion),
        other: Other::default(),
    }
}

/// Returns the stop reason; some providers call a tool and report a normal stop.
pub(super) fn stop_reason(reason: Option<&hub::FinishReason>, has_called: bool) -> StopReason {
    match reason {
        // Clients of Messages know a closed set of reasons.
        Some(hub::FinishReason::Stop | hub::FinishReason::Other(_)) | None if has_called => StopReason::ToolUse,
        Some(hub::FinishReason::Stop | hub::FinishReason::Other(_)) | None => StopReason::EndTurn,
        Some(hub::FinishReason::Length) => StopReason::MaxTokens,
        Some(hub::FinishReason::ToolCalls) => StopReason::ToolUse,
        Some(hub::FinishReason::ContentFilter) => StopReason::Refusal,
    }
}

/// Encodes reasoning as a block.
pub(super) fn thought(thought: hub::Thought) -> Block {
    match thought {
        hub::Thought::Thinking { thinking, signature } => Block::Thinking { thinking, signature },
        hub::Thought::RedactedThinking { data } => Block::RedactedThinking { data },
    }
}

/// Encodes Google's signature of a call as the block before it; `None` without a seal, by which the backend would know
/// it again.
pub(super) fn google_thought(extra: Option<hub::ExtraContent>, seal: Option<&Seal>) -> Option<Block> {
    let signature = extra?.google?.thought_signature?;
    Some(Block::RedactedThinking { data: foreign_thinking::of_google(&signature, seal?) })
}

/// Encodes a plain response with this id as blocks of reasoning, text and calls. Returns also whether a call was cut.
pub(super) fn blocks(message: hub::Message, id: &str, seal: Option<&Seal>) -> (Vec<Block>, bool) {
    let mut blocks = thoughts(message.reasoning_content.unwrap_or_default(), message.extra_content);
    let mut text = match message.content {
        None => String::new(),
        Some(hub::Content::Text(text)) => text,
        Some(hub::Content::Parts(parts)) => parts.into_iter().filter_map(text_of).collect(),
    };
    text.extend(message.refusal);
    if !text.is_empty() {
        blocks.push(Block::Text { text, other: Other::default() });
    }
    let mut is_cut = false;
    for (at, call) in (0..).zip(message.tool_calls.into_iter().flatten()) {
        blocks.extend(google_thought(call.extra_content, seal));
        let input = input(&call.function.arguments);
        is_cut |= input.is_none();
        let (id, input) = (call_id(&call.id, id, at), Value::from(input.unwrap_or_default()));
        blocks.push(Block::ToolUse { id, name: call.function.name, input, other: Other::default() });
    }
    (blocks, is_cut)
}

/// Returns the reasoning with its signatures if those cover all of it. Otherwise it is marked as foreign, and only
/// redacted blocks are kept.
fn thoughts(thinking: String, extra: Option<hub::ExtraContent>) -> Vec<Block> {
    let mut signed = extra.and_then(|extra| extra.anthropic).unwrap_or_default();
    let text_of = |thought: &hub::Thought| match thought {
        hub::Thought::Thinking { thinking, .. } => thinking.clone(),
        hub::Thought::RedactedThinking { .. } => String::new(),
    };
    let mut blocks = Vec::new();
    if !thinking.is_empty() && signed.iter().map(text_of).collect::<String>() != thinking {
        signed.retain(|thought| matches!(thought, hub::Thought::RedactedThinking { .. }));
        blocks.push(Block::Thinking { thinking, signature: foreign_thinking::UNSIGNED.to_owned() });
    }
    blocks.extend(signed.into_iter().map(thought));
    blocks
}

fn text_of(part: hub::Part) -> Option<String> {
    match part {
        hub::Part::Text { text, .. } => Some(text),
        hub::Part::Refusal { refusal } => Some(refusal),
        _ => None,
    }
}

/// Parses a call's input; `None` if it is not an object, for example because it was cut.
fn input(arguments: &str) -> Option<Object> {
    if arguments.trim().is_empty() { Some(Object::default()) } else { embedded::object(arguments) }
}

/// Encodes an error with Anthropic's type.
pub(super) fn error(error: WireError) -> EventError {
    let said = [error.kind.as_deref(), error.code.as_deref()].into_iter().flatten();
    let kind = said.filter_map(kind).next().unwrap_or("api_error");
    EventError { kind: kind.to_owned(), message: error.message }
}

fn kind(said: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|kind| *kind == said).or(match said {
        "400" | "INVALID_ARGUMENT" | "FAILED_PRECONDITION" => Some("invalid_request_error"),
        "401" | "UNAUTHENTICATED" => Some("authentication_error"),
        "403" | "PERMISSION_DENIED" => Some("permission_error"),
        "404" | "NOT_FOUND" => Some("not_found_error"),
        "429" | "RESOURCE_EXHAUSTED" | "requests" | "tokens" | "rate_limit_exceeded" => Some("rate_limit_error"),
        "503" | "529" | "UNAVAILABLE" | "overloaded" | "engine_overloaded" => Some("overloaded_error"),
        "504" | "DEADLINE_EXCEEDED" | "upstream_timeout" => Some("timeout_error"),
        _ => None,
    })
}
