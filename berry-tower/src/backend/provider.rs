//! A provider: an address, a key, and how to talk to it.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use secrecy::{ExposeSecret, SecretString};

use crate::{dialect::Dialect, endpoint::Endpoint};

/// How long the parts of one attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the head of a streamed answer.
    pub stream_head: Duration,
    /// Until the head of a plain answer, which comes only when all of it is thought out.
    pub plain_head: Duration,
    /// Until a stream's first event that bears output; zero is no bound.
    pub first_token: Duration,
    /// Between two frames; zero is no bound.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            stream_head: Duration::from_secs(30),
            plain_head: Duration::from_secs(300),
            first_token: Duration::ZERO,
            idle: Duration::from_secs(120),
        }
    }
}

/// A provider of models.
///
/// ```
/// use berry_tower::{backend::Provider, endpoint::Endpoint};
///
/// let provider = Provider::new("local", "http://127.0.0.1:8080").unwrap();
/// let uri = provider.uri(Endpoint::Embeddings, "any", false).unwrap();
/// assert_eq!(uri, "http://127.0.0.1:8080/v1/embeddings");
/// assert!(Provider::new("local", "ftp://127.0.0.1").is_err());
/// ```
#[derive(Clone)]
pub struct Provider {
    /// What it is called in the configuration, in logs and in metrics.
    pub id: Arc<str>,
    /// Its wire format.
    pub dialect: Dialect,
    /// Off: it gets nothing, probes included.
    pub enabled: bool,
    /// How long the parts of an attempt may take.
    pub timeouts: Timeouts,
    /// Most attempts after the first on this provider for one request.
    pub max_retries: u32,
    /// Whether to ask for `usage` in streams.
    pub stream_usage: bool,
    /// Whether the caller's `user-agent` is forwarded, as a comment behind the gateway's.
    pub forward_user_agent: bool,
    /// The most HTTP/2 connections to it; `None` leaves it to the transport.
    pub max_connections: Option<NonZeroU32>,
    base: String,
    addressing: Addressing,
    api_version: String,
    /// Own headers and the key, ready to be copied into a request.
    headers: HeaderMap,
    secrets: Vec<SecretString>,
}

/// How a provider's addresses are made, which does not depend on its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addressing {
    /// The format's path below a version segment.
    Versioned,
    /// Azure's: the model's deployment is in the path, and the API's version in the query.
    AzureDeployments,
}

impl Addressing {
    fn has_endpoint(self, endpoint: Endpoint) -> bool {
        match self {
            Self::Versioned => true,
            // Azure serves Responses below its version segment only.
            Self::AzureDeployments => endpoint != Endpoint::Responses,
        }
    }
}

/// A provider that cannot be: the text says which part is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProvider(pub &'static str);

impl fmt::Display for InvalidProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidProvider {}

impl Provider {
    /// An OpenAI-type provider at `base_url`, without a key.
    ///
    /// # Errors
    /// The address is no `http` or `https` URL, or carries a query.
    pub fn new(id: impl Into<Arc<str>>, base_url: &str) -> Result<Self, InvalidProvider> {
        let uri: Uri = base_url.parse().map_err(|_| InvalidProvider("base_url is no URL"))?;
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
            stream_usage: true,
            forward_user_agent: false,
            max_connections: None,
            base: base_url.trim_end_matches('/').to_owned(),
            addressing: Addressing::Versioned,
            api_version: String::new(),
            headers: HeaderMap::new(),
            secrets: Vec::new(),
        })
    }

    /// Sets the wire format. Set it before the key, which goes into the header that the format
    /// wants, and before other headers: Anthropic's version is one that they may replace.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        for (name, value) in dialect.format().default_headers() {
            self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        self
    }

    /// Sets the addresses and the key header of Azure's deployments, with this `api-version`. Set it before the
    /// key, which goes into another header there.
    #[must_use]
    pub fn azure(mut self, api_version: impl Into<String>) -> Self {
        self.addressing = Addressing::AzureDeployments;
        self.api_version = api_version.into();
        self
    }

    /// Sets the timeouts.
    #[must_use]
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets the key; an empty one is not sent.
    ///
    /// # Errors
    /// The key holds a character that no header may hold.
    pub fn key(self, key: &str) -> Result<Self, InvalidProvider> {
        if key.is_empty() {
            return Ok(self);
        }
        let (name, prefix) = match self.addressing {
            Addressing::Versioned => self.dialect.format().key_header(),
            Addressing::AzureDeployments => ("api-key", ""),
        };
        let mut this = self
            .header(HeaderName::from_static(name), &format!("{prefix}{key}"))
            .map_err(|_| InvalidProvider("api_key holds a control character"))?;
        this.secrets.push(key.into());
        Ok(this)
    }

    /// Adds a header that goes with every call and probe.
    ///
    /// # Errors
    /// The value holds a character that no header may hold.
    pub fn header(mut self, name: HeaderName, value: &str) -> Result<Self, InvalidProvider> {
        let mut header =
            HeaderValue::from_str(value).map_err(|_| InvalidProvider("a header value holds a control character"))?;
        header.set_sensitive(true);
        self.headers.insert(name, header);
        // Short values such as a version are no secrets, and masking them would garble messages.
        let secrets = secret_parts(value).map(Into::into);
        self.secrets.extend(secrets);
        // One may be the beginning of another.
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Ok(self)
    }

    /// The headers that go with every call, key included.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whether the provider's own format is the endpoint's, so that requests pass as they are.
    #[must_use]
    pub fn speaks(&self, endpoint: Endpoint) -> bool {
        self.addressing.has_endpoint(endpoint) && self.dialect.format().has_endpoint(endpoint)
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
        let name = escape(model.strip_prefix("models/").unwrap_or(model));
        let path = self.dialect.format().path(endpoint, &name, stream);
        match self.addressing {
            Addressing::Versioned => self.path(&path),
            Addressing::AzureDeployments => {
                let (base, version) = (&self.base, &self.api_version);
                let uri = format!("{base}/openai/deployments/{}{path}?api-version={version}", escape(model));
                uri.parse().ok()
            }
        }
    }

    /// The address of the provider's list of models.
    #[must_use]
    pub fn models_uri(&self) -> Option<Uri> {
        match self.addressing {
            Addressing::AzureDeployments => {
                format!("{}/openai/models?api-version={}", self.base, self.api_version).parse().ok()
            }
            Addressing::Versioned => self.path("/models"),
        }
    }

    /// A path below the version segment, which is added where the address has none.
    fn path(&self, path: &str) -> Option<Uri> {
        let base = &self.base;
        let last = base.rsplit('/').next().unwrap_or_default();
        let versioned = last.strip_prefix('v').is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()));
        let version = if versioned { "" } else { self.dialect.format().version_segment() };
        format!("{base}{version}{path}").parse().ok()
    }

    /// Sets whether the caller's `user-agent` is forwarded, as a comment behind the gateway's.
    #[must_use]
    pub const fn with_forward_user_agent(mut self, forward: bool) -> Self {
        self.forward_user_agent = forward;
        self
    }

    /// Whether a text holds the key or a secret header value.
    #[cfg(feature = "client")]
    pub(crate) fn quotes_secret(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret.expose_secret()))
    }

    /// A text of the provider's without the key and the header values that it may quote.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose_secret(), "***"))
    }
}

/// What of a header's value must not be shown: the whole, and what follows a scheme such as `Bearer`,
/// for a provider may quote either. Values of less than 16 bytes are no secrets.
pub fn secret_parts(value: &str) -> impl Iterator<Item = &str> {
    let after_scheme = value.trim().split_once(' ').map(|(_, rest)| rest.trim_start());
    std::iter::once(value).chain(after_scheme).filter(|part| part.len() >= 16)
}

fn escape(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
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
        let gemini = Provider::new("p", "https://generativelanguage.googleapis.com").unwrap().dialect(Dialect::Gemini);
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
        let claude = Provider::new("p", "https://api.anthropic.com").unwrap().dialect(Dialect::Claude);
        assert_eq!(claude.uri(Endpoint::ChatCompletions, "m", false).unwrap(), "https://api.anthropic.com/v1/messages");
        let azure = Provider::new("p", "https://x.openai.azure.com").unwrap();
        let azure = azure.azure("2024-02-01");
        assert_eq!(
            azure.uri(Endpoint::ChatCompletions, "my model", false).unwrap(),
            "https://x.openai.azure.com/openai/deployments/my%20model/chat/completions?api-version=2024-02-01"
        );
    }

    #[test]
    fn neither_key_nor_header_is_shown() {
        let provider = Provider::new("p", "https://host").unwrap().key("sk-secret").unwrap();
        let provider = provider.header(HeaderName::from_static("x-team"), "a-rather-long-secret").unwrap();
        let shown = format!("{provider:?} {:?}", provider.headers());
        assert!(!shown.contains("sk-secret") && !shown.contains("a-rather"), "{shown}");
        assert_eq!(provider.mask("bad key sk-secret!"), "bad key ***!");
        let scheme = HeaderName::from_static("x-house-auth");
        let provider = provider.header(scheme, "Bearer house-secret-0123456789").unwrap();
        assert_eq!(provider.mask("no such token: house-secret-0123456789"), "no such token: ***");
    }

    #[test]
    fn a_wrong_address_is_refused() {
        for base in ["", "host", "ftp://host", "https://", "https://host?x=1", "https://user:pw@host"] {
            assert!(Provider::new("p", base).is_err(), "{base}");
        }
        assert!(Provider::new("p", "https://host").unwrap().key("line\nbreak").is_err());
    }
}
