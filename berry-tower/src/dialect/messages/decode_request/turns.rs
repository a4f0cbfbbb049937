//! Decodes or encodes the turns of a conversation.

use super::UNKNOWN;
use crate::dialect::{
    capabilities, hub,
    messages::{
        Block, Content, Message, Other, Role, Source,
        foreign_thinking::{self, is_foreign},
    },
    responses::envelope::Seal,
    unsupported::UnsupportedField,
    value::Value,
};

/// Decodes the turns; a turn with tool results becomes several messages.
pub(super) fn messages(
    turns: &[Message],
    seals: &[Seal],
    out: &mut Vec<hub::Message>,
    dropped: &mut Vec<String>,
) -> Result<(), UnsupportedField> {
    for (at, turn) in turns.iter().enumerate() {
        let path = format!("messages[{at}]");
        if turn.role != Role::Assistant {
            UNKNOWN.members(&path, &turn.other, capabilities::messages, dropped)?;
        }
        let blocks = match &turn.content {
            Content::Text(text) => {
                let role = match turn.role {
                    Role::User => hub::Role::User,
                    Role::Assistant => hub::Role::Assistant,
                    Role::System => hub::Role::System,
                };
                let content = Some(hub::Content::Text(text.clone()));
                out.push(hub::Message { role, content, ..hub::Message::default() });
                continue;
            }
            Content::Blocks(blocks) => blocks,
        };
        match turn.role {
            Role::User => user(blocks, &path, out)?,
            Role::Assistant => out.push(assistant(blocks, seals, &path)?),
            Role::System => {
                let parts = blocks.iter().enumerate().map(|(at, it)| part(it, &format!("{path}.content[{at}]")));
                if let Some(content) = content(parts.collect::<Result<_, _>>()?) {
                    let role = hub::Role::System;
                    out.push(hub::Message { role, content: Some(content), ..hub::Message::default() });
                }
            }
        }
    }
    Ok(())
}

fn user(blocks: &[Block], path: &str, out: &mut Vec<hub::Message>) -> Result<(), UnsupportedField> {
    let mut said = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        let path = format!("{path}.content[{at}]");
        match block {
            Block::ToolResult { .. } => out.push(result(block, &path)?),
            block => said.push(part(block, &path)?),
        }
    }
    if let Some(content) = content(said) {
        out.push(hub::Message { role: hub::Role::User, content: Some(content), ..hub::Message::default() });
    }
    Ok(())
}

fn result(block: &Block, path: &str) -> Result<hub::Message, UnsupportedField> {
    let Block::ToolResult { tool_use_id, content: told, is_error, other } = block else {
        return Err(UNKNOWN.reject(format!("{path}.type")));
    };
    let told = match told {
        None => None,
        Some(Content::Text(text)) => Some(hub::Content::Text(text.clone())),
        Some(Content::Blocks(blocks)) => {
            let parts = blocks.iter().enumerate().map(|(at, block)| part(block, &format!("{path}.content[{at}]")));
            content(parts.collect::<Result<_, _>>()?)
        }
    };
    Ok(hub::Message {
        role: hub::Role::Tool,
        content: Some(told.unwrap_or_else(|| hub::Content::Text(String::new()))),
        tool_call_id: Some(tool_use_id.clone()),
        is_error: is_error.filter(|failed| *failed),
        other: hints(other),
        ..hub::Message::default()
    })
}

fn assistant(blocks: &[Block], seals: &[Seal], path: &str) -> Result<hub::Message, UnsupportedField> {
    let (mut said, mut calls, mut thoughts, mut reasoning) = (Vec::new(), Vec::new(), Vec::new(), String::new());
    let mut google = None;
    for (at, block) in blocks.iter().enumerate() {
        let path = format!("{path}.content[{at}]");
        match block {
            Block::ToolUse { id, name, input, .. } => {
                let arguments = if input.is_null() { "{}".to_owned() } else { input.to_string() };
                let function = hub::CalledFunction { name: name.clone(), arguments };
                let extra_content = google.take().map(|(signature, origin)| hub::ExtraContent {
                    google: Some(hub::Google { thought_signature: Some(signature) }),
                    origin: Some(origin),
                    ..hub::ExtraContent::default()
                });
                calls.push(hub::ToolCall { id: id.clone(), function, extra_content, ..hub::ToolCall::default() });
            }
            Block::Thinking { thinking, signature } => {
                reasoning.push_str(thinking);
                // Reasoning of other providers' models is not signed by Anthropic.
                if !is_foreign(signature) {
                    let (thinking, signature) = (thinking.clone(), signature.clone());
                    thoughts.push(hub::Thought::Thinking { thinking, signature });
                }
            }
            // Tools that Anthropic ran itself in an earlier turn; what came of them is in the texts.
            Block::Other(block) if is_hosted(block) => {}
            Block::RedactedThinking { data } if is_foreign(data) => google = foreign_thinking::google(data, seals),
            Block::RedactedThinking { data } => {
                thoughts.push(hub::Thought::RedactedThinking { data: data.clone() });
            }
            block => said.push(part(block, &path)?),
        }
    }
    if said.is_empty() && calls.is_empty() {
        // Other formats require a content in a turn of mere reasoning.
        said.push(hub::Part::Text { text: String::new(), other: Other::default() });
    }
    let anthropic = (!thoughts.is_empty()).then_some(thoughts);
    Ok(hub::Message {
        role: hub::Role::Assistant,
        content: content(said),
        reasoning_content: (!reasoning.is_empty()).then_some(reasoning),
        tool_calls: (!calls.is_empty()).then_some(calls),
        extra_content: anthropic.map(|them| hub::ExtraContent { anthropic: Some(them), ..Default::default() }),
        ..hub::Message::default()
    })
}

/// Whether a block is a call of a tool that Anthropic runs, or its result.
fn is_hosted(block: &Value) -> bool {
    let kind = block.get("type").and_then(Value::as_str).unwrap_or_default();
    matches!(kind, "server_tool_use" | "mcp_tool_use") || kind.ends_with("_tool_result")
}

/// Returns parts as a content: one text as a text, and no parts as `None`.
pub(super) fn content(mut parts: Vec<hub::Part>) -> Option<hub::Content> {
    match &mut parts[..] {
        [] => None,
        [hub::Part::Text { text, other }] if other.is_empty() => Some(hub::Content::Text(std::mem::take(text))),
        _ => Some(hub::Content::Parts(parts)),
    }
}

/// Decodes a block of text or media.
pub(super) fn part(block: &Block, path: &str) -> Result<hub::Part, UnsupportedField> {
    match block {
        Block::Text { text, other } => Ok(hub::Part::Text { text: text.clone(), other: hints(other) }),
        Block::Image { source, other } => {
            let url = match source {
                Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
                Source::Url { url } => url.clone(),
                Source::Text { .. } | Source::Other(_) => return Err(UNKNOWN.reject(format!("{path}.source.type"))),
            };
            Ok(hub::Part::ImageUrl { image_url: hub::ImageUrl { url, detail: None }, other: hints(other) })
        }
        Block::Document { source, title, other } => document(source, title.as_deref(), hints(other), path),
        Block::Other(block) => {
            let text = text_of(block).ok_or_else(|| UNKNOWN.reject(format!("{path}.type")))?;
            Ok(hub::Part::Text { text, other: Other::default() })
        }
        _ => Err(UNKNOWN.reject(format!("{path}.type"))),
    }
}

/// Returns what a block of Anthropic's alone says as a text: a result of a search, the name of a tool that was found, or
/// a summary.
fn text_of(block: &Value) -> Option<String> {
    let text = |name: &str| block.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match text("type")? {
        "tool_reference" => Some(format!("Tool: {}", text("tool_name")?)),
        // The summary of the turns before it.
        "compaction" => Some(text("content").unwrap_or_default().to_owned()),
        "search_result" => {
            let head = [text("title"), text("source")].into_iter().flatten().map(str::to_owned);
            Some(head.chain(texts(block.get("content")?)).collect::<Vec<_>>().join("\n"))
        }
        _ => None,
    }
}

/// The texts of a content that holds nothing else; `None` for any other.
fn texts(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(blocks) => {
            let text = |block: &Value| block.get("text").and_then(Value::as_str).map(str::to_owned);
            Some(blocks.iter().map(text).collect::<Option<Vec<_>>>()?.join("\n"))
        }
        _ => None,
    }
}

/// Decodes a document; plain text becomes a text.
fn document(source: &Source, title: Option<&str>, other: Other, path: &str) -> Result<hub::Part, UnsupportedField> {
    match source {
        Source::Base64 { media_type, data } => {
            let file_data = Some(format!("data:{media_type};base64,{data}"));
            let file = hub::File { file_data, filename: title.map(str::to_owned), ..hub::File::default() };
            Ok(hub::Part::File { file, other })
        }
        Source::Text { data, .. } => {
            let text = title.map_or_else(|| data.clone(), |title| format!("{title}\n\n{data}"));
            Ok(hub::Part::Text { text, other })
        }
        Source::Other(source) if source.get("type").is_some_and(|kind| *kind == "content") => {
            let texts = source.get("content").and_then(texts);
            let text = texts.ok_or_else(|| UNKNOWN.reject(format!("{path}.source.content")))?;
            Ok(hub::Part::Text {
                text: title.map_or_else(|| text.clone(), |title| format!("{title}\n\n{text}")),
                other,
            })
        }
        Source::Url { url } => {
            let file = hub::File { url: Some(url.clone()), filename: title.map(str::to_owned), ..hub::File::default() };
            Ok(hub::Part::File { file, other })
        }
        Source::Other(_) => Err(UNKNOWN.reject(format!("{path}.source.type"))),
    }
}

/// Returns the members that are kept for Anthropic's format.
pub(super) fn hints(other: &Other) -> Other {
    let hint = other.get_key_value("cache_control").filter(|(_, value)| **value != Value::Null);
    hint.map(|(name, value)| (name.clone(), value.clone())).into_iter().collect()
}
