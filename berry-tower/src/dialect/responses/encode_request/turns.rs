//! Encodes messages as items.

use super::UNKNOWN;
use crate::dialect::{
    capabilities,
    hub::{self, Part, Role, is_reasoning},
    unsupported::UnsupportedField,
    value::{Object, Value},
};

/// Returns the system prompt and the items. Reasoning of earlier turns is left out.
pub(super) fn input(messages: &[hub::Message]) -> Result<(Option<String>, Vec<Value>), UnsupportedField> {
    let mut instructions = None;
    let mut items = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let path = format!("messages[{at}]");
        // Members of assistant turns that clients echo are ignored.
        if message.role != Role::Assistant {
            UNKNOWN.members(&path, &message.other, capabilities::chat, &mut Vec::new())?;
        }
        match message.role {
            Role::System | Role::Developer => match &message.content {
                Some(hub::Content::Text(text)) if at == 0 => instructions = Some(text.clone()),
                _ => {
                    let role = if message.role == Role::System { "system" } else { "developer" };
                    items.push(said(role, parts(message, "input_text", &path)?));
                }
            },
            Role::User => {
                let mut parts = parts(message, "input_text", &path)?;
                // Several users may speak.
                if let Some(name) = message.name.as_deref().filter(|name| !name.is_empty()) {
                    parts.insert(0, text("input_text", &format!("{name}:")));
                }
                items.push(said("user", parts));
            }
            Role::Assistant => {
                let mut parts = parts(message, "output_text", &path)?;
                parts.extend(message.refusal.iter().filter(|it| !it.is_empty()).map(|it| refusal(it)));
                if !parts.is_empty() {
                    items.push(said("assistant", parts));
                }
                items.extend(message.tool_calls.iter().flatten().map(call));
            }
            Role::Tool => items.push(result(message, &path)?),
            Role::Function => return Err(UNKNOWN.reject(format!("{path}.role"))),
        }
    }
    Ok((instructions.filter(|text| !text.is_empty()), items))
}

fn said(role: &str, content: Vec<Value>) -> Value {
    Value::object([("type", "message".into()), ("role", role.into()), ("content", Value::Array(content))])
}

fn text(kind: &str, text: &str) -> Value {
    Value::object([("type", kind.into()), ("text", text.into())])
}

fn refusal(text: &str) -> Value {
    Value::object([("type", "refusal".into()), ("refusal", text.into())])
}

fn call(call: &hub::ToolCall) -> Value {
    let arguments = call.function.arguments.trim();
    Value::object([
        ("type", "function_call".into()),
        ("call_id", call.id.as_str().into()),
        ("name", call.function.name.as_str().into()),
        ("arguments", if arguments.is_empty() { "{}" } else { arguments }.into()),
    ])
}

fn result(message: &hub::Message, path: &str) -> Result<Value, UnsupportedField> {
    let mut output = match &message.content {
        None => Value::from(""),
        Some(hub::Content::Text(text)) => text.as_str().into(),
        Some(hub::Content::Parts(_)) => Value::Array(parts(message, "input_text", path)?),
    };
    if message.is_error == Some(true) {
        match &mut output {
            Value::String(text) => text.insert_str(0, "Error: "),
            Value::Array(parts) => parts.insert(0, text("input_text", "Error:")),
            _ => {}
        }
    }
    let id = message.tool_call_id.as_deref().unwrap_or_default();
    Ok(Value::object([("type", "function_call_output".into()), ("call_id", id.into()), ("output", output)]))
}

/// Encodes a content as parts; texts have this type.
fn parts(message: &hub::Message, kind: &str, path: &str) -> Result<Vec<Value>, UnsupportedField> {
    match &message.content {
        None => Ok(Vec::new()),
        Some(hub::Content::Text(said)) if said.is_empty() && message.role == Role::Assistant => Ok(Vec::new()),
        Some(hub::Content::Text(said)) => Ok(vec![text(kind, said)]),
        Some(hub::Content::Parts(all)) => {
            let mut parts = Vec::with_capacity(all.len());
            for (at, it) in all.iter().enumerate() {
                parts.extend(part(it, message.role, kind, &format!("{path}.content[{at}]"))?);
            }
            Ok(parts)
        }
    }
}

fn part(part: &Part, role: Role, kind: &str, path: &str) -> Result<Option<Value>, UnsupportedField> {
    let takes_media = matches!(role, Role::User | Role::Tool);
    Ok(match part {
        Part::Text { text: said, .. } => Some(text(kind, said)),
        Part::Refusal { refusal: said } if role == Role::Assistant => Some(refusal(said)),
        Part::Refusal { refusal: said } => Some(text(kind, said)),
        Part::ImageUrl { image_url, .. } if takes_media => Some(Value::object([
            ("type", "input_image".into()),
            ("image_url", image_url.url.as_str().into()),
            ("detail", image_url.detail.as_deref().unwrap_or("auto").into()),
        ])),
        Part::File { file, .. } if takes_media => Some(document(file, path)?),
        // Clients echo the reasoning of assistant turns as parts.
        Part::Other(part) if role == Role::Assistant && is_reasoning(part) => None,
        Part::ImageUrl { .. } | Part::InputAudio { .. } | Part::File { .. } | Part::Other(_) => {
            return Err(UNKNOWN.reject(path));
        }
    })
}

fn document(file: &hub::File, path: &str) -> Result<Value, UnsupportedField> {
    let mut members = Object::from_iter([("type".to_owned(), Value::from("input_file"))]);
    if let Some(id) = &file.file_id {
        members.insert("file_id".to_owned(), id.as_str().into());
    } else if let Some(data) = &file.file_data {
        // OpenAI requires a name.
        let name = file.filename.as_deref().unwrap_or("document.pdf");
        members.insert("filename".to_owned(), name.into());
        members.insert("file_data".to_owned(), data.as_str().into());
    } else if let Some(url) = &file.url {
        members.insert("file_url".to_owned(), url.as_str().into());
    } else {
        return Err(UnsupportedField::new(format!("{path}.file.file_data"), "it is missing"));
    }
    Ok(members.into())
}
