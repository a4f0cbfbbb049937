//! Resumes a stream of Responses: what the client has of it, and a second stream that continues it.
//!
//! The events of both streams become tokens: the beginnings and ends of items and parts, and the text between them. The
//! tokens of the second stream are skipped as long as they equal those that the client has. Every later event is passed
//! on with the ids, positions and numbers of the first stream. Reasoning items without text are left out of the
//! comparison, since backends differ in them.

mod event;
mod replay;
#[cfg(test)]
mod tests;

use serde_json::Value;

use self::event::{Event, ItemKind, Token};
use super::{
    chunk::CONTENT,
    transcript::{KeptText, Transcript},
};
use crate::{body::ByteLease, stream_events::data};

pub(super) use self::replay::ResponseReplay;

const DONE: &str = "[DONE]";

/// The most bytes of finished items that are kept, which the end of the stream repeats.
const MAX_ITEMS: usize = 1 << 20;

/// The beginnings and ends in a transcript.
#[derive(Clone, Copy, Debug)]
enum Mark {
    Message,
    Reasoning,
    Part,
    TextDone,
    PartDone,
    ItemDone,
}

/// What the client has of a stream of Responses.
#[derive(Debug, Default)]
pub(super) struct DeliveredResponse {
    transcript: Transcript,
    /// The text of the message, if it may serve as an assistant prefix.
    text: Option<KeptText>,
    /// The id and the creation time of the response.
    head: Option<(Value, Value)>,
    /// The number of the next event.
    next_number: u64,
    items: Vec<SentItem>,
    /// The bytes of the finished items.
    kept: usize,
    /// Counts these bytes against the budget of the request.
    lease: Option<ByteLease>,
    /// Whether a part was delivered that cannot be compared.
    opaque: bool,
    finished: bool,
}

/// An item that the client has.
#[derive(Debug)]
struct SentItem {
    id: String,
    kind: ItemKind,
    /// Whether the item counts in a comparison: reasoning without text does not.
    is_visible: bool,
    /// Whether a part is open.
    has_open_part: bool,
    /// The finished item.
    done: Option<Value>,
}

impl DeliveredResponse {
    /// Nothing yet. The text itself is kept if `keep_text` is set; what is kept counts against `lease`.
    pub(super) fn new(keep_text: bool, lease: Option<ByteLease>) -> Self {
        let text = keep_text.then(|| KeptText::new(lease.as_ref().map(ByteLease::sibling)));
        Self { text, lease, ..Self::default() }
    }

    /// Records an event that the client gets.
    pub(super) fn record(&mut self, event: &[u8]) {
        let Ok(event) = std::str::from_utf8(event) else { return self.give_up() };
        match data(event) {
            None => {}
            Some(data) if data == DONE => self.finished = true,
            Some(data) => match Event::read(&data) {
                Some(event) => self.apply(&event),
                None => self.give_up(),
            },
        }
    }

    fn apply(&mut self, event: &Event) {
        self.next_number = event.number.unwrap_or(self.next_number) + 1;
        // An item is open at a time, the last one.
        let is_open = |items: &[SentItem]| event.at.is_none_or(|at| at + 1 == items.len());
        match &event.token {
            Token::Begin { id, created } => {
                self.head.get_or_insert_with(|| (id.clone(), created.clone()));
            }
            Token::Ignored => {}
            Token::Item(kind, id) => self.begin_item(*kind, id, event.at),
            Token::End => self.finished = true,
            Token::Opaque => self.give_up(),
            _ if !is_open(&self.items) => self.give_up(),
            Token::Part => {
                self.show();
                self.mark(Mark::Part);
                self.open_part(true);
            }
            Token::Text(channel, text) => self.add(*channel, text),
            Token::TextDone => self.mark(Mark::TextDone),
            Token::PartDone => {
                self.mark(Mark::PartDone);
                self.open_part(false);
            }
            Token::ItemDone(item) => self.end_item(item),
        }
    }

    fn begin_item(&mut self, kind: ItemKind, id: &str, at: Option<usize>) {
        if at.is_some_and(|at| at != self.items.len()) || self.items.last().is_some_and(|last| last.done.is_none()) {
            self.give_up();
        }
        let is_visible = kind != ItemKind::Reasoning;
        self.items.push(SentItem { id: id.to_owned(), kind, is_visible, has_open_part: false, done: None });
        match kind {
            ItemKind::Message => self.mark(Mark::Message),
            ItemKind::Reasoning => {}
            ItemKind::Other => self.give_up(),
        }
    }

    /// Makes the open item one that counts.
    fn show(&mut self) {
        if let Some(item) = self.items.last_mut().filter(|item| !item.is_visible) {
            item.is_visible = true;
            self.mark(Mark::Reasoning);
        }
    }

    fn open_part(&mut self, is_open: bool) {
        if let Some(item) = self.items.last_mut() {
            item.has_open_part = is_open;
        }
    }

    fn end_item(&mut self, json: &Value) {
        self.kept += json.to_string().len();
        let has_room = self.kept <= MAX_ITEMS && self.lease.as_mut().is_none_or(|lease| lease.try_resize(self.kept));
        let Some(item) = self.items.last_mut() else { return self.give_up() };
        item.done = Some(if has_room { json.clone() } else { Value::Null });
        if item.is_visible {
            self.mark(Mark::ItemDone);
        }
        if !has_room {
            self.give_up();
        }
    }

    fn mark(&mut self, mark: Mark) {
        self.transcript.mark(mark as u8);
    }

    fn add(&mut self, channel: u8, text: &str) {
        self.transcript.add(channel, text);
        // A prefix cannot restore reasoning, or what it has no room for.
        let fits = |kept: &mut KeptText| text.is_empty() || channel == CONTENT && kept.push(text);
        if !self.text.as_mut().is_some_and(fits) {
            self.text = None;
        }
    }

    /// Records that the stream cannot be resumed.
    pub(super) fn give_up(&mut self) {
        self.opaque = true;
        self.text = None;
    }

    /// Whether another stream can be compared with it.
    pub(super) const fn is_resumable(&self) -> bool {
        !self.opaque && !self.finished
    }

    /// The text so far, if it may serve as an assistant prefix: it is the open part of the only message.
    pub(super) fn prefix(&self) -> Option<&str> {
        let mut visible = self.items.iter().filter(|item| item.is_visible);
        let message = visible.next().filter(|_| visible.next().is_none())?;
        let is_open = message.kind == ItemKind::Message && message.has_open_part && message.done.is_none();
        self.text.as_ref().filter(|_| is_open).map(KeptText::as_str).filter(|text| !text.is_empty())
    }
}
