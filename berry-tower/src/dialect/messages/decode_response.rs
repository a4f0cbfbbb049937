//! Decodes a plain response.

use super::{Block, Response, StopReason, Usage};
use crate::dialect::{
    codec::Malformed,
    hub::{
        self, CachedTokens, CalledFunction, Choice, Content, ExtraContent, FinishReason, FunctionKind, Message, Role,
        Thought, ToolCall,
    },
    lenient::is_blank,
    value::Value,
};

/// Decodes a response; the input of the tool `json_tool` becomes its content.
pub(super) fn translate(answer: Response, json_tool: Option<&str>, created: u64) -> Result<hub::Response, Malformed> {
    let mut said = Said::default();
    for block in answer.content {
        check(&block)?;
        said.block(block, json_tool);
    }
    let finish_reason = Some(finish(answer.stop_reason.as_ref(), said.calls.len()));
    Ok(hub::Response {
        id: answer.id,
        object: "chat.completion".to_owned(),
        created,
        model: answer.model,
        choices: vec![Choice { index: 0, message: said.into_message(), finish_reason, logprobs: None }],
        usage: Some(usage(&answer.usage)),
        other: hub::Other::default(),
    })
}

/// Refuses a block with output that the caller would miss.
pub(super) fn check(block: &Block) -> Result<(), Malformed> {
    match block {
        Block::Image { .. } => Err(Malformed("a picture, which cannot be translated")),
        Block::Document { .. } => Err(Malformed("a document, which cannot be translated")),
        Block::ToolUse { name, .. } if name.is_empty() => Err(Malformed("a tool call without a name")),
        Block::Other(block) => match block.get("type").and_then(Value::as_str) {
            Some(kind) if kind.contains("code_execution") => {
                Err(Malformed("the result of code that it ran, which cannot be translated"))
            }
            Some("audio") => Err(Malformed("audio, which cannot be translated")),
            Some("text" | "tool_use" | "thinking") => Err(Malformed("a block that cannot be read")),
            None => Err(Malformed("a block without a type")),
            // A block of an unknown kind with a text would be missed; in a stream the text comes later.
            _ if block.as_object().is_none() || block.get("text").is_some() => {
                Err(Malformed("a block that cannot be read"))
            }
            // The provider runs these calls itself.
            Some("server_tool_use" | "mcp_tool_use") => Ok(()),
            // A block of an unknown kind that holds a name may be a call.
            _ if !is_blank(block.get("name")) => Err(Malformed("a block that cannot be read")),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Said {
    text: String,
    json: Option<String>,
    reasoning: String,
    thoughts: Vec<Thought>,
    calls: Vec<ToolCall>,
}

impl Said {
    /// Adds a block; unrecognised ones are skipped.
    fn block(&mut self, block: Block, json_tool: Option<&str>) {
        match block {
            Block::Text { text, .. } => self.text.push_str(&text),
            Block::Thinking { thinking, signature } => {
                self.reasoning.push_str(&thinking);
                if !signature.is_empty() {
                    self.thoughts.push(Thought::Thinking { thinking, signature });
                }
            }
            Block::RedactedThinking { data } => self.thoughts.push(Thought::RedactedThinking { data }),
            Block::ToolUse { name, input, .. } if json_tool == Some(name.as_str()) => {
                self.json.get_or_insert_with(|| arguments(&input));
            }
            Block::ToolUse { id, name, input, .. } => {
                self.calls.push(ToolCall {
                    id,
                    kind: FunctionKind::Function,
                    function: CalledFunction { name, arguments: arguments(&input) },
                    extra_content: None,
                });
            }
            Block::Image { .. } | Block::Document { .. } | Block::ToolResult { .. } | Block::Other(_) => {}
        }
    }

    fn into_message(self) -> Message {
        let text = self.json.unwrap_or(self.text);
        Message {
            role: Role::Assistant,
            content: (!text.is_empty() || self.calls.is_empty()).then_some(Content::Text(text)),
            reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning),
            tool_calls: (!self.calls.is_empty()).then_some(self.calls),
            extra_content: extra(self.thoughts),
            ..Message::default()
        }
    }
}

/// Returns a call's input as JSON text, `{}` if it is missing. Some servers send the text itself.
pub(super) fn arguments(input: &Value) -> String {
    match input {
        input if is_blank(Some(input)) => "{}".to_owned(),
        Value::String(text) => text.clone(),
        input => input.to_string(),
    }
}

/// Returns reasoning that must be sent back to Anthropic.
pub(super) fn extra(thoughts: Vec<Thought>) -> Option<ExtraContent> {
    (!thoughts.is_empty()).then_some(ExtraContent { anthropic: Some(thoughts), ..ExtraContent::default() })
}

/// Returns the finish reason; the call of the tool for JSON output does not count.
pub(super) fn finish(reason: Option<&StopReason>, calls: usize) -> FinishReason {
    match reason {
        Some(StopReason::MaxTokens | StopReason::ModelContextWindowExceeded) => FinishReason::Length,
        Some(StopReason::Refusal) => FinishReason::ContentFilter,
        // What a newer reason means is not known, but the response is whole.
        Some(StopReason::ToolUse | StopReason::Other(_)) | None if calls > 0 => FinishReason::ToolCalls,
        Some(
            StopReason::EndTurn
            | StopReason::StopSequence
            | StopReason::PauseTurn
            | StopReason::ToolUse
            | StopReason::Other(_),
        )
        | None => FinishReason::Stop,
    }
}

/// Returns the token counts; Anthropic counts cache reads and writes separately.
pub(super) fn usage(usage: &Usage) -> hub::Usage {
    let (read, written) = (usage.cache_read_input_tokens, usage.cache_creation_input_tokens);
    let prompt_tokens = [usage.input_tokens, written, read].into_iter().flatten().fold(0, u64::saturating_add);
    let completion_tokens = usage.output_tokens.unwrap_or_default();
    hub::Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens.saturating_add(completion_tokens),
        prompt_tokens_details: read.or(written).map(|_| CachedTokens {
            cached_tokens: read.unwrap_or_default(),
            cache_write_tokens: written.unwrap_or_default(),
        }),
        completion_tokens_details: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    #[test]
    fn tokens_written_to_a_cache_are_told_though_none_were_read() {
        let told =
            from_value(json!({"input_tokens": 2, "cache_creation_input_tokens": 5, "output_tokens": 1})).unwrap();
        let usage = to_value(super::usage(&told)).unwrap();
        assert_eq!(usage["prompt_tokens"], 7);
        assert_eq!(usage["prompt_tokens_details"], json!({"cached_tokens": 0, "cache_write_tokens": 5}));
        let text = serde_json::from_str(&usage.to_string()).unwrap();
        let read_back = crate::dialect::chat::usage(Some(&text)).unwrap();
        assert_eq!(to_value(&read_back).unwrap(), usage);
        let none = from_value(json!({"input_tokens": 2, "output_tokens": 1})).unwrap();
        assert_eq!(super::usage(&none).prompt_tokens_details, None);
    }
}
