//! The addresses of a provider's endpoints.

use http::Uri;

use super::Provider;
use crate::{dialect::Dialect, endpoint::Endpoint};

/// How a provider's addresses are made, which does not depend on its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addressing {
    /// The format's path below a version segment.
    Versioned,
    /// Azure's: the model's deployment is in the path, and the API's version in the query.
    AzureDeployments,
}

impl Addressing {
    pub(super) fn has_endpoint(self, endpoint: Endpoint) -> bool {
        match self {
            Self::Versioned => true,
            // Azure serves Responses below its version segment only.
            Self::AzureDeployments => endpoint != Endpoint::Responses,
        }
    }
}

/// The addresses for conversations, where they do not follow from the base URL; with `{model}` for the model's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChatUrls {
    pub(super) plain: String,
    pub(super) stream: String,
}

/// Puts a model's name into an address.
pub(super) fn with_model<'a>(address: &'a str, model: &str) -> std::borrow::Cow<'a, str> {
    if address.contains(MODEL) { address.replace(MODEL, &escape(model)).into() } else { address.into() }
}

/// What stands for the model's name in an address.
pub(super) const MODEL: &str = "{model}";

/// Percent-encodes a segment of a path.
pub(super) fn escape(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'@' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

impl Provider {
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

    /// Whether streams of conversations have an address of their own.
    pub(in crate::backend) fn has_stream_address(&self) -> bool {
        self.chat_urls.is_some() || self.dialect.format().has_stream_address()
    }

    /// Whether the provider's own format is the endpoint's, so that requests pass as they are.
    #[must_use]
    pub fn speaks(&self, endpoint: Endpoint) -> bool {
        self.addressing.has_endpoint(endpoint) && self.dialect_for(endpoint).format().has_endpoint(endpoint)
    }

    /// The format in which requests to an endpoint are sent, unless a backend is set to use another, or has learnt to.
    pub(crate) fn dialect_for(&self, endpoint: Endpoint) -> Dialect {
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
    pub(in crate::backend) fn uri_in(
        &self,
        dialect: Dialect,
        endpoint: Endpoint,
        model: &str,
        stream: bool,
    ) -> Option<Uri> {
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
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

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
}
