//! The filter: joins splitter, scanner and grammar.

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

/// The most bytes of a JSON body that are searched for an error.
const MOST_JSON: usize = 64 * 1024;

pub(super) const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// What the filter does with the open event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It is held until it is complete.
    CommitPoint,
    /// It is too long to be held and is passed in parts.
    Long,
    /// It is dropped; `begun` if a part of it has been passed.
    Skip { begun: bool },
}

enum Phase {
    Open,
    /// The body may be an error in JSON.
    Json(ObjectCheck, usize),
    /// The end has been passed; later bytes are dropped.
    Closed,
    Failed,
}

/// Filters a stream; see the [module](super).
pub struct StreamFilter {
    splitter: Splitter,
    event: Event,
    progress: Progress,
    phase: Phase,
    mode: Mode,
    /// The bytes of the open event from earlier frames, in [`Mode::CommitPoint`].
    held: BytesMut,
    /// The length of the open event so far, in bytes.
    length: usize,
    /// The longest event that is held, in bytes.
    hold: usize,
    /// Whether the last event was passed.
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

    /// Sets whether `[DONE]` follows the event that ends a response of the Responses API, whether or not the upstream
    /// sends it.
    #[must_use]
    pub fn done_event(mut self, adds_done: bool) -> Self {
        self.progress.set_adds_done(adds_done);
        self
    }

    /// Processes one frame of the upstream and passes to `out`, byte for byte, what may go to the client.
    ///
    /// # Errors
    ///
    /// The stream cannot become a complete response. Bytes before the fault have been passed; later ones are not.
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

    /// Ends the stream after a clean end of the upstream's body, as far as HTTP can tell. Passes what is missing: the
    /// blank line of a last event, a `[DONE]`.
    ///
    /// # Errors
    ///
    /// The stream is not a complete response.
    pub fn end(&mut self, out: &mut impl FnMut(Bytes)) -> Result<(), StreamFault> {
        self.finish(true, out)
    }

    /// Ends the stream after the upstream broke off or stalled. A response that is complete already stays so, and a
    /// missing `[DONE]` is passed.
    ///
    /// # Errors
    ///
    /// The stream is not a complete response.
    pub fn broken(&mut self, out: &mut impl FnMut(Bytes)) -> Result<(), StreamFault> {
        self.finish(false, out)
    }

    /// Whether an event with output was passed: the point after which another backend cannot take over unnoticed.
    pub fn output_seen(&self) -> bool {
        if self.is_opaque() {
            return self.bytes > 0;
        }
        self.progress.output() || (self.mode == Mode::Long && self.progress.bears_output_so_far(&self.event))
    }

    /// Whether the response is complete by its grammar, save for a `[DONE]`.
    pub fn finished(&self) -> bool {
        match self.phase {
            Phase::Failed => false,
            Phase::Closed => true,
            Phase::Open | Phase::Json(..) => self.progress.is_whole(),
        }
    }

    /// Whether the last event, such as `[DONE]`, was passed; later bytes are dropped.
    pub fn closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Returns the number of events with data that were passed.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Returns the number of bytes that were passed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the token counts that the upstream has reported.
    pub fn usage(&self) -> Option<Usage> {
        self.progress.usage()
    }

    /// Whether a comment may be sent to the client now without splitting an event. False once the stream is over, and
    /// always for [`Grammar::Opaque`].
    pub fn between_events(&self) -> bool {
        matches!(self.phase, Phase::Open) && !self.is_opaque() && !self.torn()
    }

    /// Whether the client has received an incomplete event. After a fault, a blank line must precede the next event.
    pub fn torn(&self) -> bool {
        matches!(self.mode, Mode::Long | Mode::Skip { begun: true })
    }

    /// Returns the number of events that were dropped because they would break the client's parser.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Sets a lower hold limit, for tests.
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

    /// Handles a body that is no event stream, but may be an error in JSON.
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
