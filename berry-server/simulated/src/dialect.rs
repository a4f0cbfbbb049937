//! The wire formats that a simulated provider can speak; each one is a sibling file of this.

use super::azure::Azure;
use super::body::{Piece, Role};
use super::claude::Claude;
use super::fault::{Behavior, Fault};
use super::gemini::Gemini;
use super::layout::Good;
use super::openai::OpenAi;
use super::refusal::Refusal;
use super::words::Voice;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use serde_json::Value;

/// A provider's wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI's: chat, completions, responses, embeddings, moderations, images and speech.
    #[default]
    OpenAi,
    /// OpenAI's at Azure's addresses, with Azure's key header, versions and errors.
    Azure,
    /// Anthropic's Messages.
    Claude,
    /// Google's `generateContent` and `streamGenerateContent`.
    Gemini,
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
    ImageEdits,
    ImageVariations,
    Speech,
    Transcriptions,
    Translations,
    Rerank,
    /// Anthropic's chat.
    Messages,
    /// Google's chat.
    Generate,
}

/// What the address of a request for an answer says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) kind: Kind,
    /// The model, where the address names it.
    pub(super) model: Option<String>,
    /// Whether a stream is wanted, where the address says so.
    pub(super) stream: Option<bool>,
}

impl From<Kind> for Place {
    fn from(kind: Kind) -> Self {
        Self { kind, model: None, stream: None }
    }
}

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Route {
    /// The list of models.
    List,
    /// One model of the list.
    One(String),
    /// An answer.
    Call(Place),
}

impl Kind {
    /// Whether requests are multipart forms.
    pub(super) const fn takes_form(self) -> bool {
        matches!(self, Self::ImageEdits | Self::ImageVariations | Self::Transcriptions | Self::Translations)
    }
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
    pub(super) tools: usize,
    pub(super) talks: bool,
    pub(super) reasoning: bool,
    pub(super) no_usage: bool,
    /// The prompt's tokens that came from a cache.
    pub(super) cached: usize,
    pub(super) refuses: bool,
    pub(super) filtered: bool,
    /// The prompt was refused by policy, where that is an answer of its own kind and no error.
    pub(super) blocked: bool,
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
            talks: behavior.talks,
            reasoning: behavior.reasoning,
            no_usage: behavior.has(&Fault::NoUsage),
            cached: behavior.cached,
            refuses: behavior.has(&Fault::Declined),
            filtered: behavior.has(&Fault::Filtered),
            blocked: behavior.has(&Fault::ContentPolicy),
        }
    }
}

/// A wire format: what may be asked and how, and the bytes of answers.
pub(super) trait Wire: std::fmt::Debug + Sync {
    /// The path that base URLs of such a provider end with.
    fn base(&self) -> &'static str;

    /// The header that names an answer.
    fn id_header(&self) -> HeaderName {
        HeaderName::from_static("x-request-id")
    }

    /// Headers that such providers send along.
    fn headers(&self) -> HeaderMap;

    /// Whether the request brings the key, and whatever else has to stand in its head.
    fn admit(&self, head: &Parts, key: &str) -> Result<(), Refusal>;

    fn route(&self, head: &Parts) -> Result<Route, Refusal>;

    /// Reads a request so far that its model is known.
    fn read(&self, place: &Place, body: &[u8]) -> Result<Ask, Refusal>;

    /// Checks a request against the rules that the provider has published.
    fn check(&self, ask: &Ask) -> Result<(), Refusal>;

    /// What the format calls one of OpenAI's fields: a path with dots.
    fn field(&self, name: &'static str) -> &'static str {
        name
    }

    /// The models' names, as a list.
    fn list(&self, voice: &Voice, models: &[String]) -> String;

    /// One model.
    fn one(&self, voice: &Voice, model: &str) -> String;

    /// A good answer; the same for the same request. `seed` tells requests apart in its ids.
    fn answer(&self, ask: &Ask, shape: Shape, voice: &Voice, seed: u64) -> Good;

    /// Whether a prompt that offends is answered by a 200 that says so.
    fn blocks_in_answers(&self) -> bool {
        false
    }

    /// The status and the body of an error.
    fn refusal(&self, refusal: &Refusal) -> (u16, Bytes);

    /// An error inside a stream.
    fn error_event(&self, kind: Kind, refusal: &Refusal) -> Bytes;

    /// An event whose data is no JSON.
    fn malformed_event(&self, kind: Kind) -> Bytes;

    /// A good event of a type that nobody has heard of.
    fn unknown_event(&self, kind: Kind) -> Bytes;

    /// What keeps a silent stream alive.
    fn ping(&self) -> Bytes {
        Bytes::from_static(b": ping\n\n")
    }
}

impl Dialect {
    /// The `backend_type` that a configuration has for such providers.
    #[must_use]
    pub const fn backend_type(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::Claude => "claude",
            Self::Gemini => "gemini",
        }
    }

    pub(super) fn wire(self) -> &'static dyn Wire {
        match self {
            Self::OpenAi => &OpenAi,
            Self::Azure => &Azure,
            Self::Claude => &Claude,
            Self::Gemini => &Gemini,
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

/// Whether exactly one header of this name is there, with this value.
pub(super) fn brings(headers: &HeaderMap, name: &str, value: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    values.next().is_some_and(|given| given.as_bytes() == value.as_bytes()) && values.next().is_none()
}

/// Headers from names and values that are known to fit.
pub(super) fn header_map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    let header = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), http::HeaderValue::from_static(value))
    };
    headers.iter().map(header).collect()
}
