use std::fmt;

use super::*;
use crate::error::Deadline;

/// An error of another layer around one of the table.
#[derive(Debug)]
struct Around<E>(E);

impl<E> fmt::Display for Around<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("around")
    }
}

impl<E: Error + 'static> Error for Around<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn exhausted(class: Class, status: u16, error: ErrorBody) -> Exhausted {
    let reason = "it went wrong at https://api.example/v1?key=abc";
    let exhausted = Exhausted::new(class, reason, 3).with_elapsed(NO_RETRY_AFTER);
    exhausted.with_status(StatusCode::from_u16(status).ok()).with_error(error)
}

fn kind(kind: &str) -> ErrorBody {
    ErrorBody { kind: Some(kind.into()), ..ErrorBody::default() }
}

#[track_caller]
fn check(error: impl Error + 'static, status: u16, kind: &str, code: Option<&str>) -> Refusal {
    let refusal = check_lone(error, status, kind, code);
    let is_final = status == 502 || status == 504;
    assert_eq!(refusal.headers.get("x-should-retry").is_some_and(|v| v == "false"), is_final);
    refusal
}

/// Checks the refusal for an error, wherever it is in the chain of sources.
#[track_caller]
fn check_lone(error: impl Error + 'static, status: u16, kind: &str, code: Option<&str>) -> Refusal {
    let around = Around(Around(error));
    let refusal = refusal_for(&around.0.0);
    for found in [&refusal, &refusal_for(&around)] {
        assert_eq!(found.status, status);
        assert_eq!(found.kind, kind);
        assert_eq!(found.code.as_deref(), code);
        assert!(!found.message.contains("://") && !found.message.contains("key="), "{}", found.message);
    }
    refusal
}

#[test]
fn unroutable_requests() {
    let second = Duration::from_secs(1);
    let unknown = check(Unroutable::UnknownModel, 404, CALLER, Some("model_not_found"));
    assert_eq!(unknown.param.as_deref(), Some("model"));
    check(Unroutable::NoBackendForUser, 403, "permission_error", Some("no_backend_for_user"));
    check(Unroutable::UnsupportedEndpoint, 400, CALLER, Some("unsupported_endpoint"));
    let e = Unroutable::UnsupportedParameter { param: "tools".into(), why: "no words".into() };
    assert_eq!(check(e, 400, CALLER, Some("unsupported_parameter")).param.as_deref(), Some("tools"));
    for (e, wait) in [
        (Unroutable::NoneAvailable { retry_after: 9 * second }, "9"),
        (Unroutable::OnlyTriedLeft { soonest: second / 2 }, "1"),
        (Unroutable::NoCandidates { has_fallback: false }, "1"),
    ] {
        assert_eq!(check(e, 503, SERVER, Some("no_backend_available")).headers["retry-after"], wait);
    }
    let open = check(BreakerOpen { retry_after: 3 * second }, 503, SERVER, Some("no_backend_available"));
    assert_eq!(open.headers["retry-after"], "3");
}

#[test]
fn suggests_a_retry_while_the_attempts_were_short() {
    for (class, status) in [(Class::Server, 502), (Class::Auth, 502), (Class::Timeout, 504)] {
        let short = exhausted(class, 0, ErrorBody::default()).with_elapsed(NO_RETRY_AFTER - Duration::from_millis(1));
        let refusal = refusal_for(&short);
        assert_eq!((refusal.status.as_u16(), &refusal.headers["retry-after"]), (status, &"1".parse().unwrap()));
        assert!(!refusal.headers.contains_key("x-should-retry"));
        let long = refusal_for(&short.with_elapsed(NO_RETRY_AFTER));
        assert_eq!(long.headers["x-should-retry"], "false");
        assert!(!long.headers.contains_key("retry-after"));
    }
}

#[test]
fn failures_at_the_provider() {
    let nothing = ErrorBody::default;
    let said = ErrorBody { message: Some("boom at https://x.y/z with sk-123456789".into()), ..nothing() };
    let refusal = check(exhausted(Class::Server, 500, said), 502, SERVER, Some("upstream_error"));
    assert_eq!(refusal.message, "all 3 attempts failed: the provider answered 500: boom at [address] with [key]");
    check(exhausted(Class::Network, 0, nothing()), 502, SERVER, Some("upstream_error"));
    check(exhausted(Class::LocalResource, 0, nothing()), 503, SERVER, Some("no_backend_available"));
    check(exhausted(Class::Auth, 401, nothing()), 502, SERVER, Some("upstream_auth"));
    check(exhausted(Class::Timeout, 0, nothing()), 504, SERVER, Some("upstream_timeout"));
    check(exhausted(Class::Server, 529, nothing()), 503, SERVER, Some("overloaded"));
    check(exhausted(Class::Server, 503, kind("overloaded_error")), 503, SERVER, Some("overloaded"));
    check(exhausted(Class::Server, 503, kind("other")), 502, SERVER, Some("upstream_error"));
    check(exhausted(Class::Server, 500, kind("overloaded_error")), 502, SERVER, Some("upstream_error"));
}

#[test]
fn refusals_of_the_provider_are_passed_on() {
    let limited = |retry_after| exhausted(Class::RateLimited { retry_after }, 429, ErrorBody::default());
    let refusal = check(limited(Some(Duration::from_millis(1500))), 429, "requests", Some("upstream_rate_limited"));
    assert_eq!(
        (&refusal.headers["retry-after"], &refusal.headers["retry-after-ms"]),
        (&"2".parse().unwrap(), &"1500".parse().unwrap())
    );
    let refusal = check(limited(None), 429, "requests", Some("upstream_rate_limited"));
    assert!(!refusal.headers.contains_key("retry-after"));

    let theirs = ErrorBody { code: Some("no_such".into()), param: Some("model".into()), ..kind("not_found") };
    check(exhausted(Class::Model, 404, theirs), 404, "not_found", Some("no_such"));
    check(exhausted(Class::Model, 404, ErrorBody::default()), 404, CALLER, Some("model_not_found"));
    check(exhausted(Class::EndpointNotServed, 404, ErrorBody::default()), 404, CALLER, Some("model_not_found"));
    let bound = || ErrorBody { code: Some("invalid_encrypted_content".into()), ..kind(CALLER) };
    let refusal =
        check(exhausted(Class::EndpointNotServed, 400, bound()), 400, CALLER, Some("invalid_encrypted_content"));
    assert_eq!(refusal.param, None);
    let unknown = ErrorBody { param: Some("input".into()), ..kind(CALLER) };
    let refusal = check(exhausted(Class::EndpointNotServed, 404, unknown), 404, CALLER, None);
    assert_eq!(refusal.param.as_deref(), Some("input"));
    check(exhausted(Class::TooLong, 413, ErrorBody::default()), 413, CALLER, None);
    check(exhausted(Class::ClientError, 422, kind("their_kind")), 422, "their_kind", None);
}

#[test]
fn failures_without_retry() {
    for (e, status, code) in [
        (Failure::Timeout(Deadline::Head), 504, "upstream_timeout"),
        (Failure::Connect("at https://10.0.0.1/".into()), 502, "upstream_error"),
        (Failure::ConnectionLost("reset".into()), 502, "upstream_error"),
        (Failure::InvalidResponse("no JSON"), 502, "upstream_error"),
        (Failure::Interrupted, 502, "upstream_error"),
        (Failure::ErrorEvent(Box::new(kind("server_error"))), 502, "upstream_error"),
        (Failure::ErrorEvent(Box::new(kind("overloaded_error"))), 503, "overloaded"),
    ] {
        // It took no time that is known, so the client may retry.
        let refusal = check_lone(e, status, SERVER, Some(code));
        assert!(refusal.headers.contains_key("retry-after") && !refusal.headers.contains_key("x-should-retry"));
    }
}

#[tokio::test(start_paused = true)]
async fn timeouts_and_internal_errors() {
    check(TotalTimeout, 504, SERVER, Some("upstream_timeout"));
    let elapsed = tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
    check(elapsed, 504, SERVER, Some("upstream_timeout"));
    check(tower::timeout::error::Elapsed::new(), 504, SERVER, Some("upstream_timeout"));
    let missing = check(MissingLayer("InspectLayer"), 500, SERVER, Some("internal_error"));
    assert!(missing.message.contains("InspectLayer"));
    let unknown = check(std::io::Error::other("secret"), 500, SERVER, Some("internal_error"));
    assert!(!unknown.message.contains("secret"));
}

#[test]
fn first_known_error_decides() {
    let refusal = refusal_for(&Failure::Connect(Box::new(TotalTimeout)));
    assert_eq!(refusal.status, 502);
}

#[test]
fn masks_keys_and_addresses_but_no_words() {
    for (text, masked_text) in [
        ("Incorrect API key provided: sk-abcd1234***wxyz. Find it at", "Incorrect API key provided: [key] Find it at"),
        ("a (https://a.b/c) b", "a [address] b"),
        ("model gpt-4o-mini-2024-07-18 does not exist", "model gpt-4o-mini-2024-07-18 does not exist"),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo  is busy\n", "meta-llama/Llama-3.3-70B-Instruct-Turbo  is busy\n"),
        ("key 0123456789abcdef0123456789abcdef!", "key [key]"),
        ("you asked for max_completion_tokens_per_day", "you asked for max_completion_tokens_per_day"),
        ("", ""),
    ] {
        assert_eq!(masked(text), masked_text);
    }
    assert!(masked(&"word ".repeat(1_000)).len() < 1_100);
}
