//! The headers that go with every request to a provider, and the secrets that they hold.

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use secrecy::ExposeSecret;

use super::{Provider, address::Addressing};
use crate::backend::key::{Key, RotatingKey};

impl Provider {
    pub(super) fn rebuild_headers(&mut self) {
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

    /// The headers of every request, the key's included.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.insert_headers(&mut headers);
        headers
    }

    /// Inserts the headers of every request into `headers`, where they replace others of the same
    /// name.
    pub(crate) fn insert_headers(&self, headers: &mut HeaderMap) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

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
}
