//! What one tenant sends must not take providers from another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use berry_tests::{Ask, request::chat};
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    attack_time,
    process::{ALICE, BOB, Gateway, configuration},
    upstream::{Http1, Received, Then, good, response},
};

/// A provider that fails for what a poisoned request has, as real ones do.
pub(crate) fn answer(request: &Received) -> (Vec<u8>, Then) {
    if request.has("too-large") {
        let error = r#"{"error":{"message":"Request too large for m on tokens per min (TPM): Limit 30000, Requested 90000","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#;
        return (response("429 Too Many Requests", "retry-after: 60\r\n", error), Then::Keep);
    }
    if request.has("always-fails") || request.has(r#""stream":"true""#) {
        let error = r#"{"error":{"message":"internal error","type":"server_error"}}"#;
        return (response("500 Internal Server Error", "", error), Then::Keep);
    }
    if request.head.contains("sqlmap") {
        return (response("403 Forbidden", "", "<html>blocked</html>"), Then::Keep);
    }
    good()
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
    while Instant::now() < until || all < 100 {
        let reply = gateway.chat(BOB).await;
        all += 1;
        served += usize::from(reply.is_some_and(|reply| reply.status == 200));
    }
    stop.store(true, Relaxed);
    while attack.join_next().await.is_some() {}
    assert!(sent.load(Relaxed) >= 10, "the attack took place");
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

/// The failures are under way together, so that each backend is picked before its health falls.
#[tokio::test(flavor = "multi_thread", worker_threads = 12)]
async fn a_caller_whom_one_provider_refuses_and_another_serves_opens_no_breaker() {
    const TOGETHER: usize = 3;
    let arrived = Arc::<AtomicUsize>::default();
    let (waiting, all) = (arrived.clone(), Duration::from_secs(10));
    let strict = Http1::start(move |request| {
        if request.has("always-fails") {
            waiting.fetch_add(1, Relaxed);
            let until = Instant::now() + all;
            tokio::task::block_in_place(|| {
                while waiting.load(Relaxed) < TOGETHER && Instant::now() < until {
                    std::thread::yield_now();
                }
            });
        }
        answer(request)
    })
    .await;
    let other = Http1::start(|_| good()).await;
    let providers = [("strict", strict.url(), ""), ("other", other.url(), "")];
    let settings = format!("circuit_breaker_failure_threshold = {TOGETHER}");
    let turns = "strategy = \"round_robin\"";
    let gateway = Arc::new(Gateway::start(&configuration(&settings, turns, &providers)).await);
    gateway.chat(BOB).await.unwrap();
    let mut requests = JoinSet::new();
    for _ in 0..10 {
        let gateway = gateway.clone();
        requests.spawn(async move { gateway.ask(&poisons()[2]).await.status });
    }
    while let Some(status) = requests.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert!(arrived.load(Relaxed) >= TOGETHER, "{arrived:?} requests failed");
    assert_eq!(gateway.backend("strict").await["circuit_state"], "closed");
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
