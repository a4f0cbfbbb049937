//! Reads the members that matter from an event or a plain response without building a tree.

use super::ErrorEvent;
use super::counts::Counts;
use super::event_type::EventType;
use super::place::Node;
use crate::json::{KEEP, Visit, Word};

/// The kind of an error whose code is MiniMax's `base_resp.status_code`.
pub(crate) const BASE_RESP: &str = "base_resp";

/// The depth below which no member matters.
const LEVELS: usize = 6;

/// The most choices; a choice beyond never finishes.
pub(super) const MOST_CHOICES: usize = 4096;

/// The facts about one choice in an event.
#[derive(Clone, Copy, Default)]
pub(super) struct Choice {
    /// `None`: not a number below [`MOST_CHOICES`].
    pub(super) index: Option<u16>,
    pub(super) finished: bool,
    /// Whether the event holds output of the choice.
    pub(super) has_output: bool,
}

/// What one event said. Of members that come twice the last counts, as in clients' parsers, save that
/// an error stays one.
pub(crate) struct Facts {
    /// The container at each depth.
    path: [Node; LEVELS],
    /// What the innermost container is, and whether what stands in it means something without a name.
    within: Node,
    elements: bool,
    /// The node of the next value, unless it is an array element.
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
    /// Whether a choice has output or has finished.
    pub(super) output: bool,
    /// A block of the Messages API begins with output, or is output by its kind, such as `tool_use`.
    pub(super) block_output: bool,
    /// Whether a delta of the Messages or the Responses API is not empty.
    pub(super) delta_output: bool,
    /// `delta.stop_reason` is a text.
    pub(super) stop: bool,
    /// There is a `detail` or a `msg` at the top.
    pub(super) detail: bool,
    /// There is an `error` at the top that is not null.
    pub(super) error_at_top: bool,
    /// The error, from any of the members that hold one.
    pub(super) error: ErrorEvent,
    pub(crate) counts: Counts,
}

impl Facts {
    pub(crate) fn new() -> Self {
        Self {
            path: [Node::Other; LEVELS],
            within: Node::Other,
            elements: false,
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
            detail: false,
            error_at_top: false,
            error: ErrorEvent::default(),
            counts: Counts::default(),
        }
    }

    /// Facts of a plain response, of which only usage and errors matter.
    pub(crate) fn plain() -> Self {
        Self { coming: Node::Plain, ..Self::new() }
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

    /// Returns the node of the value that begins.
    fn value(&mut self) -> Node {
        let coming = std::mem::take(&mut self.coming);
        match self.within {
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

    /// Whether the value that begins matters.
    fn is_of_use(&self) -> bool {
        self.coming != Node::Other || self.elements
    }

    /// A member of a container that means something.
    fn member(&mut self, name: &[u8]) {
        self.coming = self.within.child(name);
        // A repeated name replaces the earlier value.
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

    /// Notes output at a node that holds some.
    fn bears_output(&mut self, place: Node) {
        self.output |= place == Node::Output;
        self.choice.has_output |= place == Node::Output;
        self.block_output |= place == Node::BlockOutput;
        self.delta_output |= place == Node::DeltaOutput;
    }

    fn take_text(&mut self, text: &[u8]) {
        let node = self.value();
        self.error_at_top |= node == Node::Error;
        let owned = || Some(String::from_utf8_lossy(&text[..text.len().min(KEEP)]).into_owned());
        match node {
            Node::Type => self.kind = EventType::read(text),
            Node::Finish => {
                self.choice.finished = !text.is_empty();
                self.output |= self.choice.finished;
                // Some providers report a failure of the model this way.
                if is_failed_finish(text) {
                    self.error_at_top = true;
                    let reason = String::from_utf8_lossy(text);
                    self.error.message.get_or_insert_with(|| format!("the model failed (finish_reason: {reason})"));
                }
            }
            Node::Object if text == b"error" => self.error_at_top = true,
            Node::Detail if !text.is_empty() => {
                self.detail = true;
                if self.error.message.is_none() {
                    self.error.message = owned();
                }
            }
            Node::BaseStatus if number(text).is_some_and(|status| status > 0) => {
                self.error_at_top = true;
                self.error.kind = Some(BASE_RESP.to_owned());
                self.error.code = owned();
            }
            Node::Count(count) => *self.counts.slot(count) = number(text),
            _ if node.bears_output() && !text.is_empty() => self.bears_output(node),
            // A delta of the Responses API is a text.
            Node::EventDelta => self.delta_output |= !text.is_empty(),
            Node::Stop => self.stop = !text.is_empty(),
            Node::BlockType => self.block_output |= !matches!(text, b"text" | b"thinking"),
            Node::ErrorText | Node::Error | Node::ResponseError => self.error.message = owned(),
            Node::ErrorCode => self.error.code = owned(),
            // Members of the error take precedence over those beside it.
            Node::Message | Node::PlainMessage if self.error.message.is_none() => self.error.message = owned(),
            Node::Code if self.error.code.is_none() => self.error.code = owned(),
            Node::ErrorKind => self.error.kind = owned(),
            Node::Index => self.choice.index = if text.is_empty() { Some(0) } else { choice_index(text) },
            _ => {}
        }
    }

    fn take_number(&mut self, digits: &[u8]) {
        let node = self.value();
        self.error_at_top |= node == Node::Error;
        match node {
            Node::Count(count) => *self.counts.slot(count) = number(digits),
            Node::Index => self.choice.index = choice_index(digits),
            Node::BaseStatus => {
                self.error_at_top |= !matches!(digits, b"0" | b"-0");
                self.error.kind = Some(BASE_RESP.to_owned());
                self.error.code = Some(String::from_utf8_lossy(&digits[..digits.len().min(KEEP)]).into_owned());
            }
            Node::ErrorCode => self.error.code = whole(digits).map(|n| n.to_string()),
            Node::Code if self.error.code.is_none() => {
                self.error.code = whole(digits).map(|n| n.to_string());
            }
            _ => {}
        }
    }

    /// Returns the node of the container that begins.
    fn container(&mut self, object: bool) -> Node {
        let node = self.value();
        match node {
            // One choice stands for a list of one.
            Node::Choices if object => {
                (self.choices_listed, self.choices_filled) = (true, true);
                self.choice = Choice { index: Some(0), ..Choice::default() };
                return Node::Choice;
            }
            Node::Choices => self.choices_listed = true,
            Node::Choice => self.choice = Choice { index: Some(0), ..Choice::default() },
            Node::Detail => self.detail = true,
            Node::Usage => self.usage_object = object,
            Node::Error => self.error_at_top = true,
            Node::Index => self.choice.index = None,
            _ => {}
        }
        let meant = matches!(node, Node::Output | Node::BlockOutput) || object != (node == Node::Choices);
        if meant { node } else { Node::Other }
    }

    #[inline]
    fn enter(&mut self, container: Node) {
        self.within = container;
        self.elements = container.tells_of_elements();
    }

    fn take_word(&mut self, word: Word) {
        let node = self.value();
        if word == Word::Bool {
            self.error_at_top |= node == Node::Error;
            if node == Node::Index {
                self.choice.index = None;
            }
        }
    }
}

impl Visit for Facts {
    #[inline]
    fn key(&mut self, name: &[u8]) {
        if self.within != Node::Other {
            self.member(name);
        }
    }

    #[inline]
    fn open(&mut self, depth: usize, object: bool) {
        let container = if self.is_of_use() { self.container(object) } else { Node::Other };
        if let Some(place) = self.path.get_mut(depth + 1) {
            *place = container;
        }
        self.enter(container);
    }

    fn close(&mut self, depth: usize) {
        if self.within == Node::Choice {
            if self.choices.len() < MOST_CHOICES {
                self.choices.push(self.choice);
            } else {
                self.choice.index = None;
                self.choices[0] = self.choice;
            }
        }
        self.enter(self.path.get(depth).copied().unwrap_or_default());
    }

    fn wants_text(&self) -> bool {
        self.coming.wants_text()
    }

    #[inline]
    fn text(&mut self, text: &[u8]) {
        if self.is_of_use() {
            self.take_text(text);
        }
    }

    #[inline]
    fn number(&mut self, digits: &[u8]) {
        if self.is_of_use() {
            self.take_number(digits);
        }
    }

    #[inline]
    fn word(&mut self, word: Word) {
        if self.is_of_use() {
            self.take_word(word);
        }
    }
}

/// Whether a finish reason says that the model failed: `error` of OpenRouter, and DeepSeek's for a response that ended
/// for want of resources.
pub(crate) fn is_failed_finish(reason: &[u8]) -> bool {
    matches!(reason, b"error" | b"insufficient_system_resource")
}

/// The index of a choice, if it is one that a choice may have.
fn choice_index(digits: &[u8]) -> Option<u16> {
    number(digits).and_then(|n| u16::try_from(n).ok()).filter(|n| usize::from(*n) < MOST_CHOICES)
}

/// A whole number, also one that is written with a fraction of zeros.
fn number(digits: &[u8]) -> Option<u64> {
    let end = digits.iter().position(|digit| *digit == b'.').unwrap_or(digits.len());
    let (front, fraction) = digits.split_at(end);
    let is_whole = !front.is_empty() && fraction.iter().skip(1).all(|digit| *digit == b'0');
    if is_whole { whole(front) } else { None }
}

/// A whole number that is written as one.
fn whole(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
