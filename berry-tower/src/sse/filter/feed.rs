//! Splits frames into events and passes, holds or drops their bytes.

use bytes::Bytes;

use super::{DONE, Mode, Phase, StreamFilter};
use crate::sse::StreamFault;
use crate::sse::grammar::Verdict;
use crate::sse::split::Token;

/// Collects passed bytes, joining neighbours of one frame.
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

    /// Passes a part of the frame.
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
    pub(super) fn read<F: FnMut(Bytes)>(&mut self, frame: &Bytes, out: &mut F) -> Result<(), StreamFault> {
        let mut sink = Sink { out, frame, from: 0, to: 0, sent: 0 };
        let result = self.read_events(frame, &mut sink);
        sink.flush();
        self.bytes += sink.sent as u64;
        result
    }

    fn read_events<F: FnMut(Bytes)>(&mut self, frame: &Bytes, sink: &mut Sink<'_, F>) -> Result<(), StreamFault> {
        // The start of the open event's bytes in this frame that have not been passed.
        let mut start = 0;
        let mut at = 0;
        while at < frame.len() {
            if self.mode == Mode::CommitPoint && self.length >= self.hold {
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
        if self.mode == Mode::CommitPoint {
            self.held.extend_from_slice(&frame[start..]);
        }
        Ok(())
    }

    /// How far to read in one go: an event must not become too long to be held unnoticed, so that what
    /// becomes of it does not hang on where the frames are cut.
    fn reach(&self, at: usize, end: usize) -> usize {
        match self.mode {
            Mode::CommitPoint => end.min(at.saturating_add(self.hold - self.length)),
            _ => end,
        }
    }

    /// Handles an open event that is too long to be held.
    fn outgrow<F: FnMut(Bytes)>(&mut self, sink: &mut Sink<'_, F>, start: usize, at: usize) -> Result<(), StreamFault> {
        if self.splitter.is_opening() {
            return Err(StreamFault::NotEvents(None));
        }
        if self.event.is_no_object() || self.event.facts.error_at_top {
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
        if self.event.facts.error_at_top {
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
        let verdict = match (self.mode, verdict) {
            (_, Verdict::Fault(fault)) => return Err(fault),
            (Mode::CommitPoint, verdict) => verdict,
            (Mode::Long, Verdict::Close) => Verdict::Close,
            (Mode::Long, Verdict::Pass | Verdict::Hide) => Verdict::Pass,
            (Mode::Skip { begun: false }, Verdict::Hide) => Verdict::Hide,
            (Mode::Skip { begun: false }, _) => Verdict::Malformed,
            // The part that was passed cannot be taken back.
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
            if self.progress.adds_done() {
                sink.flush();
                sink.send(DONE);
            }
        }
        self.mode = Mode::CommitPoint;
        self.held.clear();
        self.length = 0;
        self.event.reset();
        Ok(())
    }

    /// Handles a line feed that belongs to the last event.
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
}
