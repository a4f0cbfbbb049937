//! Compares a second response with what the client has of the first: two pure state machines.

use bytes::Bytes;

use super::{
    chunk::{CONTENT, Chunk},
    transcript::{KeptText, Transcript},
};
use crate::{
    body::ByteLease,
    stream_events::{data, with_data},
};

const DONE: &str = "[DONE]";
/// The most bytes at the beginning of a continuation that are compared with the prefix: a backend
/// that starts over instead of continuing repeats the prefix.
const PROBE_BYTES: usize = 32;
/// The least equal bytes that show it.
const MIN_EQUAL_BYTES: usize = 4;

/// What the client has of a response.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct DeliveredTranscript {
    transcript: Transcript,
    /// The text itself, if it may serve as an assistant prefix.
    text: Option<KeptText>,
    /// The JSON text of the id.
    id: Option<String>,
    /// Whether a part was delivered that cannot be compared.
    opaque: bool,
    /// Whether a finish reason has come, and no text after it.
    finished: bool,
}

impl DeliveredTranscript {
    /// Returns an empty transcript, which keeps the text itself if `keep_text` is set, and counts it
    /// against `lease`.
    pub(super) fn new(keep_text: bool, lease: Option<ByteLease>) -> Self {
        Self { text: keep_text.then(|| KeptText::new(lease)), ..Self::default() }
    }

    /// Records an event that the client gets.
    pub(super) fn record(&mut self, event: &[u8]) {
        let Ok(event) = std::str::from_utf8(event) else { return self.give_up() };
        match data(event) {
            None => {}
            Some(data) if data == DONE => self.finished = true,
            Some(data) => match Chunk::read(&data) {
                Some(chunk) => self.record_chunk(&chunk),
                None => self.give_up(),
            },
        }
    }

    fn record_chunk(&mut self, chunk: &Chunk) {
        self.opaque |= chunk.opaque;
        self.record_finish(chunk);
        if self.id.is_none() {
            self.id = chunk.id().map(str::to_owned);
        }
        for piece in &chunk.pieces {
            self.add(piece.channel, &piece.text);
        }
    }

    /// A choice that continues after its finish reason has not finished.
    fn record_finish(&mut self, chunk: &Chunk) {
        self.finished = chunk.finished || self.finished && !chunk.has_text();
    }

    fn add(&mut self, channel: u8, text: &str) {
        self.transcript.add(channel, text);
        // A prefix cannot restore reasoning, or what it has no room for.
        let fits = |kept: &mut KeptText| text.is_empty() || channel == CONTENT && kept.push(text);
        if !self.text.as_mut().is_some_and(fits) {
            self.text = None;
        }
    }

    /// Records that the response cannot be resumed.
    pub(super) fn give_up(&mut self) {
        self.opaque = true;
        self.text = None;
    }

    /// Whether another response can be compared with it.
    pub(super) fn is_resumable(&self) -> bool {
        !self.opaque && !self.finished
    }

    /// The text so far, if it may serve as an assistant prefix.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.text.as_ref().map(KeptText::as_str).filter(|text| !text.is_empty())
    }
}

/// What to do with an event of the second response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Drop it: the client has it already, or does not need it.
    Skip,
    /// Pass these events on.
    Pass(Vec<Bytes>),
    /// End the stream: the responses differ.
    Differs,
}

/// A second response, compared with what the client has of the first.
#[derive(Debug)]
pub(super) struct Replay {
    delivered: DeliveredTranscript,
    /// The part of the second response that was compared.
    compared: Transcript,
    /// Whether the client has the current part already.
    is_skipping: bool,
    /// Whether the client has got a part of the second response.
    has_output: bool,
    /// Whether the client has got the last event of the stream.
    is_over: bool,
    /// Set while it is not known whether the response continues from the prefix or starts over.
    probe: Option<Probe>,
}

/// The beginning of a response that was asked to continue from a prefix.
#[derive(Debug, Default)]
pub(super) struct Probe {
    events: Vec<Bytes>,
    text: String,
}

impl Probe {
    /// Adds an event.
    pub(super) fn push(&mut self, event: Bytes) {
        self.events.push(event);
    }

    /// Adds a text of an event.
    pub(super) fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Whether the response starts over; `None` if that is not known yet. `is_decided` says that no more text comes
    /// that could be compared.
    pub(super) fn starts_over(&self, prefix: &str, is_decided: bool) -> Option<bool> {
        let enough = prefix.len().min(PROBE_BYTES);
        if !is_decided && self.text.len() < enough {
            return None;
        }
        let equal = self.text.bytes().zip(prefix.bytes()).take(enough).take_while(|(a, b)| a == b).count();
        Some(equal == enough || (equal == self.text.len() && equal >= MIN_EQUAL_BYTES))
    }

    /// Reads the events that were held back.
    pub(super) fn replay(self, mut step: impl FnMut(&Bytes) -> Step) -> Step {
        let mut out = Vec::new();
        for event in &self.events {
            match step(event) {
                Step::Skip => {}
                Step::Pass(events) => out.extend(events),
                Step::Differs => return Step::Differs,
            }
        }
        if out.is_empty() { Step::Skip } else { Step::Pass(out) }
    }
}

impl Replay {
    /// Compares a response that starts from the beginning, and skips the part that the client has.
    pub(super) fn from_start(delivered: DeliveredTranscript) -> Self {
        let is_skipping = delivered.transcript.length() > 0;
        Self::new(delivered, is_skipping, None)
    }

    /// Passes on a response that continues where the first broke off.
    pub(super) fn continuing(delivered: DeliveredTranscript) -> Self {
        let probe = delivered.prefix().map(|_| Probe::default());
        Self::new(delivered, false, probe)
    }

    fn new(delivered: DeliveredTranscript, is_skipping: bool, probe: Option<Probe>) -> Self {
        Self { delivered, compared: Transcript::default(), is_skipping, has_output: false, is_over: false, probe }
    }

    /// Returns what the client has by now.
    pub(super) fn into_delivered(self) -> DeliveredTranscript {
        self.delivered
    }

    /// Whether the client has got a part of the second response.
    pub(super) const fn has_output(&self) -> bool {
        self.has_output
    }

    /// Whether the client has got a whole response and its last event.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Reads the next event of the second response.
    pub(super) fn event(&mut self, event: &Bytes) -> Step {
        let Some(mut probe) = self.probe.take() else { return self.step(event) };
        let chunk = std::str::from_utf8(event).ok().and_then(data).and_then(|data| Chunk::read(&data));
        probe.push(event.clone());
        let mut is_decided = false;
        if let Some(chunk) = chunk {
            is_decided = chunk.finished || chunk.opaque;
            for piece in &chunk.pieces {
                is_decided |= piece.channel != CONTENT;
                probe.push_text(&piece.text);
            }
        }
        let Some(starts_over) = probe.starts_over(self.delivered.prefix().unwrap_or_default(), is_decided) else {
            self.probe = Some(probe);
            return Step::Skip;
        };
        // A response that starts over is compared like any other.
        self.is_skipping = starts_over;
        probe.replay(|event| self.step(event))
    }

    fn step(&mut self, event: &Bytes) -> Step {
        match self.next(event) {
            Ok(Some(event)) => {
                self.has_output = true;
                Step::Pass(vec![event])
            }
            Ok(None) => Step::Skip,
            Err(Differs) => Step::Differs,
        }
    }

    fn next(&mut self, event: &Bytes) -> Result<Option<Bytes>, Differs> {
        let text = std::str::from_utf8(event).map_err(|_| Differs)?;
        let Some(data) = data(text) else { return Ok(self.has_output.then(|| event.clone())) };
        if data == DONE {
            self.is_over = self.delivered.finished;
            return if self.is_over { Ok(Some(event.clone())) } else { Err(Differs) };
        }
        let chunk = Chunk::read(&data).ok_or(Differs)?;
        let rewritten = if self.is_skipping {
            match self.skip_delivered(&chunk, &data)? {
                Some(rewritten) => rewritten,
                None => return Ok(None),
            }
        } else {
            // The client has the preamble of the first response.
            if !self.has_output && chunk.has_choice && !chunk.has_text() && !chunk.finished && !chunk.opaque {
                return Ok(None);
            }
            self.delivered.record_chunk(&chunk);
            chunk.rewrite(&data, &[], self.delivered.id.as_deref())
        };
        Ok(Some(rewritten.map_or_else(|| event.clone(), |data| with_data(text, &data))))
    }

    /// Returns the part of the chunk that the client does not have, `Some(None)` for the unchanged
    /// chunk; `None` when the client has all of it.
    fn skip_delivered(&mut self, chunk: &Chunk, data: &str) -> Result<Option<Option<String>>, Differs> {
        if chunk.opaque {
            return Err(Differs);
        }
        let mut texts = Vec::with_capacity(chunk.pieces.len());
        let mut has_more = false;
        for piece in &chunk.pieces {
            if !self.is_skipping {
                self.delivered.add(piece.channel, &piece.text);
                has_more |= !piece.text.is_empty();
                texts.push(None);
                continue;
            }
            let limit = self.delivered.transcript.length();
            let rest = self.compared.add_up_to(piece.channel, &piece.text, limit).ok_or(Differs)?;
            if self.compared.length() == limit {
                if !self.compared.equals(&self.delivered.transcript) {
                    return Err(Differs);
                }
                self.is_skipping = false;
                self.delivered.add(piece.channel, rest);
                has_more |= !rest.is_empty();
            }
            texts.push(Some(rest));
        }
        if self.is_skipping && chunk.finished {
            return Err(Differs);
        }
        if self.is_skipping || !(has_more || chunk.finished) {
            return Ok(None);
        }
        self.delivered.record_finish(chunk);
        Ok(Some(chunk.rewrite(data, &texts, self.delivered.id.as_deref())))
    }
}

/// The responses differ.
struct Differs;

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
