//! Tells, while a plain JSON answer passes, whether it is one complete object, and what it says of usage and errors.

// Only the client reads plain answers.
#![cfg_attr(not(any(test, fuzzing, feature = "client")), allow(dead_code))]

use super::{Malformed, Tokenizer};
use crate::sse::scan::Facts;
use crate::sse::{ErrorEvent, Usage};

/// What a plain answer told besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlainFacts {
    /// The member `usage`, in the shape of any of the protocols.
    pub(crate) usage: Option<Usage>,
    /// The member `error`, unless it is null.
    pub(crate) error: Option<ErrorEvent>,
}

/// The body is not one complete JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnObject;

/// Checks a body that comes in parts; holds a few KiB at most, whatever the body's length.
pub(crate) struct ObjectCheck {
    tokenizer: Tokenizer,
    facts: Facts,
}

impl ObjectCheck {
    pub(crate) fn new() -> Self {
        Self { tokenizer: Tokenizer::new(), facts: Facts::new() }
    }

    /// Reads the next part. An error stays an error, and [`finish`](Self::finish) tells it again.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), NotAnObject> {
        self.tokenizer.push(bytes, &mut self.facts).map_err(|Malformed| NotAnObject)
    }

    /// The object is complete (what follows may still spoil it).
    pub(crate) fn is_whole(&self) -> bool {
        self.tokenizer.is_whole()
    }

    /// What was said so far of an error, for a body that need not be complete.
    pub(crate) fn take_error(&mut self) -> Option<ErrorEvent> {
        self.facts.take_top_error()
    }

    /// The body has ended.
    pub(crate) fn finish(mut self) -> Result<PlainFacts, NotAnObject> {
        if !self.tokenizer.is_whole() {
            return Err(NotAnObject);
        }
        Ok(PlainFacts { usage: self.facts.counts.usage(), error: self.take_error() })
    }
}
