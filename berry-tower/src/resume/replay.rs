//! What a client has of an answer, and another answer held against it: two pure state machines.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    chunk::{ANSWER, Chunk, Piece},
    events::{data, with_data},
};

const DONE: &str = "[DONE]";
/// How much of what goes on from a prefix is looked at, in bytes: a backend that was to go on and
/// begins anew says the same words again.
const PROBE: usize = 32;
/// Less than this is too little to tell.
const TELLING: usize = 4;

/// The text of an answer, as a hash and a length.
#[derive(Clone, Debug, Default)]
struct Transcript {
    digest: Sha256,
    length: u64,
    channel: Option<u8>,
}

impl Transcript {
    /// What marks that the text goes on in another channel; no text holds such a byte.
    fn mark(&self, channel: u8) -> Option<[u8; 2]> {
        (self.channel != Some(channel)).then_some([0xff, channel])
    }

    fn add(&mut self, channel: u8, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(mark) = self.mark(channel) {
            self.digest.update(mark);
            self.length += mark.len() as u64;
            self.channel = Some(channel);
        }
        self.digest.update(text);
        self.length += text.len() as u64;
    }

    /// Adds as much of the text as there is room for below `most`, and gives the rest; `None` when
    /// that is no place to stop.
    fn fill<'a>(&mut self, piece: &'a Piece, most: u64) -> Option<&'a str> {
        if piece.text.is_empty() {
            return Some("");
        }
        let mark = self.mark(piece.channel).map_or(0, |mark| mark.len() as u64);
        let room = most.checked_sub(self.length + mark).filter(|room| *room > 0)?;
        let at = usize::try_from(room).unwrap_or(usize::MAX).min(piece.text.len());
        let (here, rest) = piece.text.split_at_checked(at)?;
        self.add(piece.channel, here);
        Some(rest)
    }

    fn is(&self, other: &Self) -> bool {
        self.length == other.length && self.digest.clone().finalize() == other.digest.clone().finalize()
    }
}

/// What the client has of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct DeliveredTranscript {
    transcript: Transcript,
    /// The text itself, where it may serve as a prefix.
    text: Option<String>,
    id: Option<String>,
    /// Whether something was sent that cannot be compared.
    opaque: bool,
    finished: bool,
}

impl DeliveredTranscript {
    /// Nothing so far; the text is kept when `keep` says so.
    pub(super) fn new(keep: bool) -> Self {
        Self { text: keep.then(String::new), ..Self::default() }
    }

    /// Takes down an event that goes to the client.
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
        self.finished |= chunk.finished;
        if self.id.is_none() {
            self.id = chunk.id().map(str::to_owned);
        }
        for piece in &chunk.pieces {
            self.add(piece.channel, &piece.text);
        }
    }

    fn add(&mut self, channel: u8, text: &str) {
        self.transcript.add(channel, text);
        match &mut self.text {
            Some(kept) if channel == ANSWER => kept.push_str(text),
            // A prefix cannot bring back what a model thought.
            kept if !text.is_empty() => *kept = None,
            _ => {}
        }
    }

    /// It cannot be resumed.
    pub(super) fn give_up(&mut self) {
        self.opaque = true;
        self.text = None;
    }

    /// Whether another answer can be held against it.
    pub(super) fn is_resumable(&self) -> bool {
        !self.opaque && !self.finished
    }

    /// The answer so far, where it may serve as a prefix.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.text.as_deref().filter(|text| !text.is_empty())
    }
}

/// What becomes of an event of the second answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The client has it already, or needs none of it.
    Skip,
    /// This goes to the client.
    Pass(Vec<Bytes>),
    /// It is another answer.
    Differs,
}

/// A second answer, held against what the client has of the first.
#[derive(Debug)]
pub(super) struct Replay {
    sent: DeliveredTranscript,
    seen: Transcript,
    /// The client has this part already.
    passing: bool,
    /// Something of it has gone to the client.
    spoken: bool,
    /// The stream's last event has gone to the client.
    over: bool,
    /// Whether it goes on from where it was to, or begins anew, is not known yet.
    probe: Option<Probe>,
}

/// The beginning of what should go on from a prefix.
#[derive(Debug, Default)]
struct Probe {
    held: Vec<Bytes>,
    text: String,
}

impl Replay {
    /// The second answer begins anew; the part that the client has is passed over.
    pub(super) fn from_start(sent: DeliveredTranscript) -> Self {
        let passing = sent.transcript.length > 0;
        Self { sent, seen: Transcript::default(), passing, spoken: false, over: false, probe: None }
    }

    /// The second answer goes on where the first broke off.
    pub(super) fn continuing(sent: DeliveredTranscript) -> Self {
        let probe = sent.prefix().map(|_| Probe::default());
        Self { sent, seen: Transcript::default(), passing: false, spoken: false, over: false, probe }
    }

    /// What the client has by now.
    pub(super) fn into_delivered(self) -> DeliveredTranscript {
        self.sent
    }

    /// Whether something of the second answer has gone to the client.
    pub(super) const fn has_output(&self) -> bool {
        self.spoken
    }

    /// Whether the client has a whole answer, and been told so.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Takes in the next event of the second answer.
    pub(super) fn event(&mut self, event: &Bytes) -> Step {
        let Some(mut probe) = self.probe.take() else { return self.step(event) };
        let chunk = std::str::from_utf8(event).ok().and_then(data).and_then(|data| Chunk::read(&data));
        probe.held.push(event.clone());
        let mut decided = false;
        if let Some(chunk) = chunk {
            decided = chunk.finished || chunk.opaque;
            for piece in &chunk.pieces {
                decided |= piece.channel != ANSWER;
                probe.text.push_str(&piece.text);
            }
        }
        let begun = self.sent.prefix().unwrap_or_default().as_bytes();
        let enough = begun.len().min(PROBE);
        if !decided && probe.text.len() < enough {
            self.probe = Some(probe);
            return Step::Skip;
        }
        let alike = probe.text.bytes().zip(begun.iter().copied()).take(enough).take_while(|(a, b)| a == b).count();
        // It begins anew, and is held against what the client has as any other answer.
        self.passing = alike == enough || (alike == probe.text.len() && alike >= TELLING);
        let mut out = Vec::new();
        for event in &probe.held {
            match self.step(event) {
                Step::Skip => {}
                Step::Pass(events) => out.extend(events),
                Step::Differs => return Step::Differs,
            }
        }
        if out.is_empty() { Step::Skip } else { Step::Pass(out) }
    }

    fn step(&mut self, event: &Bytes) -> Step {
        match self.next(event) {
            Ok(Some(event)) => {
                self.spoken = true;
                Step::Pass(vec![event])
            }
            Ok(None) => Step::Skip,
            Err(Differs) => Step::Differs,
        }
    }

    fn next(&mut self, event: &Bytes) -> Result<Option<Bytes>, Differs> {
        let text = std::str::from_utf8(event).map_err(|_| Differs)?;
        let Some(data) = data(text) else { return Ok(self.spoken.then(|| event.clone())) };
        if data == DONE {
            self.over = self.sent.finished;
            return if self.over { Ok(Some(event.clone())) } else { Err(Differs) };
        }
        let chunk = Chunk::read(&data).ok_or(Differs)?;
        let rewritten = if self.passing {
            match self.pass_over(&chunk, &data)? {
                Some(rewritten) => rewritten,
                None => return Ok(None),
            }
        } else {
            // The client has had a preamble.
            if !self.spoken && chunk.has_choice && !chunk.speaks() && !chunk.finished && !chunk.opaque {
                return Ok(None);
            }
            self.sent.record_chunk(&chunk);
            chunk.rewrite(&data, &[], self.sent.id.as_deref())
        };
        Ok(Some(rewritten.map_or_else(|| event.clone(), |data| with_data(text, &data))))
    }

    /// The part of the chunk that the client has not; `None` when there is none.
    fn pass_over(&mut self, chunk: &Chunk, data: &str) -> Result<Option<Option<String>>, Differs> {
        if chunk.opaque {
            return Err(Differs);
        }
        let mut texts = Vec::with_capacity(chunk.pieces.len());
        let mut more = false;
        for piece in &chunk.pieces {
            if !self.passing {
                self.sent.add(piece.channel, &piece.text);
                more |= !piece.text.is_empty();
                texts.push(None);
                continue;
            }
            let rest = self.seen.fill(piece, self.sent.transcript.length).ok_or(Differs)?;
            if self.seen.length == self.sent.transcript.length {
                if !self.seen.is(&self.sent.transcript) {
                    return Err(Differs);
                }
                self.passing = false;
                self.sent.add(piece.channel, rest);
                more |= !rest.is_empty();
            }
            texts.push(Some(rest));
        }
        if self.passing && chunk.finished {
            return Err(Differs);
        }
        if self.passing || !(more || chunk.finished) {
            return Ok(None);
        }
        self.sent.finished |= chunk.finished;
        Ok(Some(chunk.rewrite(data, &texts, self.sent.id.as_deref())))
    }
}

/// It is another answer.
struct Differs;

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
