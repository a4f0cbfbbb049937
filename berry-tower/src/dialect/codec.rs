//! What decoders and encoders of responses have in common.

use std::fmt;

use super::hub::{Chunk, Response, Thought, Usage};

/// A body or an event that is not of the backend's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub(crate) &'static str);

impl Malformed {
    /// Describes what the backend sent, as the object of a sentence: "a body that is no message".
    #[must_use]
    pub const fn description(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the backend sent {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// An error that a backend reports inside a 2xx response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WireError {
    /// The backend's name for the kind of error: `overloaded_error`, `UNAVAILABLE`.
    pub(crate) kind: Option<String>,
    /// The backend's code; a number is given in digits.
    pub(crate) code: Option<String>,
    /// The backend's message.
    pub(crate) message: String,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// An event of the format says so.
    Marked,
    /// The body has ended cleanly, as far as HTTP can tell.
    Clean,
    /// The body has broken off, or is silent.
    Broken,
}

/// The meaning of one event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StreamItem {
    /// A piece of the response.
    Chunk(Chunk),
    /// A signed block of reasoning that has just ended, for callers who get it there. All of them come again in the
    /// last chunk, for callers who join lists.
    Thought(Thought),
    /// The backend failed.
    Error(WireError),
    /// The stream is complete by the backend's own grammar. It comes once, last, and never for a stream
    /// that was cut.
    Done,
}

/// Decodes what a backend responds to one request; a state machine for streams.
pub(crate) trait DecodeResponse: Send + Sync + fmt::Debug {
    /// Decodes a whole plain response.
    ///
    /// # Errors
    /// The body is no response of this format.
    fn decode_response(&mut self, body: &[u8]) -> Result<Response, Malformed>;

    /// Decodes one event of a stream, given by its name (empty where it has none) and its data. An event that
    /// is JSON but not of this format may have held a piece of the response: it becomes a
    /// [`StreamItem::Error`], and the stream is over. After that, and after [`StreamItem::Done`], events are
    /// ignored.
    ///
    /// # Errors
    /// The data is not JSON; the event counts as not sent, and the stream goes on.
    fn decode_event(&mut self, name: &str, data: &str, out: &mut Vec<StreamItem>) -> Result<(), Malformed>;

    /// Ends the stream. Emits what makes the response whole, with [`StreamItem::Done`] last; emits nothing if
    /// the response is not whole.
    fn decode_end(&mut self, end: StreamEnd, out: &mut Vec<StreamItem>);

    /// Returns the tokens that the stream has reported so far; the items may have them only at the end.
    fn usage(&self) -> Option<Usage> {
        None
    }
}

/// Encodes one response in the caller's format.
pub(crate) trait EncodeResponse: Send + Sync + fmt::Debug {
    /// Encodes a whole plain response as JSON.
    fn encode_response(&mut self, response: Response) -> Vec<u8>;

    /// Tells the time in seconds since 1970, for formats whose responses have the time of their end.
    fn set_time(&mut self, now: u64) {
        let _ = now;
    }

    /// Encodes one item of a stream as the events that express it.
    fn encode_item(&mut self, item: StreamItem, out: &mut Vec<u8>);
}
