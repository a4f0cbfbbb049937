//! Filters event streams of models: passes whole events byte for byte, and knows whether a stream is complete.
//!
//! [`StreamFilter`] stands between an upstream's frames and the client. It is pure: no clock, no I/O, and
//! its memory stays near 32 KiB whatever comes.
//!
//! ```
//! use berry_tower::sse::{Grammar, StreamFault, StreamFilter};
//! use bytes::Bytes;
//!
//! let mut sent = Vec::new();
//! let mut client = |bytes: Bytes| sent.extend_from_slice(&bytes);
//! let mut filter = StreamFilter::new(Grammar::Chat, false);
//! let hello = Bytes::from("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n");
//! assert_eq!(filter.push(hello, &mut client), Ok(()));
//! assert!(filter.output_seen());
//!
//! // `[DONE]` without a `finish_reason` is no end, and the client does not see it.
//! let done = Bytes::from("data: [DONE]\n\n");
//! assert_eq!(filter.push(done, &mut client), Err(StreamFault::Interrupted));
//! assert!(sent.ends_with(b"\"Hello\"}}]}\n\n"));
//! ```

mod counts;
mod event;
mod event_type;
mod filter;
mod grammar;
mod place;
pub(crate) mod scan;
mod split;
#[cfg(test)]
pub(crate) mod tests;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

use std::fmt;

pub use crate::progress::{Grammar, Usage};
pub use filter::StreamFilter;

/// An error that an upstream reported in a stream or with a 2xx status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorEvent {
    /// The upstream's message, at most about 2 KiB.
    pub message: Option<String>,
    /// The member `type`.
    pub kind: Option<String>,
    /// The member `code`; a number is given in digits.
    pub code: Option<String>,
}

/// The reason why a stream is not a complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// The upstream sent an error event, which is not passed on.
    Error(ErrorEvent),
    /// The stream ended or broke off before the response was complete.
    Interrupted,
    /// The stream ended cleanly without output.
    NoOutput,
    /// The body is no event stream, but HTML for instance, or JSON, whose `error` is given if it has one.
    NotEvents(Option<ErrorEvent>),
}

impl fmt::Display for StreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) | Self::NotEvents(Some(error)) => {
                let message = error.message.as_deref().unwrap_or("no message");
                write!(f, "the upstream sent an error instead of an answer: {message}")
            }
            Self::Interrupted => f.write_str("the stream ended before the answer was complete"),
            Self::NoOutput => f.write_str("the stream ended without any output"),
            Self::NotEvents(None) => f.write_str("the body is no event stream"),
        }
    }
}

impl std::error::Error for StreamFault {}
