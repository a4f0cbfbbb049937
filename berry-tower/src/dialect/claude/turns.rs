//! A conversation as turns: the user's first, then by turns, and every call followed by its result.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    ask::{UNKNOWN, mark, marked},
    blocks::{Place, blocks, text_block},
    tools::is_name,
};
use crate::dialect::{
    Inexpressible,
    chat::{self, Role, Thought},
    messages::{self, Block, Content, Other},
};

/// What stands for a user who says nothing where Anthropic insists that they do.
const NOTHING: &str = "(no message)";

/// A conversation in Anthropic's words.
pub(super) struct Conversation<'a> {
    pub(super) system: Option<Content>,
    pub(super) messages: Vec<messages::Message>,
    /// The names of the tools that are called in it.
    pub(super) called: Vec<&'a str>,
    /// Whether the model is to go on with words that are put into its mouth.
    pub(super) ends_with_assistant: bool,
    /// Whether its last turn calls tools and does not begin with a thought that Anthropic signed.
    pub(super) lacks_thought: bool,
}

pub(super) fn translate(messages: &[chat::Message]) -> Result<Conversation<'_>, Inexpressible> {
    let mut turns = Turns::default();
    for (i, message) in messages.iter().enumerate() {
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
    ids: HashSet<String>,
    /// The calls without a result: the caller's id, Anthropic's, and where they stand.
    open: Vec<Call<'a>>,
}

struct Call<'a> {
    id: &'a str,
    wire_id: String,
    name: &'a str,
    at: (usize, usize),
}

struct Turn {
    role: messages::Role,
    blocks: Vec<Block>,
    /// How many of them are results, which come first.
    results: usize,
}

impl<'a> Turns<'a> {
    fn turn(&mut self, role: messages::Role) -> &mut Turn {
        if self.turns.last().is_none_or(|turn| turn.role != role) {
            self.turns.push(Turn { role, blocks: Vec::new(), results: 0 });
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    fn system(&mut self, message: &chat::Message, i: usize) -> Result<(), Inexpressible> {
        let mut found = blocks(message.content.as_ref(), Place { message: i, text_only: true })?;
        mark_last(&mut found, message_mark(message, i)?);
        self.system.extend(found);
        Ok(())
    }

    fn user(&mut self, message: &chat::Message, i: usize) -> Result<(), Inexpressible> {
        let mut found = blocks(message.content.as_ref(), Place { message: i, text_only: false })?;
        mark_last(&mut found, message_mark(message, i)?);
        self.turn(messages::Role::User).blocks.extend(found);
        Ok(())
    }

    fn assistant(&mut self, message: &'a chat::Message, i: usize) -> Result<(), Inexpressible> {
        if self.turns.last().is_some_and(|turn| turn.role == messages::Role::User) {
            self.all_answered()?;
        }
        let mut said = blocks(message.content.as_ref(), Place { message: i, text_only: true })?;
        said.extend(message.refusal.as_deref().and_then(|refusal| text_block(refusal, Other::new())));
        for (j, call) in message.tool_calls.iter().flatten().enumerate() {
            said.push(self.call(call, (i, j))?);
        }
        mark_last(&mut said, message_mark(message, i)?);
        // Thoughts with nothing after them are refused, and nothing depends on them.
        if !said.is_empty() {
            let extra = message.extra_content.as_ref();
            let thoughts = extra.and_then(|extra| extra.anthropic.as_deref()).unwrap_or_default();
            let turn = self.turn(messages::Role::Assistant);
            turn.blocks.extend(thoughts.iter().filter_map(thought));
            turn.blocks.extend(said);
        }
        Ok(())
    }

    fn call(&mut self, call: &'a chat::ToolCall, at: (usize, usize)) -> Result<Block, Inexpressible> {
        let (i, j) = at;
        let wrong =
            |what: &str, why: &str| Err(Inexpressible::new(format!("messages[{i}].tool_calls[{j}].{what}"), why));
        let name = call.function.name.as_str();
        if !is_name(name) {
            return wrong("function.name", "Anthropic takes 1 to 128 letters, digits, _ and -");
        }
        if self.open.iter().any(|open| open.id == call.id) {
            return wrong("id", "two calls have this id");
        }
        let arguments = call.function.arguments.trim();
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        let Ok(input @ Value::Object(_)) = serde_json::from_str(arguments) else {
            return wrong("function.arguments", "they are no JSON object");
        };
        let wire_id = self.wire_id(&call.id);
        self.open.push(Call { id: &call.id, wire_id: wire_id.clone(), name, at });
        self.called.push(name);
        Ok(Block::ToolUse { id: wire_id, name: name.to_owned(), input, other: Other::new() })
    }

    /// The id as Anthropic takes it: of letters, digits, `_` and `-`, and like no other's.
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
        let plain = wire_id.len();
        let mut number = 1;
        while !self.ids.insert(wire_id.clone()) {
            number += 1;
            wire_id.truncate(plain);
            wire_id.push_str(&format!("_{number}"));
        }
        wire_id
    }

    fn result(&mut self, message: &chat::Message, i: usize) -> Result<(), Inexpressible> {
        let id = message.tool_call_id.as_deref().unwrap_or_default();
        let call = self.open.iter().position(|call| call.id == id).map(|at| self.open.remove(at));
        let Some(call) = call else {
            return Err(Inexpressible::new(
                format!("messages[{i}].tool_call_id"),
                "no call before it has this id, or it has a result",
            ));
        };
        // Some clients repeat the tool's name, which the call has.
        if message.name.as_deref().is_some_and(|name| name != call.name) {
            return Err(Inexpressible::new(format!("messages[{i}].name"), "the call has another name"));
        }
        let content = blocks(message.content.as_ref(), Place { message: i, text_only: false })?;
        let result = Block::ToolResult {
            tool_use_id: call.wire_id,
            content: (!content.is_empty()).then(|| short(content)),
            is_error: message.is_error.filter(|is_error| *is_error),
            other: marked(message_mark(message, i)?),
        };
        let turn = self.turn(messages::Role::User);
        turn.blocks.insert(turn.results, result);
        turn.results += 1;
        Ok(())
    }

    fn all_answered(&self) -> Result<(), Inexpressible> {
        match self.open.first() {
            None => Ok(()),
            Some(Call { at: (i, j), .. }) => {
                Err(Inexpressible::new(format!("messages[{i}].tool_calls[{j}]"), "no message holds its result"))
            }
        }
    }

    fn finish(mut self) -> Result<Conversation<'a>, Inexpressible> {
        self.all_answered()?;
        if self.turns.first().is_none_or(|turn| turn.role == messages::Role::Assistant) {
            self.turns.insert(0, Turn { role: messages::Role::User, blocks: Vec::new(), results: 0 });
        }
        for turn in &mut self.turns {
            if turn.blocks.is_empty() {
                turn.blocks.push(Block::Text { text: NOTHING.to_owned(), other: Other::new() });
            }
        }
        let last = self.turns.last_mut().filter(|turn| turn.role == messages::Role::Assistant);
        let ends_with_assistant = last.is_some();
        if let Some(Block::Text { text, .. }) = last.and_then(|turn| turn.blocks.last_mut()) {
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
    fn into_message(self) -> messages::Message {
        messages::Message { role: self.role, content: short(self.blocks), other: Other::new() }
    }
}

/// Names the first member that a message of its role should not have, or that cannot be said.
fn check(message: &chat::Message, i: usize) -> Result<(), Inexpressible> {
    let (assistant, tool) = (message.role == Role::Assistant, message.role == Role::Tool);
    let calls = message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
    for (wrong, name) in [
        (message.role == Role::Function, "role"),
        (message.name.is_some() && !tool, "name"),
        (calls && !assistant, "tool_calls"),
        (message.refusal.is_some() && !assistant, "refusal"),
        (message.tool_call_id.is_some() && !tool, "tool_call_id"),
        (message.is_error == Some(true) && !tool, "is_error"),
    ] {
        if wrong {
            return Err(UNKNOWN.refuse(format!("messages[{i}].{name}")));
        }
    }
    Ok(())
}

fn message_mark(message: &chat::Message, i: usize) -> Result<Option<&Value>, Inexpressible> {
    mark(&message.other, || format!("messages[{i}]"))
}

/// Puts a message's mark on its last block, where Anthropic has it.
fn mark_last(blocks: &mut [Block], mark: Option<&Value>) {
    let Some(
        Block::Text { other, .. }
        | Block::Image { other, .. }
        | Block::Document { other, .. }
        | Block::ToolUse { other, .. },
    ) = blocks.last_mut()
    else {
        return;
    };
    if let Some(mark) = mark {
        other.entry("cache_control").or_insert_with(|| mark.clone());
    }
}

/// A text alone in its shorter form.
fn short(mut blocks: Vec<Block>) -> Content {
    match &mut blocks[..] {
        [Block::Text { text, other }] if other.is_empty() => Content::Text(std::mem::take(text)),
        _ => Content::Blocks(blocks),
    }
}

/// Texts become one, with blank lines between them, unless one has something to itself.
fn system(blocks: Vec<Block>) -> Option<Content> {
    if blocks.is_empty() {
        return None;
    }
    let texts: Option<Vec<&str>> = blocks
        .iter()
        .map(|block| match block {
            Block::Text { text, other } if other.is_empty() => Some(text.as_str()),
            _ => None,
        })
        .collect();
    match texts {
        Some(texts) => Some(Content::Text(texts.join("\n\n"))),
        None => Some(Content::Blocks(blocks)),
    }
}

/// A thought in Anthropic's words; one without a proof is none.
fn thought(thought: &Thought) -> Option<Block> {
    match thought {
        Thought::Thinking { thinking, signature } => (!signature.is_empty())
            .then(|| Block::Thinking { thinking: thinking.clone(), signature: signature.clone() }),
        Thought::RedactedThinking { data } => {
            (!data.is_empty()).then(|| Block::RedactedThinking { data: data.clone() })
        }
    }
}

fn lacks_thought(turns: &[Turn]) -> bool {
    turns.iter().rfind(|turn| turn.role == messages::Role::Assistant).is_some_and(|turn| {
        let calls = turn.blocks.iter().any(|block| matches!(block, Block::ToolUse { .. }));
        let thinks = matches!(turn.blocks.first(), Some(Block::Thinking { .. } | Block::RedactedThinking { .. }));
        calls && !thinks
    })
}
