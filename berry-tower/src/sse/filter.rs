//! The filter that joins splitter, scanner and grammar: frames in, what may go to the client out.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::event::Event;
use super::grammar::{Progress, Verdict};
use super::split::{Splitter, Token};
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
    Hold,
    /// Too long for that: handed on as it comes.
    Long,
    /// Left out to its end, though it may have `begun` to be handed on.
    Skip { begun: bool },
}

enum Phase {
    Open,
    /// The answer may be an error in JSON.
    Json(Box<ObjectCheck>, usize),
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
    /// What has come of the open event in earlier frames, in [`Mode::Hold`].
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

/// The client's side: joins neighbours in one frame into one piece.
struct Sink<'a, F> {
    out: &'a mut F,
    frame: &'a Bytes,
    from: usize,
    to: usize,
    sent: usize,
}

impl<F: FnMut(Bytes)> Sink<'_, F> {
    fn send(&mut self, bytes: Bytes) {
        self.sent += bytes.len();
        (self.out)(bytes);
    }

    /// Hands on a part of the frame.
    fn pass(&mut self, from: usize, to: usize) {
        if self.to != from {
            self.flush();
            self.from = from;
        }
        self.to = to;
    }

    fn flush(&mut self) {
        if self.from < self.to {
            self.send(self.frame.slice(self.from..self.to));
        }
        self.from = self.to;
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
            mode: Mode::Hold,
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
        self.progress.output() || (self.mode == Mode::Long && self.progress.bears_output(&self.event))
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
        matches!(self.phase, Phase::Open)
            && !self.is_opaque()
            && matches!(self.mode, Mode::Hold | Mode::Skip { begun: false })
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

    fn read<F: FnMut(Bytes)>(&mut self, frame: &Bytes, out: &mut F) -> Result<(), StreamFault> {
        let mut sink = Sink { out, frame, from: 0, to: 0, sent: 0 };
        let result = self.read_events(frame, &mut sink);
        sink.flush();
        self.bytes += sink.sent as u64;
        result
    }

    fn read_events<F: FnMut(Bytes)>(&mut self, frame: &Bytes, sink: &mut Sink<'_, F>) -> Result<(), StreamFault> {
        // Where the part of the open event begins that is in this frame and not handed on.
        let mut start = 0;
        let mut at = 0;
        while at < frame.len() {
            if self.mode == Mode::Hold && self.length >= self.hold {
                self.outgrow(sink, start, at)?;
                start = at;
            }
            let (used, token) = self.splitter.next(&frame[at..self.reach(at, frame.len())]);
            at += used;
            self.length += used;
            match token {
                Token::More => {}
                Token::DataLine => self.event.data_line(),
                Token::Data(part) => self.event.data(part),
                Token::NameLine => self.event.name_line(),
                Token::Name(part) => self.event.name(part),
                Token::Foreign => return self.foreign(&frame[at..]),
                Token::Tail => self.end_tail(sink, start, at),
                Token::End => self.end_event(sink, start, at)?,
            }
            match token {
                Token::Tail | Token::End => start = at,
                _ if self.mode == Mode::Long => {
                    self.pass_part(sink, start, at)?;
                    start = at;
                }
                _ => {}
            }
            if self.closed() {
                sink.pass(at, at + self.splitter.take_tail(&frame[at..]));
                return Ok(());
            }
        }
        if self.mode == Mode::Hold {
            self.held.extend_from_slice(&frame[start..]);
        }
        Ok(())
    }

    /// How far to read in one go: an event must not become too long to be held unnoticed, so that what
    /// becomes of it does not hang on where the frames are cut.
    fn reach(&self, at: usize, end: usize) -> usize {
        match self.mode {
            Mode::Hold => end.min(at.saturating_add(self.hold - self.length)),
            _ => end,
        }
    }

    /// The open event has become too long to be held.
    fn outgrow<F: FnMut(Bytes)>(&mut self, sink: &mut Sink<'_, F>, start: usize, at: usize) -> Result<(), StreamFault> {
        if self.splitter.is_opening() {
            return Err(StreamFault::NotEvents(None));
        }
        if self.event.is_no_object() || self.event.is_error() {
            self.mode = Mode::Skip { begun: false };
            self.held.clear();
        } else {
            self.mode = Mode::Long;
            self.send_held(sink);
            sink.pass(start, at);
        }
        Ok(())
    }

    /// Hands on a further part of a long event, unless it shows what is wrong with it.
    fn pass_part<F: FnMut(Bytes)>(
        &mut self,
        sink: &mut Sink<'_, F>,
        start: usize,
        at: usize,
    ) -> Result<(), StreamFault> {
        if self.event.is_no_object() {
            return Err(StreamFault::Interrupted);
        }
        if self.event.is_error() {
            self.mode = Mode::Skip { begun: true };
        } else {
            sink.pass(start, at);
        }
        Ok(())
    }

    fn end_event<F: FnMut(Bytes)>(
        &mut self,
        sink: &mut Sink<'_, F>,
        start: usize,
        at: usize,
    ) -> Result<(), StreamFault> {
        let verdict = self.progress.take(&mut self.event);
        let mode = std::mem::replace(&mut self.mode, Mode::Hold);
        let verdict = match (mode, verdict) {
            (_, Verdict::Fault(fault)) => return Err(fault),
            (Mode::Hold, verdict) => verdict,
            (Mode::Long, Verdict::Pass | Verdict::Hide) => Verdict::Pass,
            (Mode::Skip { begun: false }, Verdict::Hide) => Verdict::Hide,
            (Mode::Skip { begun: false }, _) => Verdict::Malformed,
            // What has been handed on of it cannot be taken back.
            (Mode::Long | Mode::Skip { begun: true }, _) => return Err(StreamFault::Interrupted),
        };
        self.passed = matches!(verdict, Verdict::Pass | Verdict::Close);
        if self.passed {
            self.send_held(sink);
            sink.pass(start, at);
            self.events += u64::from(self.event.has_data());
        }
        self.malformed += u64::from(verdict == Verdict::Malformed);
        if verdict == Verdict::Close {
            self.phase = Phase::Closed;
        }
        self.held.clear();
        self.length = 0;
        self.event.reset();
        Ok(())
    }

    /// A line feed came that belongs to the last event.
    fn end_tail<F: FnMut(Bytes)>(&mut self, sink: &mut Sink<'_, F>, start: usize, at: usize) {
        self.length = 0;
        if self.passed {
            sink.pass(start, at);
        }
    }

    fn send_held<F: FnMut(Bytes)>(&mut self, sink: &mut Sink<'_, F>) {
        if !self.held.is_empty() {
            sink.send(self.held.split().freeze());
        }
    }

    /// The body is no event stream; an error in JSON may be told all the same.
    fn foreign(&mut self, rest: &[u8]) -> Result<(), StreamFault> {
        if rest[0] != b'{' {
            return Err(StreamFault::NotEvents(None));
        }
        self.phase = Phase::Json(Box::new(ObjectCheck::new()), MOST_JSON);
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
            Phase::Open => self.conclude(out),
        };
        self.phase = if result.is_ok() { Phase::Closed } else { Phase::Failed };
        match result {
            Err(StreamFault::NoOutput) if !clean => Err(StreamFault::Interrupted),
            result => result,
        }
    }

    fn conclude(&mut self, out: &mut impl FnMut(Bytes)) -> Result<(), StreamFault> {
        if self.length > 0 && !self.splitter.is_opening() {
            // A last event that is complete but for its end still counts; any other is left out.
            self.hold = usize::MAX;
            self.read(&Bytes::from_static(self.splitter.owed()), out)?;
        }
        if self.closed() {
            return Ok(());
        }
        if !self.progress.is_whole() {
            return Err(self.progress.cut());
        }
        if self.progress.wants_done() {
            self.send(DONE, out);
        }
        Ok(())
    }
}
