//! Clients that disconnect: the upstream connection closes, and no slot stays occupied.

use std::time::Duration;

use berry_simulated::{Behavior, End, Fault, Provider};
use berry_tests::{Ask, Gateway, soon};
use futures_util::future::join_all;
use tokio::time::Instant;

/// Checks that the provider's connection closes soon after the client disconnects.
async fn closes_upstream(fault: Fault, stream: bool, has_head: bool) {
    let gateway = Gateway::single().await;
    gateway.providers[0].set(Behavior::from(fault.clone()).once());
    let mut connection = gateway.connect().await;
    connection.send(&Ask::chat("pool", stream).bytes()).await.expect("sent");
    soon(gateway.providers[0].wait_for(1)).await;
    if has_head {
        let mut reply = soon(connection.head()).await.expect("a head");
        soon(connection.more(&mut reply)).await;
    }
    let disconnected = Instant::now();
    drop(connection);
    soon(gateway.providers[0].wait_idle()).await;
    let ended = gateway.providers[0].calls()[0].ended.expect("it is idle");
    assert_eq!(ended.how, End::PeerClosed, "{fault:?}");
    let took = ended.at.saturating_duration_since(disconnected);
    assert!(took < Duration::from_secs(30), "{fault:?}: {took:?}");
    assert_eq!(gateway.calls(0), 1, "no further attempt");
    // The cancellation does not count as a failure of the backend.
    let health = gateway.ask(&Ask::get("/health")).await;
    assert_eq!(health.json()["status"], "healthy");
    assert!(gateway.plain().await.is_good_chat());
}

#[tokio::test]
async fn cancels_upstream_before_the_head() {
    closes_upstream(Fault::Silent, false, false).await;
    closes_upstream(Fault::Silent, true, false).await;
    closes_upstream(Fault::LateHead(Duration::from_secs(3600)), true, false).await;
    // The provider has sent its head, but no output yet.
    closes_upstream(Fault::LateFirstToken(Duration::from_secs(3600)), true, false).await;
    closes_upstream(Fault::StallAfter(1), false, false).await;
}

#[tokio::test]
async fn cancels_upstream_in_the_middle_of_a_stream() {
    closes_upstream(Fault::StallAfter(2), true, true).await;
    closes_upstream(Fault::Drip(Duration::from_millis(20)), true, true).await;
}

#[tokio::test]
async fn cancels_while_the_next_attempt_waits() {
    let gateway = Gateway::single().await;
    gateway.providers[0].set(Fault::Status(429).retry_after(5));
    let mut connection = gateway.connect().await;
    connection.send(&Ask::chat("pool", false).bytes()).await.expect("sent");
    soon(gateway.providers[0].wait_idle()).await;
    soon(gateway.providers[0].wait_for(1)).await;
    drop(connection);
    let clock = berry_tests::HeldClock::new();
    clock.seconds(30).await;
    assert_eq!(gateway.calls(0), 1, "no second attempt is made");
}

/// Sends one request of the mix. In three of five cases the client disconnects early.
async fn mixed_request(gateway: &Gateway, number: usize) {
    let ask = Ask::chat("pool", number.is_multiple_of(2));
    let mut connection = gateway.connect().await;
    match number % 5 {
        0 => drop(connection.send(&ask.bytes()[..40]).await),
        1 => drop(connection.send(&ask.bytes()).await),
        2 => {
            connection.send(&ask.bytes()).await.expect("sent");
            let _ = connection.head().await;
        }
        _ => drop(connection.ask(&ask).await),
    }
}

#[tokio::test]
async fn no_slot_stays_occupied_after_mixed_requests() {
    const EACH: usize = 400;
    // A leaked slot would show in the limits on concurrent requests.
    let limit = "[users.alice.rate_limit]\nmax_concurrent_requests = 16";
    let mut builder = Gateway::builder().user(limit).settings("max_retries = 1\nrecovery_check_interval_seconds = 1");
    for name in ["a", "b"] {
        builder = builder.provider(name).backend("max_in_flight = 8");
    }
    let gateway = builder.strategy("random").start().await;
    for provider in &gateway.providers {
        let faults = [
            Fault::CutAfter(2).percent(20).times(100),
            Fault::Status(400).times(20),
            Fault::Reset.percent(30).times(50),
            Fault::ErrorAfter(1).times(20),
            Fault::Short.percent(50).times(20),
        ];
        provider.script(faults);
    }
    let gateway = &gateway;
    soon(join_all((0..8).map(async |lane| {
        for i in 0..EACH / 8 {
            mixed_request(gateway, lane + i).await;
        }
    })))
    .await;
    for provider in &gateway.providers {
        soon(provider.wait_idle()).await;
        provider.heal();
    }
    assert_all_slots_free(gateway).await;
}

/// Asserts that all sixteen slots are free by occupying them with stalled streams.
async fn assert_all_slots_free(gateway: &Gateway) {
    use berry_simulated::Counts;
    gateway.providers.iter().for_each(|provider| provider.set(Fault::StallAfter(1)));
    let before: Vec<Counts> = gateway.providers.iter().map(Provider::counts).collect();
    let mut open = Vec::new();
    while open.len() < 16 {
        let mut connection = gateway.connect().await;
        let ask = async {
            connection.send(&Ask::chat("pool", true).bytes()).await.expect("sent");
            connection.head().await.expect("a head")
        };
        let reply = soon(ask).await;
        if reply.status == 200 {
            open.push(connection);
        } else {
            // The mix may have opened a breaker, or a disconnect may not be noticed yet.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for (provider, before) in gateway.providers.iter().zip(before) {
        assert_eq!(provider.counts().in_flight, 8, "{before:?}");
    }
    assert_eq!(gateway.plain().await.status, 429);
}
