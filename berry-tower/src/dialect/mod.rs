//! Translation between wire formats: a caller speaks one, a backend may speak another.
//!
//! There are two formats in front ([chat](mod@chat), OpenAI's, and [messages], Anthropic's) and three
//! behind (OpenAI's, Anthropic's, and [Google's](gemini)). All meet in one: the types of [`chat`] are the
//! hub. A request is read into [`chat::Request`] and written for the backend; its answer is read by a
//! [`Read`] into the hub's types and written for the caller by a [`Write`]. Where both ends speak the
//! same format nothing of this runs.
//!
//! All of it is pure: no clock, no randomness, no I/O. What a format cannot say is never dropped
//! silently: it is [`Inexpressible`], which names the field – but for what is a mere hint
//! ([`chat::HINTS`]).

pub mod chat;
pub mod claude;
mod conversation;
mod data_url;
pub mod gemini;
mod lenient;
pub mod messages;
mod unknown;

use std::fmt;

use chat::{Answer, Chunk};
pub use conversation::{Conversation, Target};

/// The wire format that a provider speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's, and that of all who imitate it.
    #[default]
    OpenAi,
    /// OpenAI's, with Azure's addresses and key header.
    Azure,
    /// Anthropic's Messages.
    Claude,
    /// Google's `generateContent`.
    Gemini,
}

/// Which of the two ways to shape chance a backend is told of, where a request has both: newer
/// models of Anthropic's refuse them together, or either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampling {
    /// `temperature` and `top_p`, as the request has them.
    #[default]
    All,
    /// `temperature` alone, where the request has it.
    Temperature,
    /// Neither.
    None,
}

/// A request that a backend's format has no words for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inexpressible {
    /// The field, as a path into the caller's request: `messages[2].content[0]`.
    pub param: String,
    /// Why, in words for the caller.
    pub why: String,
}

impl Inexpressible {
    /// A field that cannot be expressed, and why.
    pub fn new(param: impl Into<String>, why: impl Into<String>) -> Self {
        Self { param: param.into(), why: why.into() }
    }
}

impl fmt::Display for Inexpressible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.param, self.why)
    }
}

impl std::error::Error for Inexpressible {}

/// Something from a backend that is not of its own format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// An error that a backend tells inside a 2xx answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireError {
    /// The backend's name for the kind of error: `overloaded_error`, `UNAVAILABLE`.
    pub kind: Option<String>,
    /// Its code, a number spelled out.
    pub code: Option<String>,
    /// Its words.
    pub message: String,
}

/// What an event of a stream means.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A piece of the answer.
    Chunk(Chunk),
    /// The backend gives up.
    Error(WireError),
    /// The stream is over by the backend's own grammar; comes once, last, and never for a stream
    /// that was cut.
    Done,
}

/// Reads what one backend answers to one request; a state machine for streams.
pub trait Read: Send + Sync + fmt::Debug {
    /// A whole plain answer.
    ///
    /// # Errors
    /// It is no answer of this format.
    fn answer(&mut self, body: &[u8]) -> Result<Answer, Malformed>;

    /// One event of a stream: its name (empty where it has none) and its data. One that is JSON and still
    /// not of this format may have held a piece of the answer: it is an [`Item::Error`], and the stream is
    /// over. After that, or after [`Item::Done`], nothing more is read.
    ///
    /// # Errors
    /// The event is no JSON; it counts as not sent, and the stream goes on.
    fn event(&mut self, name: &str, data: &str, out: &mut Vec<Item>) -> Result<(), Malformed>;

    /// The stream's bytes have ended, or broken off. What makes it whole all the same is given,
    /// [`Item::Done`] with it; nothing if the answer is not whole.
    fn end(&mut self, out: &mut Vec<Item>);
}

/// Writes one answer in the caller's format.
pub trait Write: Send + Sync + fmt::Debug {
    /// A whole plain answer, as JSON.
    fn answer(&mut self, answer: Answer) -> Vec<u8>;

    /// One item of a stream, as the events that it comes to.
    fn item(&mut self, item: Item, out: &mut Vec<u8>);
}
