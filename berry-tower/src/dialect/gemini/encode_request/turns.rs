//! The conversation: messages to turns.

use super::{UNKNOWN, media};
use crate::dialect::{
    capabilities, embedded,
    gemini::{Content, FunctionCall, FunctionResponse, Part, Role},
    hub::{self, is_reasoning},
    tool_results::in_order,
    unsupported::UnsupportedField,
    value::{Object, Value},
};

/// The signature that Google documents for calls of other models and for lost signatures: newer models refuse a turn
/// whose first call has none.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Returns the system prompt and the turns.
pub(super) fn contents(messages: &[hub::Message]) -> Result<(Option<String>, Vec<Content>), UnsupportedField> {
    let (mut system, mut turns, mut open) = (Vec::new(), Vec::<Content>::new(), Open::default());
    for (at, message) in in_order(messages) {
        let path = format!("messages[{at}]");
        // Members of assistant turns that clients echo are ignored.
        if message.role != hub::Role::Assistant {
            UNKNOWN.members(&path, &message.other, capabilities::chat, &mut Vec::new())?;
        }
        let (role, parts) = match message.role {
            hub::Role::System | hub::Role::Developer => {
                system.extend(texts(message, &path)?);
                continue;
            }
            hub::Role::User => (Role::User, named(message, said(message, &path)?)),
            hub::Role::Assistant => {
                // Results belong to the turn after their calls.
                if turns.last().is_some_and(|turn| turn.role == Some(Role::User)) {
                    open.all_answered()?;
                }
                let parts = assistant(message, &path)?;
                open.calls.extend(message.tool_calls.iter().flatten().enumerate().map(|(j, call)| ((at, j), call)));
                (Role::Model, parts)
            }
            hub::Role::Tool => (Role::User, result(message, &path, &mut open)?),
            hub::Role::Function => return Err(UNKNOWN.reject(format!("{path}.role"))),
        };
        match turns.last_mut() {
            Some(last) if last.role == Some(role) => last.parts.extend(parts),
            _ if parts.is_empty() => {}
            None if role == Role::Model => {
                turns.extend([nothing(), Content { role: Some(role), parts }]);
            }
            _ => turns.push(Content { role: Some(role), parts }),
        }
    }
    open.all_answered()?;
    if turns.is_empty() {
        turns.push(nothing());
    }
    for turn in &mut turns {
        // The turn's other calls need no signature.
        if let Some(first) = turn.parts.iter_mut().find(|part| part.function_call.is_some()) {
            first.thought_signature.get_or_insert_with(|| NO_SIGNATURE.to_owned());
        }
    }
    Ok(((!system.is_empty()).then(|| system.join("\n\n")), turns))
}

/// Returns the turn of a user without a message, where Google requires one.
fn nothing() -> Content {
    Content { role: Some(Role::User), parts: vec![Part::text("(no message)")] }
}

/// Puts a user's name before what they say: several users may speak.
fn named(message: &hub::Message, mut parts: Vec<Part>) -> Vec<Part> {
    let Some(name) = message.name.as_deref().filter(|name| !name.is_empty()) else { return parts };
    match parts.first_mut().and_then(|part| part.text.as_mut()) {
        Some(text) => text.insert_str(0, &format!("{name}: ")),
        None => parts.insert(0, Part::text(format!("{name}:"))),
    }
    parts
}

/// The calls without a result, with their positions.
#[derive(Default)]
struct Open<'a> {
    calls: Vec<((usize, usize), &'a hub::ToolCall)>,
}

impl<'a> Open<'a> {
    fn answer(&mut self, id: &str) -> Option<&'a hub::ToolCall> {
        let at = self.calls.iter().position(|(_, call)| call.id == id)?;
        Some(self.calls.remove(at).1)
    }

    fn all_answered(&self) -> Result<(), UnsupportedField> {
        match self.calls.first() {
            None => Ok(()),
            Some(((i, j), _)) => {
                Err(UnsupportedField::new(format!("messages[{i}].tool_calls[{j}]"), "no message holds its result"))
            }
        }
    }
}

/// Encodes a message's content as parts, without empty texts.
fn said(message: &hub::Message, path: &str) -> Result<Vec<Part>, UnsupportedField> {
    match &message.content {
        None => Ok(Vec::new()),
        Some(hub::Content::Text(text)) => Ok(spoken(text).collect()),
        Some(hub::Content::Parts(parts)) => {
            let mut said = Vec::with_capacity(parts.len());
            for (at, part) in parts.iter().enumerate() {
                let path = format!("{path}.content[{at}]");
                match part {
                    hub::Part::Text { text, .. } => said.extend(spoken(text)),
                    // Clients echo the reasoning of assistant turns as parts.
                    hub::Part::Other(part) if message.role == hub::Role::Assistant && is_reasoning(part) => {}
                    hub::Part::Refusal { refusal } => said.extend(spoken(refusal)),
                    media => said.push(media::part(media, &path)?),
                }
            }
            Ok(said)
        }
    }
}

fn spoken(text: &str) -> impl Iterator<Item = Part> {
    (!text.is_empty()).then(|| Part::text(text)).into_iter()
}

/// Returns the texts of a message that must hold only text.
fn texts(message: &hub::Message, path: &str) -> Result<Vec<String>, UnsupportedField> {
    let parts = said(message, path)?;
    match parts.iter().position(|part| part.text.is_none()) {
        Some(_) => Err(UNKNOWN.reject(format!("{path}.content"))),
        None => Ok(parts.into_iter().filter_map(|part| part.text).collect()),
    }
}

fn assistant(message: &hub::Message, path: &str) -> Result<Vec<Part>, UnsupportedField> {
    let mut parts = said(message, path)?;
    parts.extend(message.refusal.iter().flat_map(|refusal| spoken(refusal)));
    if let Some(signature) = signature(message.extra_content.as_ref()) {
        if parts.is_empty() {
            parts.push(Part::text(""));
        }
        // A text's signature comes with its last piece.
        if let Some(last) = parts.last_mut() {
            last.thought_signature = Some(signature);
        }
    }
    for call in message.tool_calls.iter().flatten() {
        let function = &call.function;
        let args = match function.arguments.trim() {
            "" => Object::default(),
            // Malformed arguments stay in the history, with the error of the tool.
            arguments => embedded::object(arguments)
                .unwrap_or_else(|| Object::from_iter([("arguments".to_owned(), arguments.into())])),
        };
        let called = FunctionCall { id: Some(call.id.clone()), name: function.name.clone(), args: Some(args) };
        parts.push(Part {
            thought_signature: signature(call.extra_content.as_ref()),
            function_call: Some(called),
            ..Part::default()
        });
    }
    Ok(parts)
}

fn signature(extra: Option<&hub::ExtraContent>) -> Option<String> {
    extra?.google.as_ref()?.thought_signature.clone()
}

/// Encodes a tool result. A JSON object is kept; a text becomes `result` or `error`.
fn result(message: &hub::Message, path: &str, open: &mut Open<'_>) -> Result<Vec<Part>, UnsupportedField> {
    let id = message.tool_call_id.as_deref().unwrap_or_default();
    let name = open.answer(id).map(|call| call.function.name.as_str()).ok_or_else(|| {
        UnsupportedField::new(format!("{path}.tool_call_id"), "no call before it has this id, or it has a result")
    })?;
    let (texts, media): (Vec<_>, Vec<_>) = said(message, path)?.into_iter().partition(|part| part.text.is_some());
    // A response holds inline media only; media by URL follow it.
    let (media, elsewhere): (Vec<_>, Vec<_>) = media.into_iter().partition(|part| part.inline_data.is_some());
    let text: String = texts.into_iter().filter_map(|part| part.text).collect();
    let is_error = message.is_error == Some(true);
    let response = match embedded::object(&text) {
        Some(members) if !is_error => members,
        _ => Object::from_iter([((if is_error { "error" } else { "result" }).to_owned(), Value::String(text))]),
    };
    let said = FunctionResponse { id: Some(id.to_owned()), name: name.to_owned(), response, parts: media };
    let part = Part { function_response: Some(said), ..Part::default() };
    Ok(std::iter::once(part).chain(elsewhere).collect())
}
