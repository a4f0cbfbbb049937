//! The head of a request to an upstream, and of its answer to the client.

use http::{HeaderMap, HeaderName, header};

use crate::backend::Provider;

/// What of a client's headers goes to the upstream; everything else stays here. A `match`, since it
/// is asked of every header of every request.
fn is_passed_up(name: &str) -> bool {
    matches!(
        name,
        "content-type"
            | "accept"
            | "user-agent"
            | "openai-beta"
            | "anthropic-version"
            | "anthropic-beta"
            | "idempotency-key"
            | "traceparent"
            | "tracestate"
            | "x-request-id"
    )
}

/// How many these are.
const PASSED_UP: usize = 10;

/// What of an upstream's headers stays here: what belongs to the connection, and what speaks of
/// the gateway's account or of the provider's site.
fn is_kept_back(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "proxy-authenticate"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "keep-alive"
            | "proxy-connection"
            | "set-cookie"
            | "server"
            | "alt-svc"
            | "strict-transport-security"
            | "openai-organization"
            | "openai-project"
            | "anthropic-organization-id"
    ) || PREFIXES_KEPT_BACK.iter().any(|prefix| name.starts_with(prefix))
}

const PREFIXES_KEPT_BACK: [&str; 3] = ["access-control-", "x-ratelimit-", "anthropic-ratelimit-"];

/// What providers call the id that they gave a request; the first that is there counts.
const IDS: [HeaderName; 3] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("apim-request-id"),
];

/// The headers for the upstream: the client's by an allow-list, then the provider's own and its key.
pub(super) fn upward(client: &HeaderMap, provider: &Provider) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(PASSED_UP);
    for (name, value) in client {
        if is_passed_up(name.as_str()) {
            // Of a header that comes several times, the first.
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
    provider.insert_headers(&mut headers);
    headers
}

/// Takes out of an upstream's headers what is not for the client, and gives its request id another
/// name, since `x-request-id` is the gateway's own.
pub(super) fn downward(headers: &mut HeaderMap) {
    // A header that `Connection` names belongs to the connection too.
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    let named: Vec<HeaderName> =
        connection.flat_map(|v| v.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    // One pass over the few that are there is cheaper than looking for each that could be.
    let kept_back = |name: &&HeaderName| is_kept_back(name.as_str()) || named.contains(name);
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
        let provider = Provider::new("p", "https://host").unwrap().with_key("sk-up").unwrap();
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
