//! The events of a stream.

use serde::{Deserialize, Serialize};

use super::{Block, Other, Response, StopReason, Usage, response::stop_reason};
use crate::dialect::{lenient, value::Value};

/// An event of a stream.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The first event.
    MessageStart {
        /// The message, without content yet.
        message: Response,
    },
    /// A content block begins.
    ContentBlockStart {
        /// Zero-based index.
        #[serde(default, deserialize_with = "lenient::position")]
        index: u32,
        /// The block, mostly empty.
        content_block: Block,
    },
    /// A content block continues.
    ContentBlockDelta {
        /// Zero-based index of the block.
        #[serde(default, deserialize_with = "lenient::position")]
        index: u32,
        /// The new piece.
        delta: Delta,
    },
    /// A content block ends.
    ContentBlockStop {
        /// Zero-based index of the block.
        #[serde(default, deserialize_with = "lenient::position")]
        index: u32,
    },
    /// Facts about the whole response, at its end.
    MessageDelta {
        /// The reason why generation stopped.
        #[serde(default, deserialize_with = "lenient::or_null")]
        delta: MessageDelta,
        /// The token counts of the whole response so far.
        #[serde(default, deserialize_with = "lenient::or_default")]
        usage: Usage,
    },
    /// The last event.
    MessageStop,
    /// An event without content that keeps the connection alive.
    Ping,
    /// An error that ends the stream.
    Error {
        /// The error.
        #[serde(default, deserialize_with = "lenient::or_default")]
        error: EventError,
    },
    /// An unrecognised event.
    #[serde(untagged)]
    Unknown(Value),
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
            Self::Unknown(_) => "unknown",
        }
    }
}

/// A piece of a content block.
#[expect(clippy::enum_variant_names, reason = "the names of the wire format")]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Delta {
    /// A piece of a text.
    TextDelta {
        /// The piece.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        text: String,
    },
    /// A piece of a tool call's input.
    InputJsonDelta {
        /// A piece of a JSON text.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        partial_json: String,
    },
    /// A piece of the reasoning.
    ThinkingDelta {
        /// The piece.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        thinking: String,
    },
    /// The signature of the reasoning.
    SignatureDelta {
        /// The piece.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        signature: String,
    },
    /// An unrecognised piece.
    #[serde(untagged)]
    Unknown(Value),
}

/// Facts about the whole response.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct MessageDelta {
    /// The reason why generation stopped.
    #[serde(default, deserialize_with = "stop_reason")]
    pub(crate) stop_reason: Option<StopReason>,
    /// The stop sequence that the model wrote.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) stop_sequence: Option<String>,
    /// Unrecognised members.
    #[serde(flatten)]
    pub(crate) other: Other,
}

/// An error in Anthropic's format.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct EventError {
    /// `overloaded_error`, `api_error`, …
    #[serde(default, rename = "type", deserialize_with = "lenient::or_default")]
    pub(crate) kind: String,
    /// A description of the error.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) message: String,
}
