//! One of two backends is dead in one of many ways: nobody notices, and it is left alone.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use berry_server::simulated::{Behavior, Fault};
use berry_tests::{Ask, Gateway, soon};
use futures_util::future::join_all;
use tokio::time::timeout;

const STRATEGIES: [&str; 8] = [
    "random",
    "weighted_random",
    "round_robin",
    "least_latency",
    "failover",
    "weighted_failover",
    "smart_weighted_failover",
    "smart_ai",
];
/// The requests under each strategy, plain and again streamed. Without optimizations, where a
/// thousand each take minutes, the thousand are spread over the eight strategies, unless
/// `BERRY_E2E_REQUESTS` says otherwise.
fn requests() -> usize {
    let usual = if cfg!(debug_assertions) { 125 } else { 1_000 };
    std::env::var("BERRY_E2E_REQUESTS").map_or(usual, |number| number.parse().expect("a number of requests"))
}

/// Connections at once.
const AT_ONCE: u64 = 8;
/// Failures in a row that open the breaker.
const THRESHOLD: u64 = 5;

/// A gateway whose first provider is dead.
async fn gateway(dead: &Behavior, strategy: &str) -> Gateway {
    // Whoever is silent is waited for as short a time as may be.
    let is_silent = dead.faults.contains(&Fault::Silent);
    let gateway = Gateway::builder()
        .provider("dead")
        .with(if is_silent { "timeout_seconds = 1\nplain_timeout_seconds = 1" } else { "" })
        .backend("weight = 2.0")
        .counted()
        .provider("live")
        .backend("priority = 1")
        .counted()
        .strategy(strategy)
        .settings("recovery_check_interval_seconds = 86400\ncircuit_breaker_timeout_seconds = 86400")
        .start()
        .await;
    gateway.providers[0].set(dead.clone());
    gateway
}

async fn nobody_notices(gateway: &Gateway, stream: bool, what: &str) {
    let (ask, left) = (&Ask::chat("pool", stream), &AtomicUsize::new(requests()));
    join_all((0..AT_ONCE).map(|_| async move {
        let mut connection = gateway.connect().await;
        while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            let reply = connection.ask(ask).await.expect("an answer");
            assert!(reply.is_good_chat(), "{what}: {reply:?}");
            assert_eq!(reply.header("x-berry-backend"), "live:sim", "{what}");
        }
    }))
    .await;
}

/// How often the dead one may have been asked. Those under way at once cannot know of each other's
/// failure; after that it is left alone. The smart strategies go on to ask it now and then, until
/// the breaker opens.
fn may_be_asked(strategy: &str) -> u64 {
    if strategy.starts_with("smart") { THRESHOLD + AT_ONCE - 1 } else { AT_ONCE }
}

async fn dead(fault: impl Into<Behavior>) {
    let behavior = fault.into();
    let cells = STRATEGIES.iter().flat_map(|strategy| [(*strategy, false), (*strategy, true)]);
    // All start before any is asked: a start keeps this thread busy for longer than is good for
    // deadlines of a second.
    let start = async |(strategy, stream)| (gateway(&behavior, strategy).await, strategy, stream);
    let cells = soon(join_all(cells.map(start))).await;
    let run = cells.iter().map(async |(gateway, strategy, stream)| {
        let what = format!("{strategy}, {behavior:?}, stream {stream}");
        nobody_notices(gateway, *stream, &what).await;
        let calls = gateway.calls(0);
        assert!((1..=may_be_asked(strategy)).contains(&calls), "{what}: the dead one was asked {calls} times");
        assert_eq!(gateway.calls(1), requests() as u64, "{what}");
    });
    timeout(Duration::from_secs(600), join_all(run)).await.expect("an end");
}

#[tokio::test]
async fn internal_error() {
    dead(Fault::Status(500)).await;
}

#[tokio::test]
async fn unavailable() {
    dead(Fault::Status(503)).await;
}

#[tokio::test]
async fn rate_limited() {
    dead(Fault::Status(429).retry_after(600)).await;
}

#[tokio::test]
async fn key_refused() {
    dead(Fault::BadKey).await;
}

#[tokio::test]
async fn model_missing() {
    dead(Fault::Status(404)).await;
}

#[tokio::test]
async fn reset() {
    dead(Fault::Reset).await;
}

#[tokio::test]
async fn silence() {
    dead(Fault::Silent).await;
}

#[tokio::test]
async fn web_page() {
    dead(Fault::Html).await;
}
