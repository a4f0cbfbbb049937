//! The items of a stream, by their ids and positions.

use super::ResponseDecoder;
use crate::dialect::{
    codec::{Malformed, StreamItem},
    hub::{CalledFunction, Delta, FinishReason, FunctionDelta, FunctionKind, ToolCall, ToolCallDelta},
    lenient,
    responses::{decode_response, items::is_cut_json, said::Said},
    value::Value,
};

/// The most items of a response.
const MOST: usize = 1024;

/// The longest arguments of a call that are kept until they are known to be complete, in bytes.
const MOST_KEPT: usize = 4 << 20;

const TOO_MANY: Malformed = Malformed("more than 1024 items");
const OTHER_KIND: Malformed = Malformed("a piece of another kind than its item");
const CHANGED: Malformed = Malformed("a tool call that changed while it was sent");

/// An item of the response.
#[derive(Debug)]
pub(super) struct Item {
    id: String,
    at: Option<u64>,
    pub(super) kind: Kind,
    /// The text so far.
    pub(super) said: Said,
    /// The number of the part that is being said.
    part: Option<u64>,
    call: Call,
    pub(super) is_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Reasoning,
    /// A call, by its number.
    Call(u32),
    /// An item that is skipped.
    Hosted,
}

/// A call that is being sent.
#[derive(Debug, Default)]
struct Call {
    name: String,
    arguments: String,
    /// Whether the whole arguments have come.
    is_whole: bool,
}

/// The item that an event is about.
pub(super) enum Found {
    At(usize),
    None,
}

impl Item {
    fn new(id: String, at: Option<u64>, kind: Kind) -> Self {
        Self { id, at, kind, said: Said::default(), part: None, call: Call::default(), is_done: false }
    }

    pub(super) const fn has_position(&self) -> bool {
        self.at.is_some()
    }

    /// Begins a part; returns whether another one came before it.
    pub(super) fn begin_part(&mut self, part: Option<u64>) -> bool {
        let part = part.or(self.part).unwrap_or_default();
        self.part.replace(part).is_some_and(|last| last != part) && !self.said.is_empty()
    }

    /// Adds a piece of a call's arguments; returns the number of the call.
    pub(super) fn push(&mut self, arguments: &str) -> Result<u32, Malformed> {
        let Kind::Call(number) = self.kind else { return Err(OTHER_KIND) };
        if !arguments.is_empty() && (self.call.is_whole || self.is_done) {
            return Err(Malformed("more of a tool call that was complete"));
        }
        if self.call.arguments.len() + arguments.len() > MOST_KEPT {
            return Err(Malformed("arguments of a tool call of over 4 MiB"));
        }
        self.call.arguments.push_str(arguments);
        Ok(number)
    }

    /// Takes the whole arguments; returns the number of the call and what of them has not come.
    pub(super) fn complete(&mut self, whole: &str) -> Result<(u32, String), Malformed> {
        let Kind::Call(number) = self.kind else { return Err(OTHER_KIND) };
        if self.call.is_whole || whole.is_empty() {
            return Ok((number, String::new()));
        }
        let had = std::mem::take(&mut self.call.arguments);
        self.call.is_whole = true;
        match whole.strip_prefix(&*had) {
            Some(rest) => Ok((number, rest.to_owned())),
            None if is_same_json(&had, whole) => Ok((number, String::new())),
            None => Err(CHANGED),
        }
    }

    /// Finishes a call; returns its number and what of the arguments has not come.
    pub(super) fn finish_call(&mut self, call: &ToolCall) -> Result<(u32, String), Malformed> {
        let CalledFunction { name, arguments } = &call.function;
        if *name != self.call.name {
            return Err(CHANGED);
        }
        self.complete(arguments)
    }

    /// Whether a call has ended too early.
    pub(super) fn is_cut(&self, finish: &FinishReason) -> bool {
        let is_open = matches!(self.kind, Kind::Call(_)) && !self.call.is_whole;
        let is_short = matches!(finish, FinishReason::Length | FinishReason::ContentFilter);
        let arguments = self.call.arguments.trim();
        // The end of a call says nothing where it has no arguments.
        is_open && !is_short && if arguments.is_empty() { !self.is_done } else { is_cut_json(arguments) }
    }
}

/// Whether two texts are the same JSON value.
fn is_same_json(one: &str, other: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    parse(one).is_some_and(|one| parse(other).is_some_and(|other| one == other))
}

impl ResponseDecoder {
    /// Finds the item that an event is about.
    pub(super) fn find(&self, event: &Value) -> Found {
        let item = event.get("item").unwrap_or(event);
        let id = lenient::text(event.get("item_id")).or_else(|| lenient::text(item.get("id")));
        let at = lenient::whole(event.get("output_index"));
        let by_id = id.and_then(|id| self.items.iter().position(|item| item.id == id));
        let found = by_id.or_else(|| self.items.iter().position(|item| at.is_some() && item.at == at));
        found.map_or(Found::None, Found::At)
    }

    /// Finds the item that an event is about, and learns its position.
    fn found(&mut self, event: &Value) -> Option<usize> {
        let Found::At(found) = self.find(event) else { return None };
        let item = &mut self.items[found];
        item.at = item.at.or_else(|| lenient::whole(event.get("output_index")));
        Some(found)
    }

    /// Returns the item of a piece. Some servers do not announce their items, or do not number them.
    pub(super) fn find_or_add(&mut self, event: &Value, kind: Kind) -> Result<usize, Malformed> {
        let id = lenient::text(event.get("item_id"));
        let at = lenient::whole(event.get("output_index"));
        let is_nameless = id.is_none() && at.is_none();
        let open = || self.items.iter().rposition(|item| item.kind == kind && !item.is_done).filter(|_| is_nameless);
        match open().or_else(|| self.found(event)) {
            Some(at) if self.items[at].kind == kind => Ok(at),
            Some(at) if self.items[at].kind == Kind::Hosted => {
                self.items[at].kind = kind;
                Ok(at)
            }
            Some(_) => Err(OTHER_KIND),
            None => self.push(Item::new(id.unwrap_or_default(), at, kind)),
        }
    }

    fn push(&mut self, item: Item) -> Result<usize, Malformed> {
        if self.items.len() >= MOST {
            return Err(TOO_MANY);
        }
        self.items.push(item);
        Ok(self.items.len() - 1)
    }

    /// Returns the call that an event is about; one without a name is about the call that is open.
    pub(super) fn call_mut(&mut self, event: &Value) -> Result<&mut Item, Malformed> {
        let is_open = |item: &Item| matches!(item.kind, Kind::Call(_)) && !item.is_done && !item.call.is_whole;
        let mut open = self.items.iter().enumerate().filter(|(_, item)| is_open(item)).map(|(at, _)| at);
        let lone = open.next().filter(|_| open.next().is_none());
        let is_nameless = [event.get("item_id"), event.get("output_index")].into_iter().all(lenient::is_blank);
        let at = self.found(event).or_else(|| lone.filter(|_| is_nameless));
        let at = at.ok_or(Malformed("a piece of a tool call that has not begun"))?;
        Ok(&mut self.items[at])
    }

    /// Adds an item; returns its position.
    pub(super) fn added(&mut self, event: &Value, out: &mut Vec<StreamItem>) -> Result<usize, Malformed> {
        let item = event.get("item").filter(|item| item.as_object().is_some());
        let item = item.ok_or(Malformed("an item that is no object"))?;
        if let Some(known) = self.found(event) {
            if self.items[known].kind == Kind::Hosted {
                self.begin_item(known, item, out)?;
            }
            return Ok(known);
        }
        let (id, at) = (lenient::text(item.get("id")).unwrap_or_default(), lenient::whole(event.get("output_index")));
        let at = self.push(Item::new(id, at, Kind::Hosted))?;
        self.begin_item(at, item, out)?;
        Ok(at)
    }

    /// Sets the kind of an item, and emits the beginning of a call.
    fn begin_item(&mut self, at: usize, item: &Value, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        let kind = match decode_response::item_type(item)? {
            "message" => Kind::Message,
            "reasoning" => Kind::Reasoning,
            "function_call" => {
                let call = decode_response::call(item)?;
                let number = self.calls;
                self.calls += 1;
                self.items[at].call.name.clone_from(&call.function.name);
                let function = FunctionDelta { name: Some(call.function.name), arguments: Some(String::new()) };
                let delta = ToolCallDelta {
                    index: number,
                    id: Some(call.id),
                    kind: Some(FunctionKind::Function),
                    function: Some(function),
                    extra_content: None,
                };
                self.begin(None, out);
                self.give(Delta { tool_calls: Some(vec![delta]), ..Delta::default() }, None, out);
                Kind::Call(number)
            }
            kind => {
                decode_response::check_type(kind)?;
                Kind::Hosted
            }
        };
        self.items[at].kind = kind;
        Ok(())
    }
}
