//! The wire formats as one table: each row is an implementation of [`WireFormat`].

use std::{borrow::Cow, fmt};

use bytes::Bytes;

use super::{
    chat::Chat,
    codec::{DecodeResponse, EncodeResponse},
    effort::Efforts,
    gemini::Gemini,
    hub,
    messages::Messages,
    responses::{Responses, Seal},
    unsupported::UnsupportedField,
};
use crate::{endpoint::Endpoint, named::named_enum};

/// The wire format that a provider speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI's format, and that of every provider compatible with it.
    #[default]
    OpenAi,
    /// Anthropic's Messages.
    Claude,
    /// Google's `generateContent`.
    Gemini,
    /// OpenAI's Responses.
    Responses,
}

impl Dialect {
    /// Every format, in the order of [`index`](Self::index).
    pub(super) const ALL: [Self; 4] = [Self::OpenAi, Self::Claude, Self::Gemini, Self::Responses];

    /// The position of the format in tables.
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Returns the format's row in the table.
    pub(crate) const fn format(self) -> &'static dyn WireFormat {
        match self {
            Self::OpenAi => &Chat,
            Self::Claude => &Messages,
            Self::Gemini => &Gemini,
            Self::Responses => &Responses,
        }
    }
}

/// Returns the format in which callers use an endpoint; `None` if its requests cannot be translated.
pub(super) fn caller_format(endpoint: Endpoint) -> Option<&'static dyn CallerFormat> {
    Dialect::ALL.into_iter().filter_map(|dialect| dialect.format().caller()).find(|it| it.endpoint() == endpoint)
}

named_enum! {
    /// The sampling parameters that a backend accepts. Newer models of Anthropic's refuse `temperature` and
    /// `top_p` together, or either.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Sampling {
        /// `temperature` and `top_p`, as the request has them.
        #[default]
        All = "all",
        /// `temperature`, or `top_p` where the request has no temperature.
        Temperature = "temperature",
        /// Neither.
        None = "none",
    }
}

named_enum! {
    /// The way in which a Claude model is asked to think.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum ClaudeThinking {
        /// By the model's family: newer ones take only adaptive thinking, older ones only a budget.
        #[default]
        Auto = "auto",
        /// With a budget of tokens.
        Budget = "budget",
        /// Adaptively, with an effort.
        Adaptive = "adaptive",
        /// The model is not asked to think.
        Off = "off",
    }
}

/// The backend that a translated request is for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) model: &'a str,
    pub(crate) sampling: Sampling,
    pub(crate) stream: bool,
    pub(crate) usage: bool,
    pub(crate) think_tags: bool,
    pub(crate) thinking: ClaudeThinking,
    pub(crate) provider: &'a str,
    pub(crate) seed: u128,
    pub(crate) reasoning_summary: bool,
    pub(crate) efforts: Efforts,
    pub(crate) reasoning: bool,
    pub(crate) signed_reasoning: bool,
}

impl<'a> Target<'a> {
    /// A plain request to the `model` of a backend that speaks `dialect`.
    #[must_use]
    pub const fn new(dialect: Dialect, model: &'a str) -> Self {
        Self {
            dialect,
            model,
            sampling: Sampling::All,
            stream: false,
            usage: true,
            think_tags: false,
            thinking: ClaudeThinking::Auto,
            provider: "",
            seed: 0,
            reasoning_summary: true,
            efforts: Efforts::ALL,
            reasoning: false,
            signed_reasoning: true,
        }
    }

    /// Sets whether a backend of Responses is asked for summaries of its reasoning; by default it is.
    #[must_use]
    pub const fn with_reasoning_summary(mut self, summary: bool) -> Self {
        self.reasoning_summary = summary;
        self
    }

    /// Sets the id of the backend's provider: reasoning that another backend has signed is left out.
    #[must_use]
    pub const fn with_provider(mut self, provider: &'a str) -> Self {
        self.provider = provider;
        self
    }

    /// Sets the random number from which the ids of a response are made whose format has ids of its own.
    #[must_use]
    pub const fn with_seed(mut self, seed: u128) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the efforts that a Claude model accepts; all by default.
    #[must_use]
    pub const fn with_efforts(mut self, efforts: Efforts) -> Self {
        self.efforts = efforts;
        self
    }

    /// Sets whether a request of OpenAI's format has the reasoning of earlier turns as `reasoning_content`; by
    /// default it has not.
    #[must_use]
    pub const fn with_reasoning(mut self, reasoning: bool) -> Self {
        self.reasoning = reasoning;
        self
    }

    /// Sets whether the request has the reasoning of earlier turns that Anthropic or Google has signed; by default it
    /// has.
    #[must_use]
    pub const fn with_signed_reasoning(mut self, signed: bool) -> Self {
        self.signed_reasoning = signed;
        self
    }

    /// Sets the sampling parameters that the backend accepts; all by default.
    #[must_use]
    pub const fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Sets the way in which a Claude model is asked to think; by its family by default.
    #[must_use]
    pub const fn with_thinking(mut self, thinking: ClaudeThinking) -> Self {
        self.thinking = thinking;
        self
    }

    /// Sets whether the model writes its thoughts between `<think>` and `</think>`; by default it does not.
    #[must_use]
    pub const fn with_think_tags(mut self, think_tags: bool) -> Self {
        self.think_tags = think_tags;
        self
    }

    /// Sets whether the response is streamed; by default it is not.
    #[must_use]
    pub const fn with_stream(mut self, stream: bool) -> Self {
        self.stream = stream;
        self
    }

    /// Sets whether a stream of OpenAI's format is asked for its token counts; by default it is.
    #[must_use]
    pub const fn with_usage(mut self, usage: bool) -> Self {
        self.usage = usage;
        self
    }
}

/// What a decoder of responses must know beside the request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DecodeOptions {
    /// The time in seconds since 1970, for formats whose responses lack it.
    pub(crate) created: u64,
    /// Whether text between `<think>` and `</think>` is reasoning.
    pub(crate) think_tags: bool,
}

/// What an encoder of responses must know beside the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct EncodeOptions {
    /// The time in seconds since 1970.
    pub(crate) created: u64,
    /// A random number, from which ids are made.
    pub(crate) seed: u128,
    /// What seals the reasoning of the backend.
    pub(crate) seal: Option<Seal>,
}

/// A wire format as providers speak it: addresses, key header, endpoints, errors, requests and responses.
pub(crate) trait WireFormat: fmt::Debug + Sync {
    /// The version segment that is added to a base URL without one.
    fn version_segment(&self) -> &'static str {
        "/v1"
    }

    /// The header that carries the API key, and what stands before the key in its value.
    fn key_header(&self) -> (&'static str, &'static str);

    /// The headers that every request carries unless the provider's configuration replaces them.
    fn default_headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Whether the format has this endpoint, so that requests to it pass as they are.
    fn has_endpoint(&self, endpoint: Endpoint) -> bool;

    /// The path below the version segment at which the provider is asked for `endpoint`, in its own format or
    /// by a translation, with a query if there is one. `model` is escaped.
    fn path(&self, endpoint: Endpoint, model: &str, is_stream: bool) -> Cow<'static, str>;

    /// Whether streams have an address of their own.
    fn has_stream_address(&self) -> bool {
        false
    }

    /// Whether a stream reports token counts only where `stream_options.include_usage` asks for them.
    fn has_usage_option(&self) -> bool {
        false
    }

    /// Whether a backend accepts an assistant prefix that ends in white space.
    fn accepts_trailing_space_in_prefill(&self) -> bool {
        true
    }

    /// Whether the message of an error without a code says that the request is too long for the model.
    fn is_context_overflow(&self, message: &str) -> bool {
        let _ = message;
        false
    }

    /// Encodes a request, as far as it does not depend on the backend.
    ///
    /// # Errors
    /// The field that the format cannot express.
    fn encode_request(&self, request: &hub::Request) -> Result<Box<dyn EncodedRequest>, UnsupportedField>;

    /// The format as callers speak it; `None` if it is only spoken by providers.
    fn caller(&self) -> Option<&'static dyn CallerFormat> {
        None
    }
}

/// A wire format as callers speak it.
pub(crate) trait CallerFormat: fmt::Debug + Sync {
    /// The endpoint whose requests are of this format.
    fn endpoint(&self) -> Endpoint;

    /// Decodes a request. `seals` open the reasoning that backends of the model have signed.
    ///
    /// # Errors
    /// The field that is not of the format, or that no other format can express.
    fn decode_request(&self, body: &[u8], seals: &[Seal]) -> Result<hub::Request, UnsupportedField>;

    /// Returns the caller's path for a field of the decoded request.
    fn param_path(&self, param: &str, request: &hub::Request, body: &[u8]) -> String {
        let _ = (request, body);
        param.to_owned()
    }

    /// Returns an encoder of the response to a decoded request.
    fn response_encoder(&self, request: &hub::Request, options: EncodeOptions) -> Box<dyn EncodeResponse>;
}

/// A request in a backend's format.
pub(crate) trait EncodedRequest: fmt::Debug + Send + Sync {
    /// Returns the body for a backend.
    fn body(&self, target: &Target<'_>) -> Bytes;

    /// The optional fields that the body leaves out, as paths into the decoded request.
    fn dropped(&self) -> &[String] {
        &[]
    }

    /// Returns a decoder of the response.
    fn response_decoder(&self, options: DecodeOptions) -> Box<dyn DecodeResponse>;
}
