//! Responses to what is no valid HTTP request, in the error shape of all others.
//!
//! hyper answers such a request by itself, with an empty body, before any service sees it.

use std::fmt::Write as _;

use bytes::Bytes;
use uuid::Uuid;

const HEAD_TOO_LARGE: &str = "the head of the request is larger than 64 KiB";

/// Returns the response to a head that is too large.
pub(super) fn head_too_large() -> Bytes {
    response("HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n", "431")
}

/// Returns the response to a head that comes too slowly.
pub(super) fn head_too_slow() -> Bytes {
    response("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n", "408")
}

/// Returns the response to a request that had begun when its connection was closed for another one.
pub(super) fn displaced() -> Bytes {
    response("HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n", "503")
}

/// Returns the response to a client that takes HTTP/2 for granted.
pub(super) fn not_http1() -> Bytes {
    response("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n", "400")
}

/// Returns hyper's response with a body, if `written` is the whole of a response that hyper made by itself. All
/// responses of the gateway have an `x-request-id`.
pub(super) fn with_body(written: &[u8]) -> Option<Bytes> {
    if !written.starts_with(b"HTTP/1.1 4") && !written.starts_with(b"HTTP/1.0 4") {
        return None;
    }
    let text = str::from_utf8(written).ok()?;
    let head = text.strip_suffix("\r\n\r\n")?;
    let is = |line: &str, name: &str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
    if head.contains("\r\n\r\n") || head.lines().any(|line| is(line, "x-request-id")) {
        return None;
    }
    let mut kept = String::with_capacity(head.len());
    for line in head.lines().filter(|line| !is(line, "content-length")) {
        kept.push_str(line);
        kept.push_str("\r\n");
    }
    Some(response(&kept, text.get(9..12)?))
}

fn response(head: &str, status: &str) -> Bytes {
    const CALLER: &str = "invalid_request_error";
    let (message, kind, code) = match status {
        "408" => ("the head of the request came too slowly", CALLER, r#""request_timeout""#),
        "414" => ("the path of the request is too long", CALLER, r#""uri_too_long""#),
        "431" => (HEAD_TOO_LARGE, CALLER, r#""headers_too_large""#),
        "503" => ("this gateway has more connections than it can serve", "server_error", r#""overloaded""#),
        _ => ("the request is not valid HTTP/1.1", CALLER, "null"),
    };
    let body = format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":{code}}}}}"#);
    let mut response = head.to_owned();
    let _ = write!(
        response,
        "content-type: application/json\r\ncontent-length: {}\r\nx-request-id: {}\r\n\r\n{body}",
        body.len(),
        Uuid::new_v4()
    );
    response.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_a_body_to_responses_of_hyper_only() {
        let made = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let text = String::from_utf8(with_body(made).unwrap().to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ndate: now\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\nx-request-id: ", body.len())), "{head}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["error"]["type"], "invalid_request_error");

        for other in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            "data: HTTP/1.1 400\r\n\r\n",
        ] {
            assert_eq!(with_body(other.as_bytes()), None, "{other}");
        }
    }
}
