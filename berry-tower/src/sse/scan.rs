//! Picks out of one event, or of a plain answer, the few members that matter, without building a tree.

use super::ErrorEvent;
use super::counts::Counts;
use super::event_type::EventType;
use super::place::Node;
use crate::json::{Scalar, Visit};

/// Containers deeper than this hold nothing that is looked for.
const LEVELS: usize = 6;

/// More choices than any API gives; a choice beyond is one that can never be finished.
pub(super) const MOST_CHOICES: usize = 4096;

/// What one choice of one event said.
#[derive(Clone, Copy, Default)]
pub(super) struct Choice {
    /// `None`: not a number below [`MOST_CHOICES`].
    pub(super) index: Option<u16>,
    pub(super) finished: bool,
}

/// What one event said. Of members that come twice the last counts, as in clients' parsers, save that
/// an error stays one.
pub(crate) struct Facts {
    /// For each depth, what the container there is.
    path: [Node; LEVELS],
    /// What the next value is, when it is not an array's element.
    coming: Node,
    choice: Choice,
    pub(super) kind: EventType,
    pub(super) choices: Vec<Choice>,
    /// `choices` is an array …
    pub(super) choices_listed: bool,
    /// … with something in it.
    pub(super) choices_filled: bool,
    /// `usage` at the top is an object.
    pub(super) usage_object: bool,
    /// A choice has output, or is finished.
    pub(super) output: bool,
    /// A block of the Messages API begins with output, or is output by its kind, such as `tool_use`.
    pub(super) block_output: bool,
    /// A delta of the Messages API is not empty.
    pub(super) delta_output: bool,
    /// `delta.stop_reason` is a text.
    pub(super) stop: bool,
    /// There is an `error` at the top that is not null.
    pub(super) error_at_top: bool,
    /// What was told of an error, at any of the places for it.
    pub(super) error: ErrorEvent,
    pub(crate) counts: Counts,
}

impl Facts {
    pub(crate) fn new() -> Self {
        Self {
            path: [Node::Other; LEVELS],
            coming: Node::Top,
            choice: Choice::default(),
            kind: EventType::None,
            choices: Vec::new(),
            choices_listed: false,
            choices_filled: false,
            usage_object: false,
            output: false,
            block_output: false,
            delta_output: false,
            stop: false,
            error_at_top: false,
            error: ErrorEvent::default(),
            counts: Counts::default(),
        }
    }

    /// Forgets the event, and keeps the memory for the next.
    pub(super) fn reset(&mut self) {
        let mut choices = std::mem::take(&mut self.choices);
        choices.clear();
        *self = Self { choices, ..Self::new() };
    }

    /// The error at the top, if there is one.
    pub(crate) fn take_top_error(&mut self) -> Option<ErrorEvent> {
        self.error_at_top.then(|| std::mem::take(&mut self.error))
    }

    fn within(&self, depth: usize) -> Node {
        self.path.get(depth).copied().unwrap_or_default()
    }

    /// What the value that begins in the container at `depth` is.
    fn value(&mut self, depth: usize) -> Node {
        let coming = std::mem::take(&mut self.coming);
        match self.within(depth) {
            Node::Choices => {
                self.choices_filled = true;
                Node::Choice
            }
            within => {
                self.bears_output(within);
                coming
            }
        }
    }

    /// There is something in a place that bears output.
    fn bears_output(&mut self, place: Node) {
        self.output |= place == Node::Output;
        self.block_output |= place == Node::BlockOutput;
        self.delta_output |= place == Node::DeltaOutput;
    }

    fn text(&mut self, node: Node, text: &[u8]) {
        let owned = || Some(String::from_utf8_lossy(text).into_owned());
        match node {
            Node::Type => self.kind = EventType::read(text),
            Node::Finish => {
                self.choice.finished = !text.is_empty();
                self.output |= self.choice.finished;
            }
            _ if node.bears_output() && !text.is_empty() => self.bears_output(node),
            Node::Stop => self.stop = !text.is_empty(),
            Node::BlockType => self.block_output |= !matches!(text, b"text" | b"thinking"),
            Node::ErrorText | Node::Error | Node::ResponseError => self.error.message = owned(),
            Node::ErrorCode => self.error.code = owned(),
            // What stands inside an error goes before what stands beside it.
            Node::Message if self.error.message.is_none() => self.error.message = owned(),
            Node::Code if self.error.code.is_none() => self.error.code = owned(),
            Node::ErrorKind => self.error.kind = owned(),
            Node::Index => self.choice.index = None,
            _ => {}
        }
    }

    fn number(&mut self, node: Node, digits: &[u8]) {
        let number = std::str::from_utf8(digits).ok().and_then(|n| n.parse::<u64>().ok());
        match node {
            Node::Count(count) => *self.counts.slot(count) = number,
            Node::Index => {
                self.choice.index =
                    number.and_then(|n| u16::try_from(n).ok()).filter(|n| usize::from(*n) < MOST_CHOICES);
            }
            Node::ErrorCode => self.error.code = number.map(|n| n.to_string()),
            Node::Code if self.error.code.is_none() => {
                self.error.code = number.map(|n| n.to_string());
            }
            _ => {}
        }
    }
}

impl Visit for Facts {
    fn key(&mut self, depth: usize, name: &[u8]) {
        let within = self.within(depth);
        self.coming = within.child(name);
        // A name that comes again takes back what it said before.
        match self.coming {
            Node::Choices => {
                self.choices.clear();
                self.choices_listed = false;
                self.choices_filled = false;
            }
            Node::Usage => self.usage_object = false,
            Node::Finish => self.choice.finished = false,
            Node::Index => self.choice.index = Some(0),
            Node::Type => self.kind = EventType::None,
            _ => {}
        }
    }

    fn open(&mut self, depth: usize, object: bool) {
        let node = self.value(depth);
        match node {
            Node::Choices => self.choices_listed = !object,
            Node::Choice => self.choice = Choice { index: Some(0), finished: false },
            Node::Usage => self.usage_object = object,
            Node::Error => self.error_at_top = true,
            Node::Index => self.choice.index = None,
            _ => {}
        }
        if let Some(place) = self.path.get_mut(depth + 1) {
            let meant = matches!(node, Node::Output | Node::BlockOutput) || object != (node == Node::Choices);
            *place = if meant { node } else { Node::Other };
        }
    }

    fn close(&mut self, depth: usize) {
        if self.within(depth) == Node::Choice {
            if self.choices.len() < MOST_CHOICES {
                self.choices.push(self.choice);
            } else {
                self.choice.index = None;
                self.choices[0] = self.choice;
            }
        }
    }

    fn scalar(&mut self, depth: usize, value: Scalar<'_>) {
        let node = self.value(depth);
        if node == Node::Error && !matches!(value, Scalar::Null) {
            self.error_at_top = true;
        }
        match value {
            Scalar::Text(text) => self.text(node, text),
            Scalar::Number(digits) => self.number(node, digits),
            Scalar::Bool if node == Node::Index => self.choice.index = None,
            Scalar::Bool | Scalar::Null => {}
        }
    }
}
