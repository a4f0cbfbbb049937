//! Encodes the turns: they alternate, the user's comes first, and each tool call is followed by its result.

use std::collections::HashMap;

use super::{
    content::{Place, blocks, mark_last, short, system, text_block, thought},
    tools::is_name,
    unrecognised::{UNKNOWN, mark, marked},
};
use crate::dialect::{
    capabilities, embedded,
    hub::{self, Role},
    messages::{self, Block, Content, Other},
    tool_results::in_order,
    unsupported::UnsupportedField,
    value::Value,
};

/// The text of a turn that is required but empty.
const NOTHING: &str = "(no message)";

/// An encoded conversation.
pub(super) struct Conversation<'a> {
    pub(super) system: Option<Content>,
    pub(super) messages: Vec<messages::Message>,
    /// The names of the tools that the conversation calls.
    pub(super) called: Vec<&'a str>,
    /// Whether the last turn is an assistant prefix that the model continues.
    pub(super) ends_with_assistant: bool,
    /// Whether the last assistant turn calls tools without beginning with signed reasoning.
    pub(super) lacks_thought: bool,
}

pub(super) fn translate(messages: &[hub::Message]) -> Result<Conversation<'_>, UnsupportedField> {
    let mut turns = Turns::default();
    for (i, message) in in_order(messages) {
        check(message, i)?;
        match message.role {
            Role::System | Role::Developer => turns.system(message, i)?,
            Role::User => turns.user(message, i)?,
            Role::Assistant => turns.assistant(message, i)?,
            Role::Tool | Role::Function => turns.result(message, i)?,
        }
    }
    turns.finish()
}

#[derive(Default)]
struct Turns<'a> {
    system: Vec<Block>,
    turns: Vec<Turn>,
    called: Vec<&'a str>,
    /// The encoded call ids so far, and how many calls share each.
    ids: HashMap<String, u32>,
    /// The calls without a result, by the caller's ids.
    open: HashMap<&'a str, Call>,
}

struct Call {
    wire_id: String,
    /// The indices of the message and of the call in it.
    at: (usize, usize),
}

struct Turn {
    role: messages::Role,
    /// Tool results, which come first.
    results: Vec<Block>,
    said: Vec<Block>,
}

impl<'a> Turns<'a> {
    fn turn(&mut self, role: messages::Role) -> &mut Turn {
        if self.turns.last().is_none_or(|turn| turn.role != role) {
            self.turns.push(Turn::new(role));
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    fn system(&mut self, message: &hub::Message, i: usize) -> Result<(), UnsupportedField> {
        let mut found = blocks(message.content.as_ref(), Place { message: i, text_only: true })?;
        mark_last(&mut found, mark(&message.other));
        self.system.extend(found);
        Ok(())
    }

    fn user(&mut self, message: &hub::Message, i: usize) -> Result<(), UnsupportedField> {
        let mut found = blocks(message.content.as_ref(), Place { message: i, text_only: false })?;
        // Several users may speak; an assistant's name is a mere hint.
        if let Some(name) = message.name.as_deref().filter(|name| !name.is_empty()) {
            match found.first_mut() {
                Some(Block::Text { text, .. }) => text.insert_str(0, &format!("{name}: ")),
                _ => found.splice(0..0, text_block(&format!("{name}:"), Other::default())).for_each(drop),
            }
        }
        mark_last(&mut found, mark(&message.other));
        self.turn(messages::Role::User).said.extend(found);
        Ok(())
    }

    fn assistant(&mut self, message: &'a hub::Message, i: usize) -> Result<(), UnsupportedField> {
        if self.turns.last().is_some_and(|turn| turn.role == messages::Role::User) {
            self.all_answered()?;
        }
        let mut said = blocks(message.content.as_ref(), Place { message: i, text_only: true })?;
        said.extend(message.refusal.as_deref().and_then(|refusal| text_block(refusal, Other::default())));
        for (j, call) in message.tool_calls.iter().flatten().enumerate() {
            said.push(self.call(call, (i, j))?);
        }
        mark_last(&mut said, mark(&message.other));
        // Anthropic refuses reasoning with nothing after it.
        if !said.is_empty() {
            let extra = message.extra_content.as_ref();
            let thoughts = extra.and_then(|extra| extra.anthropic.as_deref()).unwrap_or_default();
            let turn = self.turn(messages::Role::Assistant);
            turn.said.extend(thoughts.iter().filter_map(thought));
            turn.said.extend(said);
        }
        Ok(())
    }

    fn call(&mut self, call: &'a hub::ToolCall, at: (usize, usize)) -> Result<Block, UnsupportedField> {
        let (i, j) = at;
        let wrong =
            |what: &str, why: &str| Err(UnsupportedField::new(format!("messages[{i}].tool_calls[{j}].{what}"), why));
        let name = call.function.name.as_str();
        if !is_name(name) {
            return wrong("function.name", "Anthropic takes 1 to 128 letters, digits, _ and -");
        }
        if self.open.contains_key(&*call.id) {
            return wrong("id", "two calls have this id");
        }
        let arguments = call.function.arguments.trim();
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        // Malformed arguments stay in the history, with the error of the tool.
        let input = match embedded::object(arguments) {
            Some(input) => input.into(),
            None => Value::object([("arguments", arguments.into())]),
        };
        let wire_id = self.wire_id(&call.id);
        self.open.insert(&call.id, Call { wire_id: wire_id.clone(), at });
        self.called.push(name);
        Ok(Block::ToolUse { id: wire_id, name: name.to_owned(), input, other: Other::default() })
    }

    /// Returns a unique id of letters, digits, `_` and `-`.
    fn wire_id(&mut self, id: &str) -> String {
        let mut wire_id = String::with_capacity(id.len());
        for c in id.chars() {
            if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
                wire_id.push(c);
            } else {
                wire_id.push_str(&format!("_{:x}", u32::from(c)));
            }
        }
        if wire_id.is_empty() {
            wire_id.push_str("call");
        }
        if let Some(calls) = self.ids.get(&wire_id) {
            let plain = wire_id.len();
            let mut number = *calls;
            while self.ids.contains_key(&wire_id) {
                number += 1;
                wire_id.truncate(plain);
                wire_id.push_str(&format!("_{number}"));
            }
            self.ids.insert(wire_id[..plain].to_owned(), number);
        }
        self.ids.insert(wire_id.clone(), 1);
        wire_id
    }

    fn result(&mut self, message: &hub::Message, i: usize) -> Result<(), UnsupportedField> {
        let id = message.tool_call_id.as_deref().unwrap_or_default();
        let Some(call) = self.open.remove(id) else {
            return Err(UnsupportedField::new(
                format!("messages[{i}].tool_call_id"),
                "no call before it has this id, or it has a result",
            ));
        };
        let content = blocks(message.content.as_ref(), Place { message: i, text_only: false })?;
        let result = Block::ToolResult {
            tool_use_id: call.wire_id,
            content: (!content.is_empty()).then(|| short(content)),
            is_error: message.is_error.filter(|is_error| *is_error),
            other: marked(mark(&message.other)),
        };
        self.turn(messages::Role::User).results.push(result);
        Ok(())
    }

    fn all_answered(&self) -> Result<(), UnsupportedField> {
        match self.open.values().min_by_key(|call| call.at) {
            None => Ok(()),
            Some(Call { at: (i, j), .. }) => {
                Err(UnsupportedField::new(format!("messages[{i}].tool_calls[{j}]"), "no message holds its result"))
            }
        }
    }

    fn finish(mut self) -> Result<Conversation<'a>, UnsupportedField> {
        self.all_answered()?;
        if self.turns.first().is_none_or(|turn| turn.role == messages::Role::Assistant) {
            self.turns.insert(0, Turn::new(messages::Role::User));
        }
        for turn in &mut self.turns {
            if turn.results.is_empty() && turn.said.is_empty() {
                turn.said.push(Block::Text { text: NOTHING.to_owned(), other: Other::default() });
            }
        }
        let last = self.turns.last_mut().filter(|turn| turn.role == messages::Role::Assistant);
        let ends_with_assistant = last.is_some();
        if let Some(Block::Text { text, .. }) = last.and_then(|turn| turn.said.last_mut()) {
            text.truncate(text.trim_end().len());
        }
        Ok(Conversation {
            system: system(self.system),
            ends_with_assistant,
            lacks_thought: lacks_thought(&self.turns),
            messages: self.turns.into_iter().map(Turn::into_message).collect(),
            called: self.called,
        })
    }
}

impl Turn {
    fn new(role: messages::Role) -> Self {
        Self { role, results: Vec::new(), said: Vec::new() }
    }

    fn into_message(mut self) -> messages::Message {
        self.results.append(&mut self.said);
        messages::Message { role: self.role, content: short(self.results), other: Other::default() }
    }
}

/// Rejects the first member that a message of its role must not have.
fn check(message: &hub::Message, i: usize) -> Result<(), UnsupportedField> {
    let (assistant, tool) = (message.role == Role::Assistant, message.role == Role::Tool);
    let calls = message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
    for (wrong, name) in [
        (message.role == Role::Function, "role"),
        (calls && !assistant, "tool_calls"),
        (message.refusal.is_some() && !assistant, "refusal"),
        (message.tool_call_id.is_some() && !tool, "tool_call_id"),
        (message.is_error == Some(true) && !tool, "is_error"),
    ] {
        if wrong {
            return Err(UNKNOWN.reject(format!("messages[{i}].{name}")));
        }
    }
    // Members of assistant turns that clients echo are ignored.
    if assistant {
        return Ok(());
    }
    UNKNOWN.members(&format!("messages[{i}]"), &message.other, capabilities::chat, &mut Vec::new())
}

fn lacks_thought(turns: &[Turn]) -> bool {
    turns.iter().rfind(|turn| turn.role == messages::Role::Assistant).is_some_and(|turn| {
        let calls = turn.said.iter().any(|block| matches!(block, Block::ToolUse { .. }));
        let thinks = matches!(turn.said.first(), Some(Block::Thinking { .. } | Block::RedactedThinking { .. }));
        calls && !thinks
    })
}
