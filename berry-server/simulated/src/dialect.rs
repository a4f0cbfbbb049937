//! The wire formats of simulated providers. Each is implemented in a sibling module.

use super::azure::Azure;
use super::body::{Piece, Role};
use super::claude::Claude;
use super::fault::{Behavior, Fault};
use super::gemini::Gemini;
use super::layout::ValidResponse;
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

/// The kind of a model request.
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
    /// The count of a prompt's tokens, in each dialect's own form.
    CountTokens,
}

/// The information in the head of a model request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) kind: Kind,
    /// The model, if the address names it.
    pub(super) model: Option<String>,
    /// Whether a stream is requested, if the address says so.
    pub(super) stream: Option<bool>,
    /// The beta features that the head asks for.
    pub(super) betas: Option<String>,
}

impl From<Kind> for Target {
    fn from(kind: Kind) -> Self {
        Self { kind, model: None, stream: None, betas: None }
    }
}

/// The route of a request.
#[derive(Debug)]
pub(super) enum Route {
    /// The list of models.
    List,
    /// One model of the list.
    One(String),
    /// A model request.
    Call(Target),
}

impl Kind {
    /// Whether requests are multipart forms.
    pub(super) const fn takes_form(self) -> bool {
        matches!(self, Self::ImageEdits | Self::ImageVariations | Self::Transcriptions | Self::Translations)
    }
}

/// A parsed model request.
#[derive(Debug)]
pub(super) struct ModelRequest {
    pub(super) kind: Kind,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) body: Value,
    /// The beta features that it asks for.
    pub(super) betas: Option<String>,
}

impl ModelRequest {
    pub(super) fn number(&self, field: &str) -> Option<usize> {
        usize::try_from(self.body.get(field)?.as_u64()?).ok()
    }

    pub(super) fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(Value::as_str).unwrap_or("")
    }
}

/// The effect of a behaviour on the content of a response, as opposed to its delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) stream: bool,
    pub(super) tokens: Option<usize>,
    pub(super) huge: Option<usize>,
    pub(super) tools: usize,
    pub(super) talks: bool,
    pub(super) reasoning: bool,
    pub(super) no_usage: bool,
    /// The tokens of the prompt that came from a cache.
    pub(super) cached: usize,
    pub(super) refuses: bool,
    pub(super) filtered: bool,
    /// Whether the prompt is refused by policy in a format where that is a response rather than an error.
    pub(super) blocked: bool,
}

impl Shape {
    pub(super) fn of(ask: &ModelRequest, behavior: &Behavior) -> Self {
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

/// A wire format: the rules for requests and the bytes of responses.
pub(super) trait Wire: std::fmt::Debug + Sync {
    /// Returns the path at the end of the provider's base URLs.
    fn base(&self) -> &'static str;

    /// Returns the header with the response's id.
    fn id_header(&self) -> HeaderName {
        HeaderName::from_static("x-request-id")
    }

    /// Returns further headers that such providers send.
    fn headers(&self) -> HeaderMap;

    /// Checks the key and the required headers.
    fn admit(&self, head: &Parts, key: &str) -> Result<(), Refusal>;

    fn route(&self, head: &Parts) -> Result<Route, Refusal>;

    /// Parses a request.
    fn read(&self, place: &Target, body: &[u8]) -> Result<ModelRequest, Refusal>;

    /// Checks a request against the rules that the provider has published.
    fn check(&self, ask: &ModelRequest) -> Result<(), Refusal>;

    /// Checks what a request holds of the account's earlier responses.
    fn check_account(&self, ask: &ModelRequest, account: u64) -> Result<(), Refusal> {
        let _ = (ask, account);
        Ok(())
    }

    /// Returns the format's name for one of OpenAI's fields, as a dotted path.
    fn field(&self, name: &'static str) -> &'static str {
        name
    }

    /// Returns the list of models.
    fn list(&self, voice: &Voice, models: &[String]) -> String;

    /// Returns one model.
    fn one(&self, voice: &Voice, model: &str) -> String;

    /// Returns the response without faults, which is the same for the same request. `seed` distinguishes its ids.
    fn answer(&self, ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse;

    /// Whether a prompt that breaks the policy gets a 200 that says so.
    fn blocks_in_answers(&self) -> bool {
        false
    }

    /// Returns the status and the body of an error.
    fn refusal(&self, refusal: &Refusal) -> (u16, Bytes);

    /// Returns an error inside a stream.
    fn error_event(&self, kind: Kind, refusal: &Refusal) -> Bytes;

    /// Returns an event whose data is not JSON.
    fn malformed_event(&self, kind: Kind) -> Bytes;

    /// Returns a valid event of an unknown type.
    fn unknown_event(&self, kind: Kind) -> Bytes;

    /// Returns a keep-alive.
    fn ping(&self) -> Bytes {
        Bytes::from_static(b": ping\n\n")
    }
}

impl Dialect {
    /// Returns the `backend_type` of such providers in a configuration of the gateway.
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

/// Returns an event that has only data.
pub(super) fn event(role: Role, data: impl std::fmt::Display) -> Piece {
    Piece::new(role, format!("data: {data}\n\n"))
}

/// Returns a string as JSON, with its quotes.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Whether exactly one header of this name is there, with this value.
pub(super) fn brings(headers: &HeaderMap, name: &str, value: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    values.next().is_some_and(|given| given.as_bytes() == value.as_bytes()) && values.next().is_none()
}

/// Builds headers from valid names and values.
pub(super) fn header_map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    let header = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), http::HeaderValue::from_static(value))
    };
    headers.iter().map(header).collect()
}
