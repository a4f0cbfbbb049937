//! One of two backends is dead in one of many ways: nobody notices, and it is left alone.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use berry_simulated::{Behavior, Fault};
use berry_tests::{Ask, Gateway, HeldClock, soon};
use berry_tower::select::strategy::NAMES;
use futures_util::future::join_all;
use tokio::time::timeout;

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

/// How often the dead one was asked. Those under way at once cannot know of each other's failure;
/// after that it is left alone. The smart strategies go on to ask it now and then, until the
/// breaker opens.
fn are_counted(gateway: &Gateway, strategy: &str, what: &str) {
    let most = if strategy.starts_with("smart") { THRESHOLD + AT_ONCE - 1 } else { AT_ONCE };
    let calls = gateway.calls(0);
    assert!((1..=most).contains(&calls), "{what}: the dead one was asked {calls} times");
    assert_eq!(gateway.calls(1), requests() as u64, "{what}");
}

async fn dead(fault: impl Into<Behavior>) {
    let behavior = fault.into();
    let cells = NAMES.iter().flat_map(|strategy| [(*strategy, false), (*strategy, true)]);
    let run = cells.map(async |(strategy, stream)| {
        let gateway = gateway(&behavior, strategy).await;
        let what = format!("{strategy}, {behavior:?}, stream {stream}");
        nobody_notices(&gateway, stream, &what).await;
        are_counted(&gateway, strategy, &what);
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

/// Silence lasts as long as this clock says, so that a busy machine is not taken for a silent
/// provider.
#[tokio::test]
async fn silence() {
    let clock = HeldClock::new();
    let silent = Behavior::from(Fault::Silent);
    for (strategy, stream) in NAMES.iter().flat_map(|strategy| [(*strategy, false), (*strategy, true)]) {
        let gateway = gateway(&silent, strategy).await;
        let what = format!("{strategy}, silence, stream {stream}");
        // Only once somebody waits for the silent one, and once for each change there.
        let pass = async {
            let provider = &gateway.providers[0];
            loop {
                provider.wait_until(|counts| counts.in_flight > 0).await;
                let seen = provider.counts();
                clock.advance(Duration::from_millis(1_001)).await;
                provider.wait_until(|counts| (counts.calls, counts.in_flight) != (seen.calls, seen.in_flight)).await;
            }
        };
        let ask = soon(nobody_notices(&gateway, stream, &what));
        tokio::select! {
            () = ask => {}
            () = pass => unreachable!("the time passes for ever"),
        }
        are_counted(&gateway, strategy, &what);
    }
}

#[tokio::test]
async fn web_page_is_a_502() {
    dead(Fault::Html).await;
}
