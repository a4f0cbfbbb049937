//! The conversation: turns to messages.

use serde_json::Value;

use super::{
    Block, Content, Message, Other, Role, Source,
    foreign::{self, is_foreign},
    front::UNKNOWN,
};
use crate::dialect::{Inexpressible, chat};

/// Adds the turns as messages; a turn with tools' results is several.
pub(super) fn messages(turns: &[Message], out: &mut Vec<chat::Message>) -> Result<(), Inexpressible> {
    for (at, turn) in turns.iter().enumerate() {
        let path = format!("messages[{at}]");
        UNKNOWN.members(&path, &turn.other)?;
        let blocks = match &turn.content {
            Content::Text(text) => {
                let role = match turn.role {
                    Role::User => chat::Role::User,
                    Role::Assistant => chat::Role::Assistant,
                };
                let content = Some(chat::Content::Text(text.clone()));
                out.push(chat::Message { role, content, ..chat::Message::default() });
                continue;
            }
            Content::Blocks(blocks) => blocks,
        };
        match turn.role {
            Role::User => user(blocks, &path, out)?,
            Role::Assistant => out.push(assistant(blocks, &path)?),
        }
    }
    Ok(())
}

fn user(blocks: &[Block], path: &str, out: &mut Vec<chat::Message>) -> Result<(), Inexpressible> {
    let mut said = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        let path = format!("{path}.content[{at}]");
        match block {
            Block::ToolResult { .. } => out.push(result(block, &path)?),
            block => said.push(part(block, &path)?),
        }
    }
    if let Some(content) = content(said) {
        out.push(chat::Message { role: chat::Role::User, content: Some(content), ..chat::Message::default() });
    }
    Ok(())
}

fn result(block: &Block, path: &str) -> Result<chat::Message, Inexpressible> {
    let Block::ToolResult { tool_use_id, content: told, is_error, other } = block else {
        return Err(UNKNOWN.refuse(format!("{path}.type")));
    };
    UNKNOWN.members(path, other)?;
    let told = match told {
        None => None,
        Some(Content::Text(text)) => Some(chat::Content::Text(text.clone())),
        Some(Content::Blocks(blocks)) => {
            let parts = blocks.iter().enumerate().map(|(at, block)| part(block, &format!("{path}.content[{at}]")));
            content(parts.collect::<Result<_, _>>()?)
        }
    };
    Ok(chat::Message {
        role: chat::Role::Tool,
        content: Some(told.unwrap_or_else(|| chat::Content::Text(String::new()))),
        tool_call_id: Some(tool_use_id.clone()),
        is_error: is_error.filter(|failed| *failed),
        other: hints(other),
        ..chat::Message::default()
    })
}

fn assistant(blocks: &[Block], path: &str) -> Result<chat::Message, Inexpressible> {
    let (mut said, mut calls, mut thoughts, mut reasoning) = (Vec::new(), Vec::new(), Vec::new(), String::new());
    let mut google = None;
    for (at, block) in blocks.iter().enumerate() {
        let path = format!("{path}.content[{at}]");
        match block {
            Block::ToolUse { id, name, input, other } => {
                UNKNOWN.members(&path, other)?;
                let arguments = if input.is_null() { "{}".to_owned() } else { input.to_string() };
                let function = chat::CalledFunction { name: name.clone(), arguments };
                let extra_content = google.take().map(|signature: &str| chat::ExtraContent {
                    google: Some(chat::Google { thought_signature: Some(signature.to_owned()) }),
                    ..chat::ExtraContent::default()
                });
                calls.push(chat::ToolCall { id: id.clone(), function, extra_content, ..chat::ToolCall::default() });
            }
            Block::Thinking { thinking, signature } => {
                reasoning.push_str(thinking);
                // What another provider's model thought has no signature of Anthropic's.
                if !is_foreign(signature) {
                    let (thinking, signature) = (thinking.clone(), signature.clone());
                    thoughts.push(chat::Thought::Thinking { thinking, signature });
                }
            }
            Block::RedactedThinking { data } if is_foreign(data) => google = foreign::google(data),
            Block::RedactedThinking { data } => {
                thoughts.push(chat::Thought::RedactedThinking { data: data.clone() });
            }
            block => said.push(part(block, &path)?),
        }
    }
    if said.is_empty() && calls.is_empty() {
        // One that only thought has said nothing; others want that said.
        said.push(chat::Part::Text { text: String::new(), other: Other::new() });
    }
    let anthropic = (!thoughts.is_empty()).then_some(thoughts);
    Ok(chat::Message {
        role: chat::Role::Assistant,
        content: content(said),
        reasoning_content: (!reasoning.is_empty()).then_some(reasoning),
        tool_calls: (!calls.is_empty()).then_some(calls),
        extra_content: anthropic.map(|them| chat::ExtraContent { anthropic: Some(them), google: None }),
        ..chat::Message::default()
    })
}

/// Parts as a content: one text is just that, and none is none.
pub(super) fn content(mut parts: Vec<chat::Part>) -> Option<chat::Content> {
    match &mut parts[..] {
        [] => None,
        [chat::Part::Text { text, other }] if other.is_empty() => Some(chat::Content::Text(std::mem::take(text))),
        _ => Some(chat::Content::Parts(parts)),
    }
}

/// A block that says or shows something.
pub(super) fn part(block: &Block, path: &str) -> Result<chat::Part, Inexpressible> {
    match block {
        Block::Text { text, other } => {
            UNKNOWN.members(path, other)?;
            Ok(chat::Part::Text { text: text.clone(), other: hints(other) })
        }
        Block::Image { source, other } => {
            UNKNOWN.members(path, other)?;
            let url = match source {
                Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
                Source::Url { url } => url.clone(),
                Source::Text { .. } | Source::Other(_) => return Err(UNKNOWN.refuse(format!("{path}.source.type"))),
            };
            Ok(chat::Part::ImageUrl { image_url: chat::ImageUrl { url, detail: None }, other: hints(other) })
        }
        Block::Document { source, title, other } => {
            UNKNOWN.members(path, other)?;
            document(source, title.as_deref(), hints(other), path)
        }
        _ => Err(UNKNOWN.refuse(format!("{path}.type"))),
    }
}

/// A document; one that is plain text is told as such.
fn document(source: &Source, title: Option<&str>, other: Other, path: &str) -> Result<chat::Part, Inexpressible> {
    match source {
        Source::Base64 { media_type, data } => {
            let file_data = Some(format!("data:{media_type};base64,{data}"));
            let file = chat::File { file_data, file_id: None, filename: title.map(str::to_owned) };
            Ok(chat::Part::File { file, other })
        }
        Source::Text { data, .. } => {
            let text = title.map_or_else(|| data.clone(), |title| format!("{title}\n\n{data}"));
            Ok(chat::Part::Text { text, other })
        }
        Source::Url { .. } | Source::Other(_) => Err(UNKNOWN.refuse(format!("{path}.source.type"))),
    }
}

/// What Anthropic's format takes beside the hub's words.
pub(super) fn hints(other: &Other) -> Other {
    let hint = other.get_key_value("cache_control").filter(|(_, value)| **value != Value::Null);
    hint.map(|(name, value)| (name.clone(), value.clone())).into_iter().collect()
}
