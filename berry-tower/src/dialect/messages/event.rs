//! A stream's events.

use serde::{Deserialize, Serialize};

use super::{Block, Other, Response, StopReason, Usage, response::stop_reason};
use crate::dialect::lenient;

/// An event of a stream.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The first.
    MessageStart {
        /// The answer, with nothing in it yet.
        message: Response,
    },
    /// A block begins.
    ContentBlockStart {
        /// Which, from 0.
        #[serde(default, deserialize_with = "lenient::position")]
        index: u32,
        /// The block, with nothing in it yet.
        content_block: Block,
    },
    /// A block goes on.
    ContentBlockDelta {
        /// Which.
        #[serde(default, deserialize_with = "lenient::position")]
        index: u32,
        /// What is new.
        delta: Delta,
    },
    /// A block is over.
    ContentBlockStop {
        /// Which.
        #[serde(default, deserialize_with = "lenient::position")]
        index: u32,
    },
    /// What is to be told of the whole answer, at its end.
    MessageDelta {
        /// Why it ended.
        #[serde(default, deserialize_with = "lenient::or_null")]
        delta: MessageDelta,
        /// The tokens of the whole answer so far.
        #[serde(default, deserialize_with = "lenient::or_default")]
        usage: Usage,
    },
    /// The last.
    MessageStop,
    /// Nothing new.
    Ping,
    /// Anthropic gives up.
    Error {
        /// Why.
        #[serde(default, deserialize_with = "lenient::or_default")]
        error: EventError,
    },
    /// An event that is not in the types.
    #[serde(other)]
    Unknown,
}

impl Event {
    /// The event's name, as it stands before its data.
    #[must_use]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
            Self::Ping => "ping",
            Self::Error { .. } => "error",
            Self::Unknown => "unknown",
        }
    }
}

/// What is new in a block.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Delta {
    /// More of a text.
    TextDelta {
        /// It.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        text: String,
    },
    /// More of a call's input.
    InputJsonDelta {
        /// A piece of a JSON text.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        partial_json: String,
    },
    /// More of the thoughts.
    ThinkingDelta {
        /// It.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        thinking: String,
    },
    /// The proof of the thoughts.
    SignatureDelta {
        /// It.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        signature: String,
    },
    /// Something that is not in the types.
    #[serde(other)]
    Unknown,
}

/// What is to be told of a whole answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct MessageDelta {
    /// Why it ended.
    #[serde(default, deserialize_with = "stop_reason")]
    pub(crate) stop_reason: Option<StopReason>,
    /// At which text.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) stop_sequence: Option<String>,
    /// Members that are not in the types.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// An error in Anthropic's words.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct EventError {
    /// `overloaded_error`, `api_error`, …
    #[serde(default, rename = "type", deserialize_with = "lenient::or_default")]
    pub(crate) kind: String,
    /// What happened.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) message: String,
}
