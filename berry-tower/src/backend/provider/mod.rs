//! A provider: an address, a key, and how to talk to it.

mod address;
mod headers;

use std::{fmt, num::NonZeroU32, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use secrecy::SecretString;

use self::address::{Addressing, ChatUrls, with_model};
pub use self::headers::secret_parts;
use super::{
    invalid_provider::InvalidProvider,
    key::{Key, RotatingKey},
    options::{OptionalField, RequestOptions},
    timeouts::Timeouts,
};
use crate::dialect::Dialect;

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

    /// Sets the secret of the server by which reasoning is authenticated that the provider's models sign, for a provider
    /// without a lasting key of its own. Without it, the secret is random and ends with the process.
    #[must_use]
    pub fn with_seal_secret(mut self, secret: &[u8]) -> Self {
        if self.key.is_none() {
            self.seal_key = Arc::from(crate::dialect::seal_key(secret));
        }
        self
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
    #[cfg_attr(not(feature = "client"), allow(dead_code, reason = "only the client calls it"))]
    pub(crate) const fn forwards_user_agent(&self) -> bool {
        self.forward_user_agent
    }

    /// Whether upstream requests carry the gateway's span.
    #[cfg_attr(not(feature = "client"), allow(dead_code, reason = "only the client calls it"))]
    pub(crate) const fn propagates_trace(&self) -> bool {
        self.propagate_trace
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
    pub(crate) fn is_same_account(&self, other: &Self) -> bool {
        let key = |provider: &Self| provider.key.as_ref().map(|key| key.plain.clone());
        let has_same_key = match (&self.rotating_key, &other.rotating_key) {
            (Some(one), Some(other)) => one.is_shared_with(other),
            (None, None) => key(self) == key(other),
            _ => false,
        };
        self.base == other.base && has_same_key
    }
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
    fn a_wrong_address_is_refused() {
        for base in ["", "host", "ftp://host", "https://", "https://host?x=1", "https://user:pw@host"] {
            assert!(Provider::new("p", base).is_err(), "{base}");
        }
        assert!(Provider::new("p", "https://host").unwrap().with_key("line\nbreak").is_err());
    }
}
