//! The error that the client gets when all attempts have failed.

use std::time::Duration;

use berry_simulated::{Behavior, Fault, Refusal};
use berry_tests::{Gateway, HeldClock, Reply, soon};

/// Sends a request to a gateway whose two backends both have the given behaviour.
async fn reply_to(behavior: impl Into<Behavior>, stream: bool) -> (Reply, Gateway) {
    let behavior = behavior.into();
    let gateway = Gateway::builder().provider("a").provider("b").settings("max_internal_retries = 0").start().await;
    for provider in &gateway.providers {
        provider.set(behavior.clone());
    }
    let reply = if stream { gateway.stream().await } else { gateway.plain().await };
    (reply, gateway)
}

async fn assert_error(fault: impl Into<Behavior>, status: u16, kind: &str, code: &str) {
    let behavior = fault.into();
    for stream in [false, true] {
        let (reply, gateway) = reply_to(behavior.clone(), stream).await;
        assert_eq!(reply.verdict(), (status, kind.to_owned(), Some(code.to_owned())), "{behavior:?}: {reply:?}");
        assert_eq!(reply.header("x-berry-attempts"), "2", "{behavior:?}");
        assert_eq!((gateway.calls(0), gateway.calls(1)), (1, 1), "{behavior:?}");
        // The attempts were short, so a retry by the client may succeed.
        assert_eq!(reply.header("x-should-retry"), "", "{behavior:?}");
        if matches!(status, 502..=504) {
            assert_eq!(reply.header("retry-after"), "1", "{behavior:?}");
        }
    }
}

#[tokio::test]
async fn provider_failure_is_a_502() {
    for fault in [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Reset,
        Fault::Html,
        Fault::Empty,
        Fault::Swap,
        Fault::CutAfter(0),
        Fault::ErrorFirst,
    ] {
        assert_error(fault, 502, "server_error", "upstream_error").await;
    }
    for fault in [Fault::Short, Fault::Chopped] {
        let (reply, _) = reply_to(fault.clone(), false).await;
        assert_eq!(reply.verdict().2.as_deref(), Some("upstream_error"), "{fault:?}: {reply:?}");
    }
}

#[tokio::test]
async fn error_message_quotes_the_provider() {
    let refusal = Refusal::new(500, "server_error", "the cooling of rack 12 has failed, see http://10.1.2.3:80/status");
    let (reply, _) = reply_to(Fault::Refuse(refusal), false).await;
    let message = reply.error()["message"].to_string();
    assert!(message.contains("the cooling of rack 12 has failed") && message.contains("500"), "{message}");
    assert!(!message.contains("10.1.2.3"), "{message}");
}

#[tokio::test]
async fn rejected_provider_key_is_a_502() {
    for fault in [Fault::BadKey, Fault::Status(402), Fault::Status(403), Fault::Quota] {
        assert_error(fault, 502, "server_error", "upstream_auth").await;
    }
}

#[tokio::test]
async fn overload_is_a_503() {
    assert_error(Fault::Overloaded, 503, "server_error", "overloaded").await;
    assert_error(Fault::Status(529), 503, "server_error", "overloaded").await;
}

#[tokio::test]
async fn rate_limit_is_a_429_with_the_providers_wait() {
    assert_error(Fault::Status(429).retry_after(77), 429, "requests", "upstream_rate_limited").await;
    let (reply, _) = reply_to(Fault::Status(429).retry_after(77), true).await;
    assert_eq!(reply.header("retry-after"), "77");
}

#[tokio::test]
async fn missing_model_is_a_404_with_the_providers_message() {
    assert_error(Fault::Status(404), 404, "invalid_request_error", "model_not_found").await;
}

#[tokio::test]
async fn client_error_passes_unchanged() {
    for (status, code) in [(400, "bad_thing"), (409, "conflict"), (413, "too_long"), (422, "odd"), (418, "teapot")] {
        let refusal = Refusal::new(status, "a_type", "explained").code(code).param("messages");
        let (reply, gateway) = reply_to(Fault::Refuse(refusal), false).await;
        let error = reply.error();
        assert_eq!(reply.status, status);
        assert_eq!(
            (&error["type"], &error["code"], &error["param"]),
            (&"a_type".into(), &code.into(), &"messages".into())
        );
        assert_eq!(error["message"], "explained");
        assert_eq!(gateway.calls(0) + gateway.calls(1), 1, "nothing is retried");
    }
}

#[tokio::test]
async fn silent_providers_are_a_504() {
    let clock = HeldClock::new();
    for stream in [false, true] {
        let gateway = Gateway::builder().provider("a").provider("b").strategy("failover").start().await;
        gateway.providers.iter().for_each(|provider| provider.set(Fault::Silent));
        let ask = async { if stream { gateway.stream().await } else { gateway.plain().await } };
        let wait = async {
            for calls in 1..=2 {
                let attempted = async {
                    while gateway.calls(0) + gateway.calls(1) < calls {
                        tokio::task::yield_now().await;
                    }
                };
                soon(attempted).await;
                clock.seconds(if stream { 31 } else { 301 }).await;
            }
        };
        let (reply, ()) = tokio::join!(ask, wait);
        assert_eq!(reply.verdict(), (504, "server_error".into(), Some("upstream_timeout".into())));
        assert_eq!(reply.header("x-should-retry"), "false");
        assert_eq!((gateway.calls(0), gateway.calls(1)), (1, 1));
    }
}

#[tokio::test]
async fn total_timeout_ends_all_attempts_without_blaming_a_backend() {
    let clock = HeldClock::new();
    let gateway = Gateway::builder().provider("a").settings("total_timeout_seconds = 20").start().await;
    gateway.providers[0].set(Fault::Silent.once());
    let wait = async {
        soon(gateway.providers[0].wait_for(1)).await;
        clock.seconds(21).await;
    };
    let (reply, ()) = tokio::join!(gateway.plain(), wait);
    assert_eq!(reply.verdict().2.as_deref(), Some("upstream_timeout"), "{reply:?}");
    assert_eq!(reply.status, 504);
    let health = gateway.ask(&berry_tests::Ask::get("/health")).await;
    assert_eq!(health.json()["status"], "healthy");
}

#[tokio::test]
async fn cooling_backends_are_a_503_with_the_wait() {
    let clock = HeldClock::new();
    let (first, gateway) = reply_to(Fault::Status(429).retry_after(60), false).await;
    assert_eq!(first.status, 429);
    clock.advance(Duration::from_millis(20_500)).await;
    let reply = gateway.plain().await;
    assert_eq!(reply.verdict(), (503, "server_error".into(), Some("no_backend_available".into())));
    assert_eq!(reply.header("retry-after"), "40");
    assert_eq!(gateway.calls(0) + gateway.calls(1), 2, "no further attempt was made");
    clock.seconds(40).await;
    gateway.providers.iter().for_each(berry_simulated::Provider::heal);
    assert!(gateway.plain().await.is_good_chat());
}

#[tokio::test]
async fn reports_the_most_specific_of_several_failures() {
    let first = |a: Fault, b: Fault| async move {
        let gateway = Gateway::builder().provider("a").provider("b").settings("max_internal_retries = 0").start().await;
        gateway.providers[0].set(a);
        gateway.providers[1].set(b);
        gateway.plain().await.verdict().2.unwrap_or_default()
    };
    for (code, better, worse) in [
        ("upstream_rate_limited", Fault::Status(429), Fault::Status(500)),
        ("upstream_error", Fault::Status(500), Fault::BadKey),
        ("upstream_auth", Fault::BadKey, Fault::Status(404)),
        ("upstream_error", Fault::Reset, Fault::BadKey),
    ] {
        assert_eq!(first(better.clone(), worse.clone()).await, code);
        assert_eq!(first(worse, better).await, code);
    }
}
