//! What a client has of a stream, and a second stream that continues it, in the grammar of the endpoint.

use bytes::Bytes;

use super::{
    replay::{DeliveredTranscript, Replay, Step},
    responses::{DeliveredResponse, ResponseReplay},
};
use crate::{body::ByteLease, progress::Grammar};

/// What a client has of a stream.
#[derive(Debug)]
pub(super) enum Delivered {
    /// Chunks of chat or text completions.
    Chunks(DeliveredTranscript),
    Response(Box<DeliveredResponse>),
}

impl Default for Delivered {
    fn default() -> Self {
        Self::Chunks(DeliveredTranscript::default())
    }
}

impl Delivered {
    /// Nothing yet. The text itself is kept if `keep_text` is set; what is kept counts against `lease`.
    pub(super) fn new(grammar: Grammar, keep_text: bool, lease: Option<ByteLease>) -> Self {
        match grammar {
            Grammar::Responses => Self::Response(Box::new(DeliveredResponse::new(keep_text, lease))),
            _ => Self::Chunks(DeliveredTranscript::new(keep_text, lease)),
        }
    }

    /// Records an event that the client gets.
    pub(super) fn record(&mut self, event: &[u8]) {
        match self {
            Self::Chunks(delivered) => delivered.record(event),
            Self::Response(delivered) => delivered.record(event),
        }
    }

    /// Records that the stream cannot be resumed.
    pub(super) fn give_up(&mut self) {
        match self {
            Self::Chunks(delivered) => delivered.give_up(),
            Self::Response(delivered) => delivered.give_up(),
        }
    }

    /// Whether another stream can be compared with it.
    pub(super) fn is_resumable(&self) -> bool {
        match self {
            Self::Chunks(delivered) => delivered.is_resumable(),
            Self::Response(delivered) => delivered.is_resumable(),
        }
    }

    /// The text so far, if it may serve as an assistant prefix.
    pub(super) fn prefix(&self) -> Option<&str> {
        match self {
            Self::Chunks(delivered) => delivered.prefix(),
            Self::Response(delivered) => delivered.prefix(),
        }
    }

    /// A second stream that starts from the beginning.
    pub(super) fn repeated(self) -> Later {
        match self {
            Self::Chunks(delivered) => Later::Chunks(Box::new(Replay::from_start(delivered))),
            Self::Response(delivered) => Later::Response(Box::new(ResponseReplay::from_start(*delivered))),
        }
    }

    /// A second stream that was asked to continue from the prefix.
    pub(super) fn continued(self) -> Later {
        match self {
            Self::Chunks(delivered) => Later::Chunks(Box::new(Replay::continuing(delivered))),
            Self::Response(delivered) => Later::Response(Box::new(ResponseReplay::continuing(*delivered))),
        }
    }
}

/// A second stream, compared with what the client has of the first.
#[derive(Debug)]
pub(super) enum Later {
    Chunks(Box<Replay>),
    Response(Box<ResponseReplay>),
}

impl Later {
    /// Reads the next event.
    pub(super) fn event(&mut self, event: &Bytes) -> Step {
        match self {
            Self::Chunks(replay) => replay.event(event),
            Self::Response(replay) => replay.event(event),
        }
    }

    /// Whether the client has got a part of the stream.
    pub(super) const fn has_output(&self) -> bool {
        match self {
            Self::Chunks(replay) => replay.has_output(),
            Self::Response(replay) => replay.has_output(),
        }
    }

    /// Whether the client has got a whole response.
    pub(super) const fn is_over(&self) -> bool {
        match self {
            Self::Chunks(replay) => replay.is_over(),
            Self::Response(replay) => replay.is_over(),
        }
    }

    /// Returns what the client has by now.
    pub(super) fn into_delivered(self) -> Delivered {
        match self {
            Self::Chunks(replay) => Delivered::Chunks(replay.into_delivered()),
            Self::Response(replay) => Delivered::Response(Box::new(replay.into_delivered())),
        }
    }
}
