//! A backend that stays dead is left alone, and comes back when it lives.

use berry_simulated::{Fault, Provider};
use berry_tests::{Ask, Gateway, HeldClock};

async fn pair(strategy: &str) -> Gateway {
    let settings = "recovery_check_interval_seconds = 10\ncircuit_breaker_timeout_seconds = 60";
    let gateway = Gateway::builder().provider("a").provider("b").backend("priority = 1").strategy(strategy);
    gateway.settings(settings).start().await
}

async fn some_requests(gateway: &Gateway) {
    for number in 0..6 {
        let reply = gateway.ask(&Ask::chat("pool", number % 2 == 0)).await;
        assert!(reply.is_good_chat(), "{reply:?}");
    }
}

#[tokio::test]
async fn unhealthy_backend_gets_one_trial_per_interval() {
    let clock = HeldClock::new();
    let gateway = pair("failover").await;
    gateway.providers[0].set(Fault::Status(500));
    // The first failure makes it unhealthy; then a trial each ten seconds; the fifth opens.
    for calls in 1..=5 {
        some_requests(&gateway).await;
        assert_eq!(gateway.calls(0), calls);
        clock.seconds(9).await;
        some_requests(&gateway).await;
        assert_eq!(gateway.calls(0), calls, "not before the interval is over");
        clock.seconds(2).await;
    }
    // Open for a minute from the fifth failure on: not even trials.
    for _ in 0..4 {
        some_requests(&gateway).await;
        assert_eq!(gateway.calls(0), 5);
        clock.seconds(12).await;
    }
    clock.seconds(4).await;
    // Half-open: one trial, which fails, and a minute anew.
    some_requests(&gateway).await;
    assert_eq!(gateway.calls(0), 6);
    clock.seconds(50).await;
    some_requests(&gateway).await;
    assert_eq!(gateway.calls(0), 6);
    // Then it lives, and the next trial brings it back.
    gateway.providers[0].heal();
    clock.seconds(11).await;
    some_requests(&gateway).await;
    let back = gateway.calls(0);
    assert!(back > 6, "a trial");
    some_requests(&gateway).await;
    assert_eq!(gateway.calls(0), back + 6, "failover prefers it again");
}

#[tokio::test]
async fn dead_backends_are_tried_until_their_breakers_open() {
    let clock = HeldClock::new();
    let gateway = pair("failover").await;
    gateway.providers.iter().for_each(|provider| provider.set(Fault::Status(500)));
    let mut codes = Vec::new();
    for _ in 0..20 {
        // Each failed request waits for its back-off before it comes back to a backend.
        let ask = gateway.plain();
        let mut ask = std::pin::pin!(ask);
        let reply = loop {
            tokio::select! {
                biased;
                reply = &mut ask => break reply,
                () = tokio::task::yield_now() => clock.advance(std::time::Duration::from_millis(1)).await,
            }
        };
        codes.push(reply.verdict().2.unwrap_or_default());
    }
    assert_eq!(codes[0], "upstream_error");
    assert_eq!(codes[19], "no_backend_available", "{codes:?}");
    assert!(gateway.calls(0) <= 6 && gateway.calls(1) <= 6, "{} {}", gateway.calls(0), gateway.calls(1));
    let health = gateway.ask(&Ask::get("/health")).await;
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (503, &"unhealthy".into()));
    gateway.providers.iter().for_each(Provider::heal);
    clock.seconds(61).await;
    assert!(gateway.plain().await.is_good_chat());
    assert_eq!(gateway.ask(&Ask::get("/health")).await.json()["status"], "degraded");
    clock.seconds(11).await;
    some_requests(&gateway).await;
}

#[tokio::test]
async fn cool_down_lasts_as_long_as_requested() {
    let clock = HeldClock::new();
    let gateway = pair("failover").await;
    gateway.providers[0].set(Fault::Status(429).retry_after(30).once());
    some_requests(&gateway).await;
    assert_eq!(gateway.calls(0), 1);
    clock.seconds(29).await;
    some_requests(&gateway).await;
    assert_eq!(gateway.calls(0), 1);
    clock.seconds(2).await;
    some_requests(&gateway).await;
    assert_eq!(gateway.calls(0), 7, "a rate limit is not ill health");
}
