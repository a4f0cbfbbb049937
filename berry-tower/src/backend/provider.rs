//! A provider: an address, a key, and how to talk to it.

use std::{fmt, num::NonZeroU32, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::AUTHORIZATION};

use secrecy::{ExposeSecret, SecretString};

use super::{
    address::{Addressing, ChatUrls, MODEL, escape, with_model},
    key::{Key, RotatingKey},
    options::{OptionalField, RequestOptions},
    timeouts::Timeouts,
};
use crate::{dialect::Dialect, endpoint::Endpoint};

/// A provider of models: an address, a key, and the wire format that it speaks.
///
/// The order of the setters does not matter.
///
/// ```
/// use berry_tower::{backend::{Dialect, Provider}, endpoint::Endpoint};
///
/// let provider = Provider::new("local", "http://127.0.0.1:8080").unwrap();
/// let uri = provider.uri(Endpoint::Embeddings, "any", false).unwrap();
/// assert_eq!(uri, "http://127.0.0.1:8080/v1/embeddings");
/// assert!(Provider::new("local", "ftp://127.0.0.1").is_err());
///
/// let claude = Provider::new("claude", "https://api.anthropic.com").unwrap();
/// let claude = claude.with_key("sk-ant").unwrap().with_dialect(Dialect::Claude);
/// assert!(claude.headers().contains_key("x-api-key"));
/// ```
#[derive(Clone)]
pub struct Provider {
    id: Arc<str>,
    dialect: Dialect,
    enabled: bool,
    timeouts: Timeouts,
    max_retries: u32,
    options: RequestOptions,
    forward_user_agent: bool,
    propagate_trace: bool,
    max_connections: Option<NonZeroU32>,
    base: String,
    addressing: Addressing,
    api_version: String,
    chat_urls: Option<ChatUrls>,
    body_version: Option<Arc<str>>,
    key: Option<Key>,
    rotating_key: Option<RotatingKey>,
    /// The header of the key, where it is not the format's.
    key_header: Option<HeaderName>,
    /// Headers that the user has set.
    own_headers: HeaderMap,
    /// The headers of every request: the format's, the key's and the user's own, of which a later
    /// one replaces an earlier one of the same name. Derived from the fields above.
    headers: HeaderMap,
    secrets: Vec<SecretString>,
    /// Authenticates what the provider's backends sign.
    seal_key: Arc<[u8]>,
}

/// Returned when a provider cannot be created; the text says which part is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProvider(pub &'static str);

impl fmt::Display for InvalidProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidProvider {}

impl Provider {
    /// Creates a provider of OpenAI's format at `base_url`, without a key. `{model}` in its path stands for the
    /// model's name.
    ///
    /// # Errors
    /// The address is not an `http` or `https` URL, or has a query.
    pub fn new(id: impl Into<Arc<str>>, base_url: &str) -> Result<Self, InvalidProvider> {
        let uri: Uri = with_model(base_url, "model").parse().map_err(|_| InvalidProvider("base_url is no URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(InvalidProvider("base_url must start with http:// or https:// and name a host"));
        }
        if uri.query().is_some() {
            return Err(InvalidProvider("base_url must not have a query"));
        }
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(InvalidProvider("base_url must not hold a user or a password; use api_key or headers"));
        }
        Ok(Self {
            id: id.into(),
            dialect: Dialect::OpenAi,
            enabled: true,
            timeouts: Timeouts::default(),
            max_retries: 10,
            options: RequestOptions::new(),
            forward_user_agent: false,
            propagate_trace: false,
            max_connections: None,
            base: base_url.trim_end_matches('/').to_owned(),
            addressing: Addressing::Versioned,
            api_version: String::new(),
            chat_urls: None,
            body_version: None,
            key: None,
            rotating_key: None,
            key_header: None,
            own_headers: HeaderMap::new(),
            headers: HeaderMap::new(),
            secrets: Vec::new(),
            seal_key: Arc::from(crate::dialect::seal_key(b"")),
        })
    }

    /// Sets the wire format.
    #[must_use]
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self.rebuild_headers();
        self
    }

    /// Uses the addresses and the key header of Azure's deployments, with this `api-version`.
    #[must_use]
    pub fn with_azure_deployments(mut self, api_version: impl Into<String>) -> Self {
        self.addressing = Addressing::AzureDeployments;
        self.api_version = api_version.into();
        self.rebuild_headers();
        self
    }

    /// Sets the timeouts of one attempt.
    #[must_use]
    pub const fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Enables or disables the provider. A disabled provider gets no requests and no probes.
    #[must_use]
    pub const fn with_enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Sets the maximum number of attempts after the first on this provider for one request; 10 by
    /// default.
    #[must_use]
    pub const fn with_max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Says whether streams are asked for their token counts; they are by default.
    #[must_use]
    pub const fn with_stream_usage(mut self, usage: bool) -> Self {
        self.options = self.options.with_accepted(OptionalField::StreamOptions, usage);
        self
    }

    /// Sets what of OpenAI's format the provider accepts; everything by default.
    #[must_use]
    pub const fn with_request_options(mut self, options: RequestOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the addresses for conversations, plain and streamed. `{base_url}` stands for the base URL, and
    /// `{model}` for the model's name.
    ///
    /// # Errors
    /// One of them is no URL.
    pub fn with_chat_urls(mut self, plain: &str, stream: &str) -> Result<Self, InvalidProvider> {
        let [plain, stream] = [plain, stream].map(|template| template.replace("{base_url}", &self.base));
        let is_url = |url: &str| {
            with_model(url, "model").parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some())
        };
        if !is_url(&plain) || !is_url(&stream) {
            return Err(InvalidProvider("chat_url is no URL"));
        }
        self.chat_urls = Some(ChatUrls { plain, stream });
        Ok(self)
    }

    /// Sets the `anthropic_version` that requests of Anthropic's format have in their body, which then has no
    /// `model`: it stands in the address. By default there is none.
    #[must_use]
    pub fn with_body_version(mut self, version: impl Into<Arc<str>>) -> Self {
        self.body_version = Some(version.into());
        self
    }

    /// Sets the header that carries the key: `authorization` with the scheme `Bearer`, any other with the key
    /// alone. By default the wire format prescribes it.
    #[must_use]
    pub fn with_key_header(mut self, name: HeaderName) -> Self {
        self.key_header = Some(name);
        self.rebuild_headers();
        self
    }

    /// Sets a key that changes from time to time, in place of a fixed one.
    #[must_use]
    pub fn with_rotating_key(mut self, key: RotatingKey) -> Self {
        self.rotating_key = Some(key);
        self.rebuild_headers();
        self
    }

    /// Sets whether the caller's `user-agent` is forwarded, as a comment behind the gateway's; it is
    /// not by default.
    #[must_use]
    pub const fn with_forward_user_agent(mut self, forward: bool) -> Self {
        self.forward_user_agent = forward;
        self
    }

    /// Sets whether upstream requests carry the gateway's span in `traceparent`, where the request has a
    /// [`TraceContext`](crate::trace_context::TraceContext). Otherwise the client's header passes unchanged. Default: no.
    #[must_use]
    pub const fn with_propagate_trace(mut self, propagate: bool) -> Self {
        self.propagate_trace = propagate;
        self
    }

    /// Sets the maximum number of HTTP/2 connections to the provider; `None`, the default, leaves it
    /// to the transport.
    #[must_use]
    pub fn with_max_connections(mut self, max: impl Into<Option<NonZeroU32>>) -> Self {
        self.max_connections = max.into();
        self
    }

    /// Sets the key, which goes into the header that the wire format prescribes. An empty key is
    /// not sent.
    ///
    /// # Errors
    /// The key has a character that no header may have.
    pub fn with_key(mut self, key: &str) -> Result<Self, InvalidProvider> {
        self.key = if key.is_empty() { None } else { Some(Key::new(key)?) };
        self.seal_key = Arc::from(crate::dialect::seal_key(key.as_bytes()));
        self.rebuild_headers();
        Ok(self)
    }

    /// Adds a header that goes with every request and probe. It replaces the format's own header
    /// and the key's header of the same name.
    ///
    /// # Errors
    /// The value has a character that no header may have.
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Result<Self, InvalidProvider> {
        let mut header =
            HeaderValue::from_str(value).map_err(|_| InvalidProvider("a header value holds a control character"))?;
        header.set_sensitive(true);
        self.own_headers.insert(name, header);
        self.rebuild_headers();
        Ok(self)
    }

    fn rebuild_headers(&mut self) {
        self.headers.clear();
        self.secrets.clear();
        for (name, value) in self.dialect.format().default_headers() {
            self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if let Some(key) = self.key.as_ref().filter(|_| self.rotating_key.is_none()) {
            let (name, value) = self.key_value(key);
            self.headers.insert(name, value);
            self.secrets.push(key.secret.clone());
        }
        for (name, value) in &self.own_headers {
            self.headers.insert(name, value.clone());
            // Short values such as a version are no secrets, and masking them would garble messages.
            self.secrets.extend(value.to_str().into_iter().flat_map(secret_parts).map(Into::into));
        }
        // One secret may begin with another, so the longest is masked first.
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
    }

    /// Returns the header that carries a key.
    fn key_value(&self, key: &Key) -> (HeaderName, HeaderValue) {
        let (name, is_bearer) = match (&self.key_header, self.addressing) {
            (Some(name), _) => (name.clone(), name == AUTHORIZATION),
            (None, Addressing::AzureDeployments) => (HeaderName::from_static("api-key"), false),
            (None, Addressing::Versioned) => {
                let (name, prefix) = self.dialect.format().key_header();
                (HeaderName::from_static(name), !prefix.is_empty())
            }
        };
        (name, if is_bearer { key.bearer.clone() } else { key.plain.clone() })
    }

    /// The id in the configuration, in logs and in metrics.
    #[must_use]
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The wire format.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The key that authenticates what the provider's backends sign.
    pub(super) const fn seal_key(&self) -> &Arc<[u8]> {
        &self.seal_key
    }

    /// Whether the provider gets requests and probes.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The timeouts of one attempt.
    #[must_use]
    pub const fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The maximum number of attempts after the first on this provider for one request.
    #[must_use]
    pub const fn max_retries(&self) -> u32 {
        self.max_retries
    }

    /// Whether the caller's `user-agent` is forwarded.
    #[must_use]
    pub const fn forwards_user_agent(&self) -> bool {
        self.forward_user_agent
    }

    /// Whether upstream requests carry the gateway's span.
    #[must_use]
    pub const fn propagates_trace(&self) -> bool {
        self.propagate_trace
    }

    /// The host of the base URL, and its port or the scheme's own.
    #[must_use]
    pub fn address(&self) -> (&str, u16) {
        let (scheme, rest) = self.base.split_once("://").unwrap_or(("http", &self.base));
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            _ => (authority, None),
        };
        (host, port.unwrap_or(if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 }))
    }

    /// The maximum number of HTTP/2 connections to the provider.
    #[must_use]
    pub const fn max_connections(&self) -> Option<NonZeroU32> {
        self.max_connections
    }

    /// What of OpenAI's format the provider accepts.
    #[must_use]
    pub const fn request_options(&self) -> &RequestOptions {
        &self.options
    }

    /// The `anthropic_version` that requests have in their body.
    #[must_use]
    pub fn body_version(&self) -> Option<&str> {
        self.body_version.as_deref()
    }

    /// The key that changes from time to time.
    #[must_use]
    pub const fn rotating_key(&self) -> Option<&RotatingKey> {
        self.rotating_key.as_ref()
    }

    /// Whether requests may have this field.
    #[must_use]
    pub const fn accepts(&self, field: OptionalField) -> bool {
        self.options.accepts(field)
    }

    /// Whether another provider has the same address and key, so that what is known of one holds for
    /// the other.
    #[must_use]
    pub fn is_same_account(&self, other: &Self) -> bool {
        let key = |provider: &Self| provider.key.as_ref().map(|key| key.plain.clone());
        let has_same_key = match (&self.rotating_key, &other.rotating_key) {
            (Some(one), Some(other)) => one.is_shared_with(other),
            (None, None) => key(self) == key(other),
            _ => false,
        };
        self.base == other.base && has_same_key
    }

    /// The headers of every request, the key's included.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.insert_headers(&mut headers);
        headers
    }

    /// Inserts the headers of every request into `headers`, where they replace others of the same
    /// name.
    pub fn insert_headers(&self, headers: &mut HeaderMap) {
        headers.reserve(self.headers.len());
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        if let Some(key) = self.rotating_key.as_ref().and_then(RotatingKey::current) {
            let (name, value) = self.key_value(&key);
            if !self.own_headers.contains_key(&name) {
                headers.insert(name, value);
            }
        }
    }

    /// Whether streams of conversations have an address of their own.
    pub(super) fn has_stream_address(&self) -> bool {
        self.chat_urls.is_some() || self.dialect.format().has_stream_address()
    }

    /// Whether the provider's own format is the endpoint's, so that requests pass as they are.
    #[must_use]
    pub fn speaks(&self, endpoint: Endpoint) -> bool {
        self.addressing.has_endpoint(endpoint) && self.dialect_for(endpoint).format().has_endpoint(endpoint)
    }

    /// The format in which requests to an endpoint are sent, unless a backend is told or has learnt to use another.
    #[must_use]
    pub fn dialect_for(&self, endpoint: Endpoint) -> Dialect {
        match (self.dialect, endpoint) {
            (Dialect::OpenAi, Endpoint::Responses)
                if self.addressing.has_endpoint(endpoint) && self.chat_urls.is_none() =>
            {
                Dialect::Responses
            }
            (dialect, _) => dialect,
        }
    }

    /// Whether the provider can be asked for this endpoint: in its own format, or by a translation
    /// as far as the request can be [expressed](crate::dialect::UnsupportedField).
    #[must_use]
    pub fn serves(&self, endpoint: Endpoint) -> bool {
        self.speaks(endpoint) || endpoint.is_chat()
    }

    /// The address at which the provider is asked for what comes to an endpoint. `model` is a part
    /// of it at Azure and at Google, and Google has another one for streams.
    #[must_use]
    pub fn uri(&self, endpoint: Endpoint, model: &str, stream: bool) -> Option<Uri> {
        if !self.serves(endpoint) {
            return None;
        }
        self.uri_in(self.dialect_for(endpoint), endpoint, model, stream)
    }

    /// The address of an endpoint in this format.
    pub(super) fn uri_in(&self, dialect: Dialect, endpoint: Endpoint, model: &str, stream: bool) -> Option<Uri> {
        if let Some(urls) = self.chat_urls.as_ref().filter(|_| endpoint.is_chat() && dialect != Dialect::Responses) {
            return with_model(if stream { &urls.stream } else { &urls.plain }, model).parse().ok();
        }
        let name = escape(model.strip_prefix("models/").unwrap_or(model));
        let path = dialect.format().path(endpoint, &name, stream);
        match self.addressing {
            Addressing::Versioned => self.path(&path, model),
            // The model is in the body.
            Addressing::AzureDeployments if dialect == Dialect::Responses => {
                format!("{}/openai/v1{path}", with_model(&self.base, model)).parse().ok()
            }
            Addressing::AzureDeployments => {
                let (base, version) = (with_model(&self.base, model), &self.api_version);
                let uri = format!("{base}/openai/deployments/{}{path}?api-version={version}", escape(model));
                uri.parse().ok()
            }
        }
    }

    /// The address of the provider's list of models; `None` where the model stands in the base URL.
    #[must_use]
    pub fn models_uri(&self) -> Option<Uri> {
        if self.base.contains(MODEL) {
            return None;
        }
        match self.addressing {
            Addressing::AzureDeployments => {
                format!("{}/openai/models?api-version={}", self.base, self.api_version).parse().ok()
            }
            Addressing::Versioned => self.path("/models", ""),
        }
    }

    /// A path below the version segment, which is added where the address has none.
    fn path(&self, path: &str, model: &str) -> Option<Uri> {
        let base = with_model(&self.base, model);
        let last = base.rsplit('/').next().unwrap_or_default();
        let versioned = last.strip_prefix('v').is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()));
        let version = if versioned { "" } else { self.dialect.format().version_segment() };
        format!("{base}{version}{path}").parse().ok()
    }

    /// Whether a text holds the key or a secret header value.
    #[cfg(feature = "client")]
    pub(crate) fn quotes_secret(&self, text: &str) -> bool {
        let mut quotes = self.secrets.iter().any(|secret| text.contains(secret.expose_secret()));
        if let Some(key) = &self.rotating_key {
            key.for_each(|secret| quotes |= text.contains(secret));
        }
        quotes
    }

    /// A text of the provider's without the key and the header values that it may quote.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        let mut text =
            self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose_secret(), "***"));
        if let Some(key) = &self.rotating_key {
            key.for_each(|secret| text = text.replace(secret, "***"));
        }
        text
    }
}

/// What of a header's value must not be shown: the whole, and what follows a scheme such as `Bearer`,
/// for a provider may quote either. Values of less than 16 bytes are no secrets.
pub fn secret_parts(value: &str) -> impl Iterator<Item = &str> {
    let after_scheme = value.trim().split_once(' ').map(|(_, rest)| rest.trim_start());
    std::iter::once(value).chain(after_scheme).filter(|part| part.len() >= 16)
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("id", &self.id)
            .field("dialect", &self.dialect)
            .field("base", &self.base)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_segment_is_kept_or_added() {
        for (base, uri) in [
            ("https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
            ("https://x.openai.azure.com/openai/v1", "https://x.openai.azure.com/openai/v1/chat/completions"),
            ("https://host/prefix", "https://host/prefix/v1/chat/completions"),
            ("https://host/v4", "https://host/v4/chat/completions"),
        ] {
            let provider = Provider::new("p", base).unwrap();
            assert_eq!(provider.uri(Endpoint::ChatCompletions, "m", true).unwrap(), uri);
        }
        let gemini =
            Provider::new("p", "https://generativelanguage.googleapis.com").unwrap().with_dialect(Dialect::Gemini);
        assert_eq!(
            gemini.uri(Endpoint::Messages, "models/gemini-2.5-pro", false).unwrap(),
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent"
        );
        assert_eq!(
            gemini.uri(Endpoint::ChatCompletions, "gemini-2.5-pro", true).unwrap().query(),
            Some("alt=sse"),
            "the key is in no address"
        );
        assert_eq!(gemini.uri(Endpoint::Embeddings, "m", false), None);
        let claude = Provider::new("p", "https://api.anthropic.com").unwrap().with_dialect(Dialect::Claude);
        assert_eq!(claude.uri(Endpoint::ChatCompletions, "m", false).unwrap(), "https://api.anthropic.com/v1/messages");
        let azure = Provider::new("p", "https://x.openai.azure.com").unwrap();
        let azure = azure.with_azure_deployments("2024-02-01");
        assert_eq!(
            azure.uri(Endpoint::ChatCompletions, "my model", false).unwrap(),
            "https://x.openai.azure.com/openai/deployments/my%20model/chat/completions?api-version=2024-02-01"
        );
    }

    #[test]
    fn the_model_stands_where_a_template_says() {
        let base = Provider::new("p", "https://host/deployments/{model}/v1").unwrap();
        assert_eq!(
            base.uri(Endpoint::Embeddings, "a b", false).unwrap(),
            "https://host/deployments/a%20b/v1/embeddings"
        );
        assert_eq!(base.models_uri(), None);
        let vertex = Provider::new("v", "https://host/v1").unwrap().with_dialect(Dialect::Claude);
        let vertex = vertex.with_key("token").unwrap().with_key_header(AUTHORIZATION);
        let vertex = vertex.with_chat_urls("{base_url}/m/{model}:rawPredict", "{base_url}/m/{model}:streamRawPredict");
        let vertex = vertex.unwrap();
        let uri = |stream| vertex.uri(Endpoint::Messages, "claude-x@1", stream).unwrap();
        assert_eq!(uri(false), "https://host/v1/m/claude-x@1:rawPredict");
        assert_eq!(uri(true), "https://host/v1/m/claude-x@1:streamRawPredict");
        assert_eq!(vertex.headers()["authorization"], "Bearer token");
        assert!(!vertex.headers().contains_key("x-api-key"));
        assert!(Provider::new("v", "https://host").unwrap().with_chat_urls("no", "url").is_err());
    }

    #[test]
    fn neither_key_nor_header_is_shown() {
        let provider = Provider::new("p", "https://host").unwrap().with_key("sk-secret").unwrap();
        let provider = provider.with_header(HeaderName::from_static("x-team"), "a-rather-long-secret").unwrap();
        let shown = format!("{provider:?} {:?}", provider.headers());
        assert!(!shown.contains("sk-secret") && !shown.contains("a-rather"), "{shown}");
        assert_eq!(provider.mask("bad key sk-secret!"), "bad key ***!");
        let scheme = HeaderName::from_static("x-house-auth");
        let provider = provider.with_header(scheme, "Bearer house-secret-0123456789").unwrap();
        assert_eq!(provider.mask("no such token: house-secret-0123456789"), "no such token: ***");
    }

    #[test]
    fn the_order_of_the_setters_does_not_matter() {
        let version = || HeaderName::from_static("anthropic-version");
        let provider = || Provider::new("c", "https://c").unwrap();
        let one = provider().with_key("sk").unwrap().with_header(version(), "2025-01-01").unwrap();
        let one = one.with_dialect(Dialect::Claude);
        let other = provider().with_dialect(Dialect::Claude).with_header(version(), "2025-01-01").unwrap();
        let other = other.with_key("sk").unwrap();
        assert_eq!(one.headers(), other.headers());
        assert_eq!(
            (&one.headers()["x-api-key"], &one.headers()["anthropic-version"]),
            (&"sk".parse().unwrap(), &"2025-01-01".parse().unwrap())
        );
        assert!(!one.headers().contains_key("authorization"));
    }

    #[test]
    fn a_wrong_address_is_refused() {
        for base in ["", "host", "ftp://host", "https://", "https://host?x=1", "https://user:pw@host"] {
            assert!(Provider::new("p", base).is_err(), "{base}");
        }
        assert!(Provider::new("p", "https://host").unwrap().with_key("line\nbreak").is_err());
    }
}
