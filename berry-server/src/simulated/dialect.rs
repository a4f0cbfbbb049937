//! The wire formats that a simulated provider can speak; each one is a sibling file of this.

use super::body::{Piece, Role};
use super::fault::{Behavior, Fault};
use super::layout::Good;
use super::openai;
use super::refusal::Refusal;
use super::words::Voice;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

/// A provider's wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI's: chat, completions, responses, embeddings, moderations, images and speech.
    #[default]
    OpenAi,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Chat,
    Completions,
    Responses,
    Embeddings,
    Moderations,
    Images,
    Speech,
}

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Route {
    /// The list of models.
    List,
    /// One model of the list.
    One(String),
    /// An answer.
    Call(Kind),
}

/// A request for an answer, read.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) kind: Kind,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) body: Value,
}

impl Ask {
    pub(super) fn number(&self, field: &str) -> Option<usize> {
        usize::try_from(self.body.get(field)?.as_u64()?).ok()
    }

    pub(super) fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(Value::as_str).unwrap_or("")
    }
}

/// What a behaviour changes in the content of an answer, as against its delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) stream: bool,
    pub(super) tokens: Option<usize>,
    pub(super) huge: Option<usize>,
    pub(super) tools: bool,
    pub(super) reasoning: bool,
    pub(super) no_usage: bool,
}

impl Shape {
    pub(super) fn of(ask: &Ask, behavior: &Behavior) -> Self {
        Self {
            stream: ask.stream != behavior.has(&Fault::Swap),
            tokens: behavior.tokens,
            huge: behavior.find(|fault| match fault {
                Fault::Huge(bytes) => Some(*bytes),
                _ => None,
            }),
            tools: behavior.tools,
            reasoning: behavior.reasoning,
            no_usage: behavior.has(&Fault::NoUsage),
        }
    }
}

impl Dialect {
    /// Whether the request brings the provider's key.
    pub(super) fn authorized(self, headers: &HeaderMap, key: &str) -> bool {
        match self {
            Self::OpenAi => openai::authorized(headers, key),
        }
    }

    pub(super) fn route(self, method: &Method, path: &str) -> Result<Route, Refusal> {
        match self {
            Self::OpenAi => openai::route(method, path),
        }
    }

    pub(super) fn read(self, kind: Kind, body: &[u8]) -> Result<Ask, Refusal> {
        match self {
            Self::OpenAi => openai::read(kind, body),
        }
    }

    /// The models' names, as a list.
    pub(super) fn list(self, voice: &Voice, models: &[String]) -> String {
        match self {
            Self::OpenAi => openai::list(voice, models),
        }
    }

    /// One model.
    pub(super) fn one(self, voice: &Voice, model: &str) -> String {
        match self {
            Self::OpenAi => openai::one(voice, model),
        }
    }

    /// A good answer; the same for the same request. `seed` tells requests apart in its ids.
    pub(super) fn answer(self, ask: &Ask, shape: Shape, voice: &Voice, seed: u64) -> Good {
        match self {
            Self::OpenAi => openai::answer(ask, shape, voice, seed),
        }
    }

    /// The body of an error.
    pub(super) fn refusal(self, refusal: &Refusal) -> Bytes {
        match self {
            Self::OpenAi => openai::refusal(refusal).into(),
        }
    }

    /// An error inside a stream.
    pub(super) fn error_event(self, kind: Kind, refusal: &Refusal) -> Bytes {
        match self {
            Self::OpenAi => openai::error_event(kind, refusal),
        }
    }

    /// An event whose data is no JSON.
    pub(super) fn malformed_event(self, kind: Kind) -> Bytes {
        match self {
            Self::OpenAi => openai::malformed_event(kind),
        }
    }
}

/// An event with nothing but data.
pub(super) fn event(role: Role, data: impl std::fmt::Display) -> Piece {
    Piece::new(role, format!("data: {data}\n\n"))
}

/// A string as JSON, quotes included.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
