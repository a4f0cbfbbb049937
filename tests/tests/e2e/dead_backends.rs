//! One of two backends is dead in one of many ways. Every request succeeds, and the dead backend gets
//! almost no traffic.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use berry_simulated::{Behavior, Fault};
use berry_tests::{Ask, Gateway, HeldClock, soon};
use berry_tower::backend::strategy::NAMES;
use futures_util::future::join_all;
use tokio::time::timeout;

/// Returns the number of plain and of streamed requests under each strategy. In a debug build, where a
/// thousand per strategy take minutes, the thousand are divided among the eight strategies.
/// `BERRY_E2E_REQUESTS` overrides both numbers.
fn requests() -> usize {
    let default = if cfg!(debug_assertions) { 125 } else { 1_000 };
    std::env::var("BERRY_E2E_REQUESTS").map_or(default, |number| number.parse().expect("a number of requests"))
}

/// The number of parallel connections.
const CONCURRENCY: u64 = 8;
/// The number of consecutive failures that open the breaker.
const THRESHOLD: u64 = 5;

/// Starts a gateway whose first provider is dead.
async fn gateway(dead: &Behavior, strategy: &str) -> Gateway {
    // The shortest timeouts keep the test with a silent provider short.
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

async fn assert_all_requests_succeed(gateway: &Gateway, stream: bool, what: &str) {
    let (ask, remaining) = (&Ask::chat("pool", stream), &AtomicUsize::new(requests()));
    join_all((0..CONCURRENCY).map(|_| async move {
        let mut connection = gateway.connect().await;
        while remaining.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
            let reply = connection.ask(ask).await.expect("an answer");
            assert!(reply.is_good_chat(), "{what}: {reply:?}");
            assert_eq!(reply.header("x-berry-backend"), "live:sim", "{what}");
        }
    }))
    .await;
}

/// Checks the number of requests that the dead backend received. Each parallel connection may fail
/// once before the backend is avoided. The smart strategies try it now and then until the breaker
/// opens.
fn assert_dead_backend_is_avoided(gateway: &Gateway, strategy: &str, what: &str) {
    let max = if strategy.starts_with("smart") { THRESHOLD + CONCURRENCY - 1 } else { CONCURRENCY };
    let calls = gateway.calls(0);
    assert!((1..=max).contains(&calls), "{what}: the dead backend received {calls} requests");
    assert_eq!(gateway.calls(1), requests() as u64, "{what}");
}

async fn assert_tolerates(fault: impl Into<Behavior>) {
    let behavior = fault.into();
    let cells = NAMES.iter().flat_map(|strategy| [(*strategy, false), (*strategy, true)]);
    let run = cells.map(async |(strategy, stream)| {
        let gateway = gateway(&behavior, strategy).await;
        let what = format!("{strategy}, {behavior:?}, stream {stream}");
        assert_all_requests_succeed(&gateway, stream, &what).await;
        assert_dead_backend_is_avoided(&gateway, strategy, &what);
    });
    timeout(Duration::from_secs(600), join_all(run)).await.expect("the test ends within ten minutes");
}

#[tokio::test]
async fn tolerates_internal_errors() {
    assert_tolerates(Fault::Status(500)).await;
}

#[tokio::test]
async fn tolerates_unavailability() {
    assert_tolerates(Fault::Status(503)).await;
}

#[tokio::test]
async fn tolerates_rate_limits() {
    assert_tolerates(Fault::Status(429).retry_after(600)).await;
}

#[tokio::test]
async fn tolerates_a_rejected_key() {
    assert_tolerates(Fault::BadKey).await;
}

#[tokio::test]
async fn tolerates_a_missing_model() {
    assert_tolerates(Fault::Status(404)).await;
}

#[tokio::test]
async fn tolerates_connection_resets() {
    assert_tolerates(Fault::Reset).await;
}

/// The test advances the clock itself, so that a slow machine does not look like a silent provider.
#[tokio::test]
async fn tolerates_silence() {
    let clock = HeldClock::new();
    let silent = Behavior::from(Fault::Silent);
    for (strategy, stream) in NAMES.iter().flat_map(|strategy| [(*strategy, false), (*strategy, true)]) {
        let gateway = gateway(&silent, strategy).await;
        let what = format!("{strategy}, silence, stream {stream}");
        // The clock advances when a request waits for the silent provider, once per change of its counts.
        let advance_clock = async {
            let provider = &gateway.providers[0];
            loop {
                provider.wait_until(|counts| counts.in_flight > 0).await;
                let seen = provider.counts();
                clock.advance(Duration::from_millis(1_001)).await;
                provider.wait_until(|counts| (counts.calls, counts.in_flight) != (seen.calls, seen.in_flight)).await;
            }
        };
        let ask = soon(assert_all_requests_succeed(&gateway, stream, &what));
        tokio::select! {
            () = ask => {}
            () = advance_clock => unreachable!("the clock advances forever"),
        }
        assert_dead_backend_is_avoided(&gateway, strategy, &what);
    }
}

#[tokio::test]
async fn tolerates_web_pages() {
    assert_tolerates(Fault::Html).await;
}
