//! Checks, while a plain JSON response passes, that it is one complete object, and reads its usage and error.

// Only the client reads plain answers.
#![cfg_attr(not(any(test, fuzzing, feature = "client")), allow(dead_code))]

use super::{
    malformed::Malformed,
    shape::{Shape, ShapeReader, WithShape},
    tokenizer::{Tokenizer, is_space},
};
use crate::sse::scan::Facts;
use crate::sse::{ErrorEvent, Usage};

/// The facts of a plain response besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlainFacts {
    /// The member `usage`, in the shape of any of the protocols.
    pub(crate) usage: Option<Usage>,
    /// The member `error`, unless it is null.
    pub(crate) error: Option<ErrorEvent>,
    /// The members at the top.
    pub(crate) shape: Shape,
}

/// The body is not one complete JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnObject;

/// Checks a body that comes in parts; holds a few KiB at most, whatever the body's length, and next
/// to nothing when the first part is the whole of it, as it mostly is.
pub(crate) struct ObjectCheck(State);

enum State {
    Begin,
    Open(Box<Reading>),
    Whole(Option<Usage>, Option<Box<ErrorEvent>>, Shape),
    Spoiled,
}

struct Reading {
    tokenizer: Tokenizer,
    facts: Facts,
    shape: ShapeReader,
}

impl ObjectCheck {
    pub(crate) const fn new() -> Self {
        Self(State::Begin)
    }

    /// Reads the next part. An error stays an error, and [`finish`](Self::finish) returns it again.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), NotAnObject> {
        match &mut self.0 {
            State::Begin => {
                let mut reading =
                    Reading { tokenizer: Tokenizer::new(), facts: Facts::plain(), shape: ShapeReader::default() };
                let read = reading.push(bytes);
                self.0 = if reading.tokenizer.is_whole() {
                    let error = reading.facts.take_top_error().map(Box::new);
                    State::Whole(reading.facts.counts.usage(), error, reading.shape.shape)
                } else {
                    State::Open(Box::new(reading))
                };
                read
            }
            State::Open(reading) => reading.push(bytes),
            State::Whole(..) if is_space(bytes) => Ok(()),
            State::Whole(..) | State::Spoiled => {
                self.0 = State::Spoiled;
                Err(NotAnObject)
            }
        }
    }

    /// The object is complete (what follows may still spoil it).
    pub(crate) fn is_whole(&self) -> bool {
        match &self.0 {
            State::Begin | State::Spoiled => false,
            State::Open(reading) => reading.tokenizer.is_whole(),
            State::Whole(..) => true,
        }
    }

    /// What was said so far of an error, for a body that need not be complete.
    pub(crate) fn take_error(&mut self) -> Option<ErrorEvent> {
        match &mut self.0 {
            State::Begin | State::Spoiled => None,
            State::Open(reading) => reading.facts.take_top_error(),
            State::Whole(_, error, _) => error.take().map(|error| *error),
        }
    }

    /// The body has ended.
    pub(crate) fn finish(mut self) -> Result<PlainFacts, NotAnObject> {
        let error = self.take_error();
        match self.0 {
            State::Open(reading) if reading.tokenizer.is_whole() => {
                Ok(PlainFacts { usage: reading.facts.counts.usage(), error, shape: reading.shape.shape })
            }
            State::Whole(usage, _, shape) => Ok(PlainFacts { usage, error, shape }),
            State::Begin | State::Open(_) | State::Spoiled => Err(NotAnObject),
        }
    }
}

impl Reading {
    fn push(&mut self, bytes: &[u8]) -> Result<(), NotAnObject> {
        let mut visitor = WithShape { shape: &mut self.shape, other: &mut self.facts };
        self.tokenizer.push(bytes, &mut visitor).map_err(|Malformed| NotAnObject)
    }
}
