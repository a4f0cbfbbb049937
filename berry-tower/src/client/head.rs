//! The head of a request to an upstream, and of its answer to the client.

use http::{HeaderMap, HeaderName, header};

use crate::backend::Provider;

/// What of a client's headers goes to the upstream; everything else stays here.
const PASSED_UP: [HeaderName; 10] = [
    header::CONTENT_TYPE,
    header::ACCEPT,
    header::USER_AGENT,
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];

/// What of an upstream's headers stays here: what belongs to the connection, and what speaks of
/// the gateway's account or of the provider's site.
const KEPT_BACK: [HeaderName; 15] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::SET_COOKIE,
    header::SERVER,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
    HeaderName::from_static("anthropic-organization-id"),
];

/// What providers call the id that they gave a request; the first that is there counts.
const IDS: [HeaderName; 3] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("apim-request-id"),
];

const PREFIXES_KEPT_BACK: [&str; 3] = ["access-control-", "x-ratelimit-", "anthropic-ratelimit-"];

/// The headers for the upstream: the client's by an allow-list, then the provider's own and its key.
pub(super) fn upward(client: &HeaderMap, provider: &Provider) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(PASSED_UP.len() + provider.headers().len());
    for (name, value) in client {
        if PASSED_UP.contains(name) {
            // Of a header that comes several times, the first.
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
    for (name, value) in provider.headers() {
        headers.insert(name, value.clone());
    }
    headers
}

/// Takes out of an upstream's headers what is not for the client, and gives its request id another
/// name, since `x-request-id` is the gateway's own.
pub(super) fn downward(headers: &mut HeaderMap) {
    // A header that `Connection` names belongs to the connection too.
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let by_prefix = |name: &HeaderName| PREFIXES_KEPT_BACK.iter().any(|prefix| name.as_str().starts_with(prefix));
    let kept_back = |name: &&HeaderName| KEPT_BACK.contains(name) || named.contains(name) || by_prefix(name);
    // One pass over the few that are there is cheaper than looking for each that could be.
    let kept_back: Vec<HeaderName> = headers.keys().filter(kept_back).cloned().collect();
    for name in kept_back {
        headers.remove(name);
    }
    if headers.keys().any(|name| IDS.contains(name)) {
        let id = IDS.iter().fold(None, |found, id| found.or(headers.remove(id)));
        if let Some(id) = id {
            headers.insert(HeaderName::from_static("x-upstream-request-id"), id);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn the_callers_token_and_cookies_stay_here() {
        let provider = Provider::new("p", "https://host").unwrap().key("sk-up").unwrap();
        let sent = upward(
            &headers(&[
                ("authorization", "Bearer the-callers"),
                ("cookie", "c"),
                ("openai-organization", "org"),
                ("x-api-key", "the-callers"),
                ("accept", "*/*"),
                ("x-request-id", "id"),
            ]),
            &provider,
        );
        assert_eq!(sent.len(), 3);
        assert_eq!(sent["authorization"], "Bearer sk-up");
        assert_eq!(
            (&sent["accept"], &sent["x-request-id"]),
            (&HeaderValue::from_static("*/*"), &HeaderValue::from_static("id"))
        );
    }

    #[test]
    fn what_belongs_to_the_upstreams_connection_or_account_is_not_passed_down() {
        let mut answer = headers(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("set-cookie", "s"),
            ("x-ratelimit-remaining-requests", "3"),
            ("access-control-allow-origin", "*"),
            ("openai-organization", "org"),
            ("x-request-id", "theirs"),
            ("openai-processing-ms", "12"),
        ]);
        downward(&mut answer);
        assert_eq!(answer, headers(&[("x-upstream-request-id", "theirs"), ("openai-processing-ms", "12")]));
    }
}
