#![allow(clippy::unwrap_used, reason = "tests may panic, and so may their helpers")]

use std::{io, time::Duration};

use http::{HeaderMap, Method, Response, StatusCode, Uri};

use super::*;
use crate::error::Failure;

const LIMITED: Class = Class::RateLimited { retry_after: None };

fn head(status: u16) -> Parts {
    Response::builder().status(status).body(()).unwrap().into_parts().0
}

fn class(status: u16, error: impl Into<Option<ErrorBody>>) -> Class {
    ModelApiVerdict.response(&RequestFacts::default(), &head(status), error.into().as_ref())
}

fn code(code: &str) -> Option<ErrorBody> {
    Some(ErrorBody::default().with_code(code))
}

#[test]
fn maps_each_status_of_a_model_api() {
    for (status, expected) in [
        (200, Class::Success),
        (302, Class::Server),
        (400, Class::ClientError),
        (401, Class::Auth),
        (402, Class::Auth),
        (403, Class::Auth),
        (404, Class::Model),
        (408, Class::Timeout),
        (409, Class::ClientError),
        (413, Class::ClientError),
        (422, Class::ClientError),
        (429, LIMITED),
        (500, Class::Server),
        (503, Class::Server),
        (529, Class::Server),
    ] {
        assert_eq!(class(status, None), expected, "{status}");
    }
}

#[test]
fn only_5xx_and_429_and_408_mean_something_in_plain_http() {
    let class = |status| HttpVerdict.response(&RequestFacts::default(), &head(status), None);
    for status in (100..=999).filter_map(|status| StatusCode::from_u16(status).ok()).map(|status| status.as_u16()) {
        let expected = match status {
            ..400 => Class::Success,
            408 => Class::Timeout,
            429 => LIMITED,
            400..500 => Class::ClientError,
            _ => Class::Server,
        };
        assert_eq!(class(status), expected, "{status}");
    }
}

#[test]
fn the_typed_body_decides_where_the_status_does_not() {
    assert_eq!(class(403, code("content_policy_violation")), Class::ClientError);
    assert_eq!(class(400, code("context_length_exceeded")), Class::TooLong);
    assert_eq!(class(429, code("insufficient_quota")), Class::Auth);
    assert_eq!(class(400, ErrorBody::default().with_reason("API_KEY_INVALID")), Class::Auth);
    let text = ErrorBody::default().with_message("context_length_exceeded");
    assert_eq!(class(400, text), Class::ClientError, "a text is not searched");
    assert_eq!(class(400, ErrorBody::default().with_class(Class::Model)), Class::Model, "the vendor's own");
}

#[test]
fn a_request_that_no_limit_allows_is_no_rate_limit() {
    let tokens = |text| class(429, ErrorBody::default().with_kind("tokens").with_message(text));
    assert_eq!(tokens("Request too large for m on tokens per min (TPM): Limit 30, Requested 120."), Class::TooLong);
    assert_eq!(tokens("Rate limit reached for m on tokens per min (TPM): Limit 30, Used 29."), LIMITED);
    let requests = ErrorBody::default().with_kind("requests").with_message("Request too large");
    assert_eq!(class(429, requests), LIMITED);
}

#[test]
fn a_404_is_a_missing_model_only_on_conversations() {
    for (path, expected) in [("/v1/chat/completions", Class::Model), ("/v1/embeddings", Class::EndpointNotServed)] {
        let request = RequestFacts::new(Method::POST, Uri::from_static(path));
        assert_eq!(ModelApiVerdict.response(&request, &head(404), None), expected, "{path}");
    }
}

#[test]
fn an_error_event_is_the_callers_fault_only_where_its_code_says_so() {
    let event = |code: &str| Failure::ErrorEvent(Box::new(self::code(code).unwrap())).class();
    assert_eq!(event("context_length_exceeded"), Class::TooLong);
    assert_eq!(event("content_policy_violation"), Class::ClientError);
    assert_eq!(event("server_error"), Class::Server);
}

#[derive(Debug)]
struct Wrapper(crate::error::BoxError);

impl std::fmt::Display for Wrapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wrapped")
    }
}

impl Error for Wrapper {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_judged_by_the_types_in_its_chain() {
    use io::{Error, ErrorKind};
    let tokio_timeout = tokio::time::timeout(Duration::ZERO, std::future::pending::<()>()).await.unwrap_err();
    let cases: [(crate::error::BoxError, Class); 9] = [
        ("a foreign error".into(), Class::Server),
        (tokio_timeout.into(), Class::Timeout),
        (tower::timeout::error::Elapsed::new().into(), Class::Timeout),
        (Error::from(ErrorKind::TimedOut).into(), Class::Timeout),
        (Error::from(ErrorKind::ConnectionRefused).into(), Class::Network),
        (Error::from(ErrorKind::AddrNotAvailable).into(), Class::LocalResource),
        (Error::other(tower::timeout::error::Elapsed::new()).into(), Class::Timeout),
        (Error::other("disk full").into(), Class::Server),
        (Failure::Interrupted.into(), Class::Network),
    ];
    for (error, expected) in cases {
        let text = error.to_string();
        assert_eq!(class_of_error(&*error), expected, "{text}");
        assert_eq!(class_of_error(&Wrapper(error)), expected, "{text}, wrapped");
    }
}

#[cfg(unix)]
#[test]
fn a_lack_of_descriptors_is_a_lack_of_this_machine() {
    assert_eq!(class_of_error(&io::Error::from_raw_os_error(24)), Class::LocalResource);
    assert!(Class::LocalResource.fails_over() && !Class::LocalResource.is_error());
}

#[test]
fn retry_after_is_read_in_all_its_spellings_and_bounded() {
    let read = |name: &'static str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        retry_after(&headers)
    };
    assert_eq!(read("retry-after", "2"), Some(Duration::from_secs(2)));
    assert_eq!(read("retry-after-ms", "1500"), Some(Duration::from_millis(1500)));
    assert_eq!(read("retry-after", "86400"), Some(MAX_RETRY_AFTER));
    assert_eq!(read("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!(read("retry-after", "-3"), Some(Duration::ZERO));
    assert_eq!(read("retry-after", "NaN"), None);
    assert_eq!(read("retry-after", "soon"), None);
}
