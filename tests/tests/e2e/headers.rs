//! Request and response headers that the gateway forwards, removes or adds.

use berry_simulated::Fault;
use berry_tests::{Ask, Gateway, TOKEN};
use http::Method;

#[tokio::test]
async fn valid_request_id_is_returned_and_forwarded() {
    let gateway = Gateway::single().await;
    let reply = gateway.ask(&Ask::chat("pool", false).header("x-request-id", "mine-1")).await;
    assert_eq!(reply.header("x-request-id"), "mine-1");
    assert_eq!(gateway.providers[0].calls()[0].header("x-request-id"), "mine-1");
    assert_eq!(reply.header("x-upstream-request-id"), "req_a_0");
}

#[tokio::test]
async fn every_response_has_a_request_id() {
    let gateway = Gateway::single().await;
    let long = "x".repeat(129);
    let mut ids = Vec::new();
    for ask in [
        Ask::get("/livez"),
        Ask::get("/nowhere"),
        Ask::new(Method::DELETE, "/v1/models"),
        Ask::chat("pool", false),
        Ask::chat("pool", true).token("no-such-token-anywhere"),
        Ask::get("/livez").header("x-request-id", &long),
        Ask::get("/livez").header("x-request-id", "two words"),
        Ask::get("/livez").header("x-request-id", ""),
    ] {
        let reply = gateway.ask(&ask).await;
        let id = reply.header("x-request-id").to_owned();
        assert_eq!(id.len(), 36, "{ask:?}: {id}");
        assert!(!ids.contains(&id));
        ids.push(id);
    }
}

#[tokio::test]
async fn forwards_only_allowed_headers() {
    let gateway = Gateway::builder().provider("a").with(r#"headers = { "x-house" = "ours" }"#).start().await;
    let mut ask = Ask::chat("pool", false);
    let passed = [
        ("openai-beta", "assistants=v2"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "a=b"),
    ];
    let dropped = ["cookie", "openai-organization", "openai-project", "api-key", "x-forwarded-for", "referer"];
    for (name, value) in passed {
        ask = ask.header(name, value);
    }
    for name in dropped {
        ask = ask.header(name, "value-of-the-client");
    }
    for name in ["accept", "accept-encoding", "user-agent"] {
        ask = ask.header(name, "value-of-the-client");
    }
    // Both headers carry the same token. Two different tokens would be rejected with 401.
    ask = ask.header("x-api-key", TOKEN);
    ask = ask.header("idempotency-key", "once");
    assert_eq!(gateway.ask(&ask).await.status, 200);
    let seen = &gateway.providers[0].calls()[0];
    for (name, value) in passed {
        assert_eq!(seen.header(name), value, "{name}");
    }
    for name in dropped.into_iter().chain(["x-api-key"]) {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    assert_eq!((seen.header("accept"), seen.header("accept-encoding")), ("application/json", "identity"));
    assert!(seen.header("user-agent").starts_with("berry/"), "{}", seen.header("user-agent"));
    let key = seen.header("idempotency-key");
    assert!(key.ends_with("-once") && key.len() > "-once".len(), "{key}");
    assert_eq!(seen.header("x-house"), "ours");
    assert_eq!(seen.headers.get_all("authorization").iter().count(), 1);
    assert_eq!(seen.header("authorization"), format!("Bearer {}", gateway.providers[0].key()));
    let all = format!("{:?}{:?}", seen.headers, seen.body);
    assert!(!all.contains(TOKEN) && !all.contains("value-of-the-client"));
}

#[tokio::test]
async fn an_idempotency_key_of_one_user_is_not_that_of_another() {
    let bob = "token-of-bob-0123456789abcdef";
    let gateway = Gateway::builder().provider("a").tables(&format!("[users.bob]\ntoken = \"{bob}\"")).start().await;
    let ask = Ask::chat("pool", false).header("idempotency-key", "once");
    for ask in [ask.clone(), ask.clone().token(bob), ask] {
        assert_eq!(gateway.ask(&ask).await.status, 200);
    }
    let keys: Vec<_> =
        gateway.providers[0].calls().iter().map(|call| call.header("idempotency-key").to_owned()).collect();
    assert!(keys[0] == keys[2] && keys[0] != keys[1], "{keys:?}");
}

#[tokio::test]
async fn account_headers_are_not_forwarded() {
    let gateway = Gateway::single().await;
    for reply in [gateway.plain().await, gateway.stream().await] {
        for name in [
            "server",
            "set-cookie",
            "alt-svc",
            "strict-transport-security",
            "openai-organization",
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ] {
            assert!(!reply.headers.contains_key(name), "{name}");
        }
        assert_eq!(reply.header("openai-processing-ms"), "12");
        assert_eq!(reply.header("openai-version"), "2020-10-01");
        assert_eq!(reply.header("x-berry-backend"), "a:sim");
        assert_eq!(reply.header("x-berry-attempts"), "1");
    }
}

#[tokio::test]
async fn response_names_the_backend_and_the_attempts() {
    let gateway = Gateway::builder().provider("a").provider("b").backend("priority = 1").strategy("failover");
    let gateway = gateway.start().await;
    gateway.providers[0].set(Fault::Status(500).once());
    // The first request detects that the first provider fails. Later ones avoid it.
    for attempts in ["2", "1", "1"] {
        let reply = gateway.stream().await;
        assert_eq!(reply.header("x-berry-backend"), "b:sim");
        assert_eq!(reply.header("x-berry-attempts"), attempts);
    }
}
