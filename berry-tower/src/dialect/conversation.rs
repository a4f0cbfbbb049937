//! One request of a conversation, translated for the backends that may answer it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::HeaderValue;

use super::{
    codec::{DecodeResponse, EncodeResponse, Malformed, StreamEnd, StreamItem},
    embedded,
    format::caller_format,
    hub,
    responses::envelope::Seal,
    surrogates::{self, SurrogateJoiner},
    target::{Dialect, Target},
    unsupported::UnsupportedField,
    wire_format::{CallerFormat, DecodeOptions, EncodeOptions, EncodedRequest},
};
use crate::{body::ByteLease, endpoint::Endpoint, progress::Usage};

/// A request in a backend's format.
struct Encoded {
    request: Box<dyn EncodedRequest>,
    /// The optional fields that it leaves out, by the caller's names.
    dropped: Arc<[String]>,
}

/// A request of a conversation, which is decoded when a backend of another format may answer it, and encoded
/// once for each format. [`Select`](crate::select) makes it, since it must know which backends can express
/// the request, and leaves it in the request's extensions for the client.
///
/// ```
/// use berry_tower::{dialect::{Conversation, Dialect}, endpoint::Endpoint};
///
/// let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"n":2}"#;
/// let conversation = Conversation::new(Endpoint::ChatCompletions, body.into());
/// assert_eq!(conversation.supports(Dialect::Gemini), Ok(()));
/// assert_eq!(conversation.supports(Dialect::Claude).unwrap_err().param, "n");
/// ```
pub struct Conversation {
    endpoint: Endpoint,
    body: Bytes,
    request: OnceLock<Result<hub::Request, UnsupportedField>>,
    encoded: [OnceLock<Result<Encoded, UnsupportedField>>; Dialect::ALL.len()],
    refuses_optional: bool,
    /// The number of values in the body, as far as it is known.
    nodes: usize,
    /// Whether the body would become a tree that takes too much memory.
    is_oversized: bool,
    /// What seals and opens the reasoning of the model's backends.
    seals: Option<Arc<[Seal]>>,
    /// The memory of the trees, as counted against the budget of the request's body.
    lease: Option<ByteLease>,
    /// The memory of the trees of texts in the body.
    embedded_lease: OnceLock<ByteLease>,
}

/// The memory that a tree takes for each JSON value, in bytes, apart from the texts in it.
const NODE_BYTES: usize = 100;

/// The most JSON values of a body that is translated.
const MOST_NODES: usize = 250_000;

/// The number of JSON values that a body of any length may have.
const FREE_NODES: usize = 40_000;

/// The most bytes that a tree may take for each byte of a body with more values.
const TREE_RATIO: usize = 8;

/// The most objects and arrays around a value of a body that is translated.
const MOST_DEPTH: usize = 100;

/// The optional fields of a request that the backend answered without, by the caller's names; in a response's
/// extensions.
#[derive(Clone, Debug, Default)]
pub struct Dropped(pub(crate) Arc<[String]>);

impl Dropped {
    /// The longest value of a header, in bytes.
    const LONGEST: usize = 1024;

    /// Returns the names of the fields.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Returns the names as the value of a header, as many as fit; `None` where nothing was dropped.
    pub(crate) fn header_value(&self) -> Option<HeaderValue> {
        let mut value = String::new();
        for name in self.0.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic())) {
            if value.len() + name.len() + 2 > Self::LONGEST {
                break;
            }
            if !value.is_empty() {
                value.push_str(", ");
            }
            value.push_str(name);
        }
        if value.is_empty() { None } else { HeaderValue::from_str(&value).ok() }
    }
}

impl fmt::Debug for Conversation {
    // Without the content, which belongs to the caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Conversation {
    /// The request with this body to an endpoint for [conversations](Endpoint::is_chat). The body is not
    /// decoded yet.
    #[must_use]
    pub const fn new(endpoint: Endpoint, body: Bytes) -> Self {
        let encoded = [const { OnceLock::new() }; Dialect::ALL.len()];
        Self {
            endpoint,
            body,
            request: OnceLock::new(),
            encoded,
            refuses_optional: false,
            nodes: 0,
            is_oversized: false,
            seals: None,
            lease: None,
            embedded_lease: OnceLock::new(),
        }
    }

    /// Sets whether optional fields that a format cannot express make the request one that it does not support;
    /// by default they are [dropped](Self::dropped).
    #[must_use]
    pub const fn refuse_optional(mut self, refuses: bool) -> Self {
        self.refuses_optional = refuses;
        self
    }

    /// Tells how many values the body holds, and how deep they are nested, so that one whose tree would take too
    /// much memory is not translated.
    pub(crate) const fn with_shape(mut self, nodes: usize, depth: usize) -> Self {
        self.nodes = nodes;
        self.is_oversized = depth > MOST_DEPTH || nodes > self.most_nodes();
        self
    }

    /// Whether the body would become a tree that takes too much memory, so that it is not translated.
    #[cfg(feature = "gateway")]
    pub(crate) const fn is_oversized(&self) -> bool {
        self.is_oversized
    }

    /// Sets what seals and opens the reasoning of the model's backends. Without it signed reasoning does not come back.
    pub(crate) fn with_seals(mut self, seals: Arc<[Seal]>) -> Self {
        self.seals = Some(seals);
        self
    }

    fn seals(&self) -> &[Seal] {
        self.seals.as_deref().unwrap_or_default()
    }

    /// The most JSON values of this body: most of them in few bytes would multiply the memory that a
    /// caller's bytes take.
    const fn most_nodes(&self) -> usize {
        let by_length = self.body.len().saturating_mul(TREE_RATIO) / NODE_BYTES;
        let most = if by_length < MOST_NODES { by_length } else { MOST_NODES };
        if most > FREE_NODES { most } else { FREE_NODES }
    }

    /// Counts the memory of the trees against the budget that `lease` is on. Returns `None` if the budget
    /// has no room.
    pub(crate) fn with_lease(mut self, nodes: usize, lease: Option<ByteLease>) -> Option<Self> {
        if let Some(mut lease) = lease.filter(|_| !self.is_oversized) {
            if !lease.try_grow(nodes.saturating_mul(NODE_BYTES).saturating_add(self.body.len())) {
                return None;
            }
            self.lease = Some(lease);
        }
        Some(self)
    }

    fn caller(&self) -> Result<&'static dyn CallerFormat, UnsupportedField> {
        caller_format(self.endpoint).ok_or_else(|| UnsupportedField::new("", "this endpoint cannot be translated"))
    }

    /// The request in the hub's types.
    fn request(&self) -> Result<&hub::Request, &UnsupportedField> {
        let decode = || {
            let most = self.most_nodes();
            let oversized = || {
                let reason =
                    format!("a request of this length to be translated holds at most {most} values, {MOST_DEPTH} deep");
                Err(UnsupportedField::new("messages", reason))
            };
            if self.is_oversized {
                return oversized();
            }
            let request = self.caller()?.decode_request(&self.body, self.seals())?;
            let left = most.saturating_sub(self.nodes);
            let embedded = embedded::count_in(&request.messages, left);
            if embedded > left {
                return oversized();
            }
            if let Some(lease) = &self.lease {
                let mut lease = lease.sibling();
                lease.grow(embedded.saturating_mul(NODE_BYTES));
                let _ = self.embedded_lease.set(lease);
            }
            Ok(request)
        };
        self.request.get_or_init(decode).as_ref()
    }

    fn encoded(&self, dialect: Dialect) -> Result<&Encoded, &UnsupportedField> {
        let encode = || {
            let (caller, decoded) = (self.caller()?, self.request().map_err(Clone::clone)?);
            let path = |param: &str| caller.param_path(param, decoded, &self.body);
            let request = self.encode_decoded(dialect, decoded)?;
            let dropped = request.dropped().iter().map(|param| path(param));
            let mut dropped: Vec<_> = decoded.dropped.iter().cloned().chain(dropped).collect();
            dropped.sort_unstable();
            dropped.dedup();
            if let (true, Some(first)) = (self.refuses_optional, dropped.first()) {
                return Err(UnsupportedField::new(
                    first,
                    "Extra inputs are not permitted (the model's backends lack it)",
                ));
            }
            let dropped = dropped.into();
            Ok(Encoded { request, dropped })
        };
        self.encoded[dialect.index()].get_or_init(encode).as_ref()
    }

    fn encode_decoded(
        &self,
        dialect: Dialect,
        decoded: &hub::Request,
    ) -> Result<Box<dyn EncodedRequest>, UnsupportedField> {
        let caller = self.caller()?;
        let path = |field: UnsupportedField| UnsupportedField {
            param: caller.param_path(&field.param, decoded, &self.body),
            ..field
        };
        dialect.format().encode_request(decoded).map_err(path)
    }

    /// Checks whether a backend of this format can be asked.
    ///
    /// # Errors
    /// The field of the request that the format cannot express.
    pub fn supports(&self, dialect: Dialect) -> Result<(), &UnsupportedField> {
        self.encoded(dialect).map(|_| ())
    }

    /// Returns the optional fields of the request that a backend of this format answers without, by the caller's
    /// names; none for a format that cannot express the request at all.
    #[must_use]
    pub fn dropped(&self, dialect: Dialect) -> Arc<[String]> {
        self.encoded(dialect).map_or_else(|_| Arc::default(), |encoded| encoded.dropped.clone())
    }

    /// Whether a backend of this format is known to answer without an optional field of the request: `false`
    /// until somebody has [asked](Self::supports).
    pub(crate) fn is_known_to_drop(&self, dialect: Dialect) -> bool {
        matches!(self.encoded[dialect.index()].get(), Some(Ok(encoded)) if !encoded.dropped.is_empty())
    }

    /// Returns the field that a format cannot express, as far as it is known: `None` until somebody has
    /// [asked](Self::supports), since that costs a translation.
    #[must_use]
    pub fn known_unsupported(&self, dialect: Dialect) -> Option<&UnsupportedField> {
        self.encoded[dialect.index()].get()?.as_ref().err()
    }

    /// Returns the caller's name of a field that a backend of this format has named in a refusal. The messages that it
    /// was sent may be others than the caller's, so that their positions say nothing.
    pub(crate) fn caller_param(&self, dialect: Dialect, param: &str) -> Option<String> {
        let (caller, decoded) = (self.caller().ok()?, self.request().ok()?);
        let (field, rest) = param.split_at(param.find(['.', '[']).unwrap_or(param.len()));
        let param = match (dialect, field) {
            (_, "messages") | (Dialect::Responses, "input") => "messages".to_owned(),
            (Dialect::Responses, "max_output_tokens") => "max_completion_tokens".to_owned(),
            (Dialect::Responses, "reasoning") => "reasoning_effort".to_owned(),
            (Dialect::Responses, "text") => match rest.strip_prefix(".format") {
                Some(rest) => format!("response_format{rest}"),
                None => "verbosity".to_owned(),
            },
            _ => param.to_owned(),
        };
        Some(caller.param_path(&param, decoded, &self.body))
    }

    /// Encodes the body for a backend.
    ///
    /// # Errors
    /// The field of the request that the backend's format cannot express.
    pub fn encode(&self, target: &Target<'_>) -> Result<Bytes, UnsupportedField> {
        let encoded = self.encoded(target.dialect).map_err(Clone::clone)?;
        let foreign = self.request().ok().and_then(|request| request.without_others_reasoning(target));
        match foreign {
            None => Ok(encoded.request.body(target)),
            Some(request) => Ok(self.encode_decoded(target.dialect, &request)?.body(target)),
        }
    }

    /// Returns a translator of the backend's response; `created` is the time in seconds since 1970.
    ///
    /// # Errors
    /// The field of the request that the backend's format cannot express.
    pub fn translator(&self, target: &Target<'_>, created: u64) -> Result<ResponseTranslator, UnsupportedField> {
        let options = DecodeOptions { created, think_tags: target.think_tags };
        let decoder = self.encoded(target.dialect).map_err(Clone::clone)?.request.response_decoder(options);
        let request = self.request().map_err(Clone::clone)?;
        let is_own =
            |seal: &&Seal| &*seal.origin().provider == target.provider && &*seal.origin().model == target.model;
        let seal = self.seals().iter().find(is_own).cloned();
        let encoder = self.caller()?.response_encoder(request, EncodeOptions { created, seed: target.seed, seal });
        Ok(ResponseTranslator { decoder, encoder, items: Vec::new(), surrogates: SurrogateJoiner::default() })
    }
}

/// Translates one response from a backend's format into the caller's; a state machine for streams.
#[derive(Debug)]
pub struct ResponseTranslator {
    decoder: Box<dyn DecodeResponse>,
    encoder: Box<dyn EncodeResponse>,
    items: Vec<StreamItem>,
    surrogates: SurrogateJoiner,
}

impl ResponseTranslator {
    /// Tells the time in seconds since 1970, at which the next part of the response has come.
    pub fn set_time(&mut self, now: u64) {
        self.encoder.set_time(now);
    }

    /// Translates a whole plain response.
    ///
    /// # Errors
    /// The body is no response of the backend's format.
    pub fn translate_response(&mut self, body: &[u8]) -> Result<Vec<u8>, Malformed> {
        let body = surrogates::repair(body);
        self.decoder.decode_response(&body).map(|response| self.encoder.encode_response(response))
    }

    /// Translates one event of a stream, given by its name (empty where it has none) and its data, and appends
    /// the caller's events to `out`.
    ///
    /// # Errors
    /// The data is not JSON; the event counts as not sent, and the stream goes on.
    pub fn translate_event(&mut self, name: &str, data: &str, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let data = self.surrogates.mark(data);
        let decoded = self.decoder.decode_event(name, &data, &mut self.items);
        self.encode(out);
        decoded
    }

    /// Ends the stream, whose bytes have ended cleanly or have broken off, and appends to `out` what makes the
    /// response whole; nothing if it is not whole.
    pub fn translate_end(&mut self, is_clean: bool, out: &mut Vec<u8>) {
        let end = if is_clean { StreamEnd::Clean } else { StreamEnd::Broken };
        self.decoder.decode_end(end, &mut self.items);
        self.encode(out);
    }

    /// Returns the tokens that the backend's stream has reported so far.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let usage = self.decoder.usage()?;
        let details = usage.prompt_tokens_details.unwrap_or_default();
        Some(Usage {
            input: usage.prompt_tokens,
            output: usage.completion_tokens,
            cached: details.cached_tokens,
            cache_write: details.cache_write_tokens,
            reasoning: usage.completion_tokens_details.unwrap_or_default().reasoning_tokens,
        })
    }

    fn encode(&mut self, out: &mut Vec<u8>) {
        for mut item in self.items.drain(..) {
            self.surrogates.join(&mut item);
            self.encoder.encode_item(item, out);
        }
    }
}
