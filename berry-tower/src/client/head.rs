//! The head of a request to an upstream, and of its response to the client.

use std::{borrow::Cow, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use sha2::{Digest, Sha256};

use crate::{backend::Provider, caller::CallerId, render::REQUEST_ID};

/// The client's headers that go to the upstream by default. `accept`, `accept-encoding` and
/// `user-agent` are the gateway's own.
pub(super) fn is_forwarded_by_default(name: &str) -> bool {
    matches!(
        name,
        "content-type"
            | "openai-beta"
            | "anthropic-version"
            | "anthropic-beta"
            | "idempotency-key"
            | "traceparent"
            | "tracestate"
            | "x-request-id"
    )
}

/// The number of headers that a request has beside the provider's.
const USUAL: usize = 10;

/// The upstream's headers that go to the client: what clients of these APIs read. Rate limits,
/// organizations, cookies, policies and all that belongs to the connection stay here.
fn is_returned(name: &str) -> bool {
    matches!(
        name,
        "content-type"
            | "content-length"
            | "content-disposition"
            | "content-language"
            | "cache-control"
            | "retry-after"
            | "retry-after-ms"
            | "x-should-retry"
            | "openai-model"
            | "openai-processing-ms"
            | "openai-version"
            | UPSTREAM_ID
    )
}

/// The longest value that goes to the client.
const MAX_VALUE: usize = 512;

/// The name under which the client gets the upstream's request id: `x-request-id` is the gateway's.
const UPSTREAM_ID: &str = "x-upstream-request-id";

/// The names that providers give the id of a request; the first that is present counts.
const IDS: [HeaderName; 4] = [
    REQUEST_ID,
    HeaderName::from_static("request-id"),
    HeaderName::from_static("apim-request-id"),
    HeaderName::from_static("x-goog-request-id"),
];

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What requests to upstreams have in common.
#[derive(Clone, Debug)]
pub(super) struct HeadSettings {
    /// The client's headers that are forwarded; `None` for the defaults.
    pub(super) forwarded: Option<Arc<[HeaderName]>>,
    pub(super) user_agent: HeaderValue,
    /// Whether `[DONE]` ends streams of the Responses API.
    pub(super) done_event: bool,
}

impl HeadSettings {
    pub(super) const DEFAULT: Self = Self {
        forwarded: None,
        user_agent: HeaderValue::from_static(concat!("berry/", env!("CARGO_PKG_VERSION"))),
        done_event: true,
    };

    fn is_forwarded(&self, name: &HeaderName) -> bool {
        match &self.forwarded {
            None => is_forwarded_by_default(name.as_str()),
            Some(names) => names.contains(name),
        }
    }

    /// The headers for the upstream: the client's by the allow-list, then the gateway's, then the
    /// provider's own and its key.
    pub(super) fn request_headers(
        &self,
        client: &HeaderMap,
        caller: Option<CallerId>,
        accept: HeaderValue,
        provider: &Provider,
    ) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(USUAL);
        for (name, value) in client {
            if self.is_forwarded(name) {
                // Of a header that comes several times, the first.
                headers.entry(name).or_insert_with(|| value.clone());
            }
        }
        if let Some(key) = headers.get_mut(IDEMPOTENCY_KEY) {
            *key = scoped(key, client, caller);
        }
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, accept);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, self.user_agent(client, provider));
        provider.insert_headers(&mut headers);
        headers
    }

    /// Names the gateway, and the caller's program where the provider wants that.
    fn user_agent(&self, client: &HeaderMap, provider: &Provider) -> HeaderValue {
        const MAX_COMMENT: usize = 256;
        let caller = client.get(USER_AGENT).filter(|_| provider.forwards_user_agent());
        let comment = caller.and_then(|value| value.to_str().ok()).map(|value| {
            // RFC 9110, section 5.6.5: these would end the comment.
            let allowed = value.chars().filter(|c| !matches!(c, '(' | ')' | '\\'));
            allowed.take(MAX_COMMENT).collect::<String>()
        });
        let with = |comment: String| {
            let own = self.user_agent.to_str().unwrap_or_default();
            HeaderValue::try_from(format!("{own} ({comment})")).ok()
        };
        comment.and_then(with).unwrap_or_else(|| self.user_agent.clone())
    }
}

/// An idempotency key of one caller. All callers share the gateway's account at the provider, so one
/// that chose another's key would get the other's answer.
fn scoped(key: &HeaderValue, client: &HeaderMap, caller: Option<CallerId>) -> HeaderValue {
    /// The longest key that providers take.
    const MAX_KEY: usize = 255;
    let token = || client.get(AUTHORIZATION).or_else(|| client.get(API_KEY)).map_or(&[][..], HeaderValue::as_bytes);
    // An authentication outside may have removed the token.
    let digest = match caller {
        Some(caller) => Sha256::digest(caller.get().to_be_bytes()),
        None => Sha256::digest(token()),
    };
    let digest = hex(&digest[..8]);
    let key = match key.to_str() {
        Ok(text) if digest.len() + 1 + text.len() <= MAX_KEY => Cow::Borrowed(text),
        _ => Cow::Owned(hex(&Sha256::digest(key.as_bytes())[..16])),
    };
    HeaderValue::try_from(format!("{digest}-{key}")).unwrap_or(HeaderValue::from_static("-"))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Leaves the headers that are for the client, masked and bounded, and renames the request id.
pub(super) fn sanitize_response_headers(headers: &mut HeaderMap, provider: &Provider) {
    if let Some(id) = IDS.iter().find_map(|id| headers.remove(id)) {
        headers.insert(HeaderName::from_static(UPSTREAM_ID), id);
    }
    let is_fit = |name: &HeaderName, value: &HeaderValue| {
        is_returned(name.as_str())
            && value.len() <= MAX_VALUE
            && value.to_str().is_ok_and(|text| !provider.quotes_secret(text))
    };
    // Usually few have to go, and rarely one comes twice.
    let unfit: Vec<HeaderName> =
        headers.iter().filter(|(name, value)| !is_fit(name, value)).map(|(name, _)| name.clone()).collect();
    for name in unfit {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn provider() -> Provider {
        Provider::new("p", "https://host").unwrap().with_key("sk-up").unwrap()
    }

    fn sent(client: &[(&'static str, &'static str)], provider: &Provider) -> HeaderMap {
        let accept = HeaderValue::from_static("application/json");
        HeadSettings::DEFAULT.request_headers(&headers(client), None, accept, provider)
    }

    #[test]
    fn the_callers_credentials_and_program_are_not_forwarded() {
        let sent = sent(
            &[
                ("authorization", "Bearer the-callers"),
                ("cookie", "c"),
                ("openai-organization", "org"),
                ("x-api-key", "the-callers"),
                ("accept", "*/*"),
                ("accept-encoding", "gzip"),
                ("user-agent", "sqlmap/1.0"),
                ("x-request-id", "id"),
            ],
            &provider(),
        );
        let expected = headers(&[
            ("x-request-id", "id"),
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("accept-encoding", "identity"),
            ("user-agent", concat!("berry/", env!("CARGO_PKG_VERSION"))),
            ("authorization", "Bearer sk-up"),
        ]);
        assert_eq!(sent, expected);
    }

    #[test]
    fn the_callers_program_is_a_comment_where_the_provider_wants_it() {
        let provider = provider().with_forward_user_agent(true);
        let agent = sent(&[("user-agent", "curl/8 (x86) \\ y")], &provider).remove(USER_AGENT).unwrap();
        assert!(agent.to_str().unwrap().ends_with(" (curl/8 x86  y)"), "{agent:?}");
    }

    #[test]
    fn an_idempotency_key_is_one_callers() {
        let key = |token: &'static str, key: &'static str| {
            sent(&[("authorization", token), ("idempotency-key", key)], &provider())[IDEMPOTENCY_KEY].clone()
        };
        let of_a = key("Bearer a", "k1");
        assert_eq!(of_a, key("Bearer a", "k1"));
        assert_ne!(of_a, key("Bearer b", "k1"));
        assert!(of_a.to_str().unwrap().ends_with("-k1") && !of_a.to_str().unwrap().contains("Bearer"));
        let (client, any) = (headers(&[("idempotency-key", "k1")]), HeaderValue::from_static("*/*"));
        let of = |caller: &str| {
            let caller = Some(CallerId::of(caller));
            HeadSettings::DEFAULT.request_headers(&client, caller, any.clone(), &provider())[IDEMPOTENCY_KEY].clone()
        };
        assert_eq!(of("alice"), of("alice"));
        assert_ne!(of("alice"), of("bob"), "the token has been removed");
    }

    #[test]
    fn an_allow_list_of_ones_own_replaces_the_default() {
        let own = HeadSettings { forwarded: Some([HeaderName::from_static("x-team")].into()), ..HeadSettings::DEFAULT };
        let client = headers(&[("x-team", "a"), ("openai-beta", "b")]);
        let sent = own.request_headers(&client, None, HeaderValue::from_static("*/*"), &provider());
        assert!(sent.contains_key("x-team") && !sent.contains_key("openai-beta"));
    }

    #[test]
    fn only_what_clients_read_is_returned() {
        let mut response = headers(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("set-cookie", "s"),
            ("x-ratelimit-remaining-requests", "3"),
            ("content-security-policy", "x"),
            ("openai-organization", "org"),
            ("x-request-id", "theirs"),
            ("openai-processing-ms", "12"),
            ("openai-version", "quotes sk-the-long-secret-key"),
        ]);
        let provider = provider().with_key("sk-the-long-secret-key").unwrap();
        sanitize_response_headers(&mut response, &provider);
        assert_eq!(response, headers(&[("x-upstream-request-id", "theirs"), ("openai-processing-ms", "12")]));
    }
}
