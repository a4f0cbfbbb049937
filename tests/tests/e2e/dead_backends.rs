//! One of two backends is dead in one of many ways: nobody notices, and it is left alone.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use berry_server::simulated::{Behavior, Fault};
use berry_tests::{Ask, Gateway, soon};
use futures_util::future::join_all;

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
/// thousand take long, the thousand are spread over the eight strategies.
const REQUESTS: usize = if cfg!(debug_assertions) { 125 } else { 1_000 };
/// Connections at once.
const AT_ONCE: usize = 8;
/// Failures in a row that open the breaker.
const THRESHOLD: usize = 5;

async fn cell(dead: &Behavior, strategy: &str, stream: bool) {
    let gateway = Gateway::builder()
        .provider("dead")
        .with("timeout_seconds = 1\nplain_timeout_seconds = 1")
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
    let ask = Ask::chat("pool", stream);
    let left = AtomicUsize::new(REQUESTS);
    let (gateway, ask, left) = (&gateway, &ask, &left);
    join_all((0..AT_ONCE).map(|_| async move {
        let mut connection = gateway.connect().await;
        while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            let reply = connection.ask(ask).await.expect("an answer");
            assert!(reply.is_good_chat(), "{strategy}, {dead:?}: {reply:?}");
            assert_eq!(reply.header("x-berry-backend"), "live:sim");
        }
    }))
    .await;
    // Those under way at once cannot know of each other's failure. The smart strategies go on to
    // ask it now and then, until the breaker opens.
    let calls = usize::try_from(gateway.calls(0)).unwrap_or(usize::MAX);
    let most = if strategy.starts_with("smart") { THRESHOLD + AT_ONCE - 1 } else { AT_ONCE };
    assert!((1..=most).contains(&calls), "{strategy}, {dead:?}, stream {stream}: the dead one was asked {calls} times");
    assert_eq!(gateway.calls(1), REQUESTS as u64);
}

async fn dead(fault: impl Into<Behavior>) {
    let behavior = fault.into();
    let cells = STRATEGIES.iter().flat_map(|strategy| [(*strategy, false), (*strategy, true)]);
    soon(join_all(cells.map(|(strategy, stream)| cell(&behavior, strategy, stream)))).await;
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
