//! Reads the type and the data of one event, incrementally.

use super::event_type::EventType;
use super::scan::Facts;
use crate::json::Tokenizer;

const DONE: &[u8] = b"[DONE]";
const NAME: usize = 64;

/// Reads events, one after another, in constant memory.
pub(super) struct Event {
    tokenizer: Tokenizer,
    pub(super) facts: Facts,
    /// How much of `[DONE]` has come, and nothing else; `None` once something else has.
    done: Option<usize>,
    has_data: bool,
    name: [u8; NAME],
    name_len: usize,
}

impl Event {
    pub(super) fn new() -> Self {
        Self {
            tokenizer: Tokenizer::new(),
            facts: Facts::new(),
            done: Some(0),
            has_data: false,
            name: [0; NAME],
            name_len: 0,
        }
    }

    pub(super) fn reset(&mut self) {
        if self.has_data {
            self.tokenizer.reset();
            self.facts.reset();
            self.has_data = false;
        }
        self.done = Some(0);
        self.name_len = 0;
    }

    /// Starts a line `data`; several are joined by line feeds.
    pub(super) fn data_line(&mut self) {
        if self.has_data {
            self.data(b"\n");
        }
        self.has_data = true;
    }

    pub(super) fn data(&mut self, part: &[u8]) {
        if let Some(had) = self.done {
            self.done = part.iter().try_fold(had, |had, byte| match DONE.get(had) {
                Some(next) => (next == byte).then_some(had + 1),
                None => byte.is_ascii_whitespace().then_some(had),
            });
        }
        if !self.tokenizer.is_malformed() {
            // The tokenizer stays malformed.
            let _ = self.tokenizer.push(part, &mut self.facts);
        }
    }

    /// Starts a line `event`; the last one counts.
    pub(super) fn name_line(&mut self) {
        self.name_len = 0;
    }

    pub(super) fn name(&mut self, part: &[u8]) {
        let taken = part.len().min(NAME - self.name_len);
        self.name[self.name_len..][..taken].copy_from_slice(&part[..taken]);
        self.name_len += taken;
    }

    pub(super) fn has_data(&self) -> bool {
        self.has_data
    }

    /// Whether the data is `[DONE]`.
    pub(super) fn is_done(&self) -> bool {
        self.done == Some(DONE.len())
    }

    /// Whether the data is one complete object.
    pub(super) fn is_object(&self) -> bool {
        self.tokenizer.is_whole()
    }

    /// Whether the data can no longer become an object.
    pub(super) fn is_no_object(&self) -> bool {
        self.tokenizer.is_malformed()
    }

    /// Returns the type in the data, or else that of the line `event`.
    pub(super) fn kind(&self) -> EventType {
        match self.facts.kind {
            EventType::None => self.line_kind(),
            kind => kind,
        }
    }

    /// Whether the complete event is an error.
    pub(super) fn is_error(&self) -> bool {
        self.facts.error_at_top || self.facts.kind == EventType::Error || self.line_kind() == EventType::Error
    }

    fn line_kind(&self) -> EventType {
        EventType::read(&self.name[..self.name_len])
    }
}
