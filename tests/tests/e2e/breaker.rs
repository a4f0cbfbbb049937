//! A dead backend gets only trial requests, and returns when it recovers.

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
    // The first failure makes the backend unhealthy. Then it gets a trial every ten seconds, and the
    // fifth failure opens the breaker.
    for calls in 1..=5 {
        some_requests(&gateway).await;
        assert_eq!(gateway.calls(0), calls);
        clock.seconds(9).await;
        some_requests(&gateway).await;
        assert_eq!(gateway.calls(0), calls, "no trial before the interval has passed");
        clock.seconds(2).await;
    }
    // The breaker stays open for a minute and admits no trials.
    for _ in 0..4 {
        some_requests(&gateway).await;
        assert_eq!(gateway.calls(0), 5);
        clock.seconds(12).await;
    }
    clock.seconds(4).await;
    // Half-open: one trial fails, and the minute starts again.
    some_requests(&gateway).await;
    assert_eq!(gateway.calls(0), 6);
    clock.seconds(50).await;
    some_requests(&gateway).await;
    assert_eq!(gateway.calls(0), 6);
    // The backend recovers, and the next trial succeeds.
    gateway.providers[0].heal();
    clock.seconds(11).await;
    some_requests(&gateway).await;
    let calls = gateway.calls(0);
    assert!(calls > 6, "a trial was made");
    some_requests(&gateway).await;
    assert_eq!(gateway.calls(0), calls + 6, "failover prefers the recovered backend");
}

#[tokio::test]
async fn dead_backends_are_tried_until_their_breakers_open() {
    let clock = HeldClock::new();
    let gateway = pair("failover").await;
    gateway.providers.iter().for_each(|provider| provider.set(Fault::Status(500)));
    let mut codes = Vec::new();
    for _ in 0..20 {
        // Each failed request backs off before it tries a backend again.
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
    assert_eq!(gateway.calls(0), 7, "a rate limit does not make a backend unhealthy");
}
