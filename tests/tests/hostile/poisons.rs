//! What one tenant sends must not take providers from another.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use berry_tests::{Ask, request::chat};
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    attack_time,
    process::{ALICE, BOB, Gateway, configuration},
    upstream::{Http1, Received, Then, good, response},
};

/// The response to what a poisoned request has, as real providers give it: status, header, body.
pub(crate) fn refusal(request: &Received) -> Option<(&'static str, &'static str, &'static str)> {
    if request.has("too-large") {
        let error = r#"{"error":{"message":"Request too large for m on tokens per min (TPM): Limit 30000, Requested 90000","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#;
        return Some(("429 Too Many Requests", "retry-after: 60\r\n", error));
    }
    if request.has("always-fails") || request.has(r#""stream":"true""#) {
        let error = r#"{"error":{"message":"internal error","type":"server_error"}}"#;
        return Some(("500 Internal Server Error", "", error));
    }
    if request.head.contains("sqlmap") {
        return Some(("403 Forbidden", "", "<html>blocked</html>"));
    }
    None
}

/// A provider that refuses poisoned requests.
pub(crate) fn answer(request: &Received) -> (Vec<u8>, Then) {
    match refusal(request) {
        Some((status, headers, error)) => (response(status, headers, error), Then::Keep),
        None => good(),
    }
}

/// The four poisons.
pub(crate) fn poisons() -> [Ask; 4] {
    let saying = |text: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
        Ask::post("/v1/chat/completions", body.to_string()).token(ALICE)
    };
    let mut word = chat("m", true);
    word["stream"] = json!("true");
    [
        saying("too-large"),
        Ask::post("/v1/chat/completions", word.to_string()).token(ALICE),
        saying("always-fails"),
        Ask::chat("m", false).token(ALICE).header("user-agent", "sqlmap/1.7"),
    ]
}

/// Returns how many of another tenant's requests are served while Alice sends `poison`, and how many there are.
async fn served(poison: Ask) -> (usize, usize) {
    let providers = [Http1::start(answer).await, Http1::start(answer).await, Http1::start(answer).await];
    let [a, b, c] = providers.each_ref().map(Http1::url);
    let gateway = Arc::new(Gateway::start(&configuration("", "", &[("a", a, ""), ("b", b, ""), ("c", c, "")])).await);
    let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut attack = JoinSet::new();
    for _ in 0..4 {
        let (gateway, stop, sent, poison) = (gateway.clone(), stop.clone(), sent.clone(), poison.clone());
        attack.spawn(async move {
            while !stop.load(Relaxed) {
                gateway.try_ask(&poison).await;
                sent.fetch_add(1, Relaxed);
            }
        });
    }
    let (until, mut served, mut all) = (Instant::now() + attack_time(2), 0, 0);
    while Instant::now() < until || all < 100 || sent.load(Relaxed) < 20 {
        let reply = gateway.chat(BOB).await;
        all += 1;
        served += usize::from(reply.is_some_and(|reply| reply.status == 200));
    }
    stop.store(true, Relaxed);
    while attack.join_next().await.is_some() {}
    (served, all)
}

async fn check(poison: usize) {
    let (served, all) = served(poisons()[poison].clone()).await;
    assert!(served * 100 >= all * 99, "{served} of {all} requests were served");
}

#[tokio::test]
async fn prompts_that_are_too_large_take_no_provider_from_others() {
    check(0).await;
}

#[tokio::test]
async fn a_stream_flag_that_is_no_boolean_takes_no_provider_from_others() {
    check(1).await;
}

#[tokio::test]
async fn a_request_that_always_fails_takes_no_provider_from_others() {
    check(2).await;
}

#[tokio::test]
async fn a_user_agent_that_a_firewall_refuses_takes_no_provider_from_others() {
    check(3).await;
}

#[tokio::test]
async fn an_outage_that_several_tenants_meet_opens_the_breaker_at_the_threshold() {
    let error = || (response("500 Internal Server Error", "", "{}"), Then::Keep);
    let provider = Http1::start(move |_| error()).await;
    let settings = "max_retries = 0\ncircuit_breaker_failure_threshold = 5";
    let gateway = Gateway::start(&configuration(settings, "", &[("a", provider.url(), "")])).await;
    for round in 0..5 {
        gateway.chat(if round % 2 == 0 { ALICE } else { BOB }).await.unwrap();
    }
    assert_eq!(gateway.backend("a").await["circuit_state"], "open");
    assert_eq!(provider.requests(), 5);
}

#[tokio::test]
async fn an_outage_that_the_only_tenant_meets_opens_the_breaker_at_the_threshold() {
    let provider = Http1::start(|_| (Vec::new(), Then::Reset)).await;
    let settings = "max_retries = 0\ncircuit_breaker_failure_threshold = 5";
    let gateway = Gateway::start(&configuration(settings, "", &[("a", provider.url(), "")])).await;
    for _ in 0..5 {
        gateway.chat(ALICE).await.unwrap();
    }
    assert_eq!(gateway.backend("a").await["circuit_state"], "open");
}

#[tokio::test]
async fn a_request_that_gets_no_answer_anywhere_opens_no_breaker() {
    let answer = |request: &Received| match request.has("no-answer") {
        true => (response("200 OK", "", "{}"), Then::Keep),
        false => good(),
    };
    let providers = [Http1::start(answer).await, Http1::start(answer).await];
    let [a, b] = providers.each_ref().map(Http1::url);
    let models = "strategy = \"failover\"";
    let gateway = Gateway::start(&configuration("", models, &[("a", a, ""), ("b", b, "")])).await;
    for _ in 0..3 {
        assert_eq!(gateway.chat(BOB).await.unwrap().status, 200);
    }
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "no-answer"}]});
    let poison = Ask::post("/v1/chat/completions", body.to_string()).token(ALICE);
    for _ in 0..20 {
        assert_eq!(gateway.ask(&poison).await.status, 502);
    }
    for provider in ["a", "b"] {
        assert_eq!(gateway.backend(provider).await["circuit_state"], "closed", "{provider}");
    }
    assert_eq!(gateway.chat(BOB).await.unwrap().status, 200);
}
