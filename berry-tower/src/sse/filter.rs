//! The filter that joins splitter, scanner and grammar: frames in, what may go to the client out.

mod feed;

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::event::Event;
use super::grammar::Progress;
use super::split::Splitter;
use super::{Grammar, StreamFault, Usage};
use crate::json::ObjectCheck;

/// An event is held back until it is complete, unless it is longer than this.
const HOLD: usize = 16 * 1024;

/// How much of a JSON body is searched for an error when there should be a stream.
const MOST_JSON: usize = 64 * 1024;

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// What becomes of the event that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Held until it is complete.
    CommitPoint,
    /// Too long for that: handed on as it comes.
    Long,
    /// Left out to its end, though it may have `begun` to be handed on.
    Skip { begun: bool },
}

enum Phase {
    Open,
    /// The answer may be an error in JSON.
    Json(ObjectCheck, usize),
    /// The end has been handed on; what follows is dropped.
    Closed,
    Failed,
}

/// Reads a stream while it passes; see the [module](super).
pub struct StreamFilter {
    splitter: Splitter,
    event: Event,
    progress: Progress,
    phase: Phase,
    mode: Mode,
    /// What has come of the open event in earlier frames, in [`Mode::CommitPoint`].
    held: BytesMut,
    /// What has come of the open event in all, in bytes.
    length: usize,
    /// An event longer than this is not held.
    hold: usize,
    /// The last event was handed on.
    passed: bool,
    events: u64,
    bytes: u64,
    malformed: u64,
}

impl fmt::Debug for StreamFilter {
    // Without the content, which belongs to the client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamFilter")
            .field("grammar", &self.progress.grammar())
            .field("output_seen", &self.output_seen())
            .field("finished", &self.finished())
            .field("events", &self.events)
            .field("bytes", &self.bytes)
            .field("malformed", &self.malformed)
            .finish_non_exhaustive()
    }
}

impl StreamFilter {
    /// A filter for one stream. With `hide_usage`, the chunk of chat and completions that holds nothing
    /// but `usage` is read and left out, for a client that did not ask for it.
    pub fn new(grammar: Grammar, hide_usage: bool) -> Self {
        Self {
            splitter: Splitter::new(),
            event: Event::new(),
            progress: Progress::new(grammar, hide_usage),
            phase: Phase::Open,
            mode: Mode::CommitPoint,
            held: BytesMut::new(),
            length: 0,
            hold: HOLD,
            passed: true,
            events: 0,
            bytes: 0,
            malformed: 0,
        }
    }

    /// How many choices the client asked for (`n`), so that one that never appears is missed.
    #[must_use]
    pub fn expected_choices(mut self, n: usize) -> Self {
        self.progress.expect(n.max(1));
        self
    }

    /// Feeds one frame of the upstream; hands on through `out`, byte for byte, what may go to the client.
    ///
    /// # Errors
    ///
    /// When it is certain that the stream is no whole answer. What came before the fault has been handed
    /// on then, and nothing more is.
    pub fn push(&mut self, frame: Bytes, out: &mut impl FnMut(Bytes)) -> Result<(), StreamFault> {
        let result = match self.phase {
            Phase::Failed => Err(StreamFault::Interrupted),
            Phase::Closed => {
                let tail = self.splitter.take_tail(&frame);
                self.send(frame.slice(..tail), out);
                Ok(())
            }
            Phase::Json(..) => self.read_json(&frame),
            Phase::Open if self.is_opaque() => {
                self.send(frame, out);
                Ok(())
            }
            Phase::Open => self.read(&frame, out),
        };
        if result.is_err() {
            self.phase = Phase::Failed;
        }
        result
    }

    /// The upstream's body has ended, cleanly as far as HTTP can tell. Hands on what is still owed: a last
    /// event that lacks its blank line, a `[DONE]`.
    ///
    /// # Errors
    ///
    /// When the stream is no whole answer.
    pub fn end(&mut self, out: &mut impl FnMut(Bytes)) -> Result<(), StreamFault> {
        self.finish(true, out)
    }

    /// The upstream broke off, or stalled. An answer that is whole already stays so, and the `[DONE]` that
    /// it lacks is handed on.
    ///
    /// # Errors
    ///
    /// When the stream is no whole answer.
    pub fn broken(&mut self, out: &mut impl FnMut(Bytes)) -> Result<(), StreamFault> {
        self.finish(false, out)
    }

    /// An event that bears output was handed on: the point after which no other backend can take over
    /// unseen.
    pub fn output_seen(&self) -> bool {
        if self.is_opaque() {
            return self.bytes > 0;
        }
        self.progress.output() || (self.mode == Mode::Long && self.progress.bears_output_so_far(&self.event))
    }

    /// The answer is complete by its own grammar; what is missing at most is a `[DONE]`.
    pub fn finished(&self) -> bool {
        match self.phase {
            Phase::Failed => false,
            Phase::Closed => true,
            Phase::Open | Phase::Json(..) => self.progress.is_whole(),
        }
    }

    /// The last event, such as `[DONE]`, was handed on; whatever still comes is dropped.
    pub fn closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// How many events with data were handed on.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many bytes were handed on.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the upstream counted so far, if it did.
    pub fn usage(&self) -> Option<Usage> {
        self.progress.usage()
    }

    /// A comment may be sent to the client now without tearing an event apart. False once the stream is
    /// over, and always for [`Grammar::Opaque`].
    pub fn between_events(&self) -> bool {
        matches!(self.phase, Phase::Open) && !self.is_opaque() && !self.torn()
    }

    /// The client has a part of an event without its end. After a fault, a blank line must go before
    /// anything that is to be an event of its own.
    pub fn torn(&self) -> bool {
        matches!(self.mode, Mode::Long | Mode::Skip { begun: true })
    }

    /// How many events were left out because the client's parser would have stumbled over them.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Holds back less, so that tests need no long events.
    #[cfg(any(test, fuzzing))]
    pub(super) fn holding(mut self, hold: usize) -> Self {
        self.hold = hold;
        self
    }

    fn is_opaque(&self) -> bool {
        self.progress.grammar() == Grammar::Opaque
    }

    fn send(&mut self, bytes: Bytes, out: &mut impl FnMut(Bytes)) {
        if !bytes.is_empty() {
            self.bytes += bytes.len() as u64;
            out(bytes);
        }
    }

    /// The body is no event stream; an error in JSON may be told all the same.
    fn foreign(&mut self, rest: &[u8]) -> Result<(), StreamFault> {
        if rest[0] != b'{' || !self.splitter.is_line_begin() {
            return Err(StreamFault::NotEvents(None));
        }
        self.phase = Phase::Json(ObjectCheck::new(), MOST_JSON);
        self.read_json(rest)
    }

    fn read_json(&mut self, bytes: &[u8]) -> Result<(), StreamFault> {
        let Phase::Json(check, left) = &mut self.phase else {
            return Ok(());
        };
        let part = &bytes[..bytes.len().min(*left)];
        *left -= part.len();
        if check.push(part).is_err() || check.is_whole() || *left == 0 {
            return Err(StreamFault::NotEvents(check.take_error()));
        }
        Ok(())
    }

    fn finish(&mut self, clean: bool, out: &mut impl FnMut(Bytes)) -> Result<(), StreamFault> {
        let opaque = self.is_opaque();
        let result = match &mut self.phase {
            Phase::Closed => return Ok(()),
            Phase::Failed => return Err(StreamFault::Interrupted),
            Phase::Json(check, _) => Err(StreamFault::NotEvents(check.take_error())),
            Phase::Open if opaque => match (clean, self.bytes) {
                (true, 0) => Err(StreamFault::NoOutput),
                (true, _) => Ok(()),
                (false, _) => Err(StreamFault::Interrupted),
            },
            Phase::Open => self.conclude(clean, out),
        };
        self.phase = if result.is_ok() { Phase::Closed } else { Phase::Failed };
        match result {
            Err(StreamFault::NoOutput) if !clean => Err(StreamFault::Interrupted),
            result => result,
        }
    }

    fn conclude(&mut self, clean: bool, out: &mut impl FnMut(Bytes)) -> Result<(), StreamFault> {
        if self.length > 0 && !self.splitter.is_opening() {
            // A last event that is complete but for its end still counts; any other is left out.
            self.hold = usize::MAX;
            self.read(&Bytes::from_static(self.splitter.owed()), out)?;
        }
        if self.closed() {
            return Ok(());
        }
        if !(if clean { self.progress.is_whole_at_end() } else { self.progress.is_whole() }) {
            return Err(self.progress.cut());
        }
        if self.progress.wants_done() {
            self.send(DONE, out);
        }
        Ok(())
    }
}
