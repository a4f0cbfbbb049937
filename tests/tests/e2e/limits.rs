//! Rate limits and the limit of concurrent requests.

use berry_simulated::{Config, Fault};
use berry_tests::{Ask, Gateway, HeldClock, soon};

#[tokio::test]
async fn rate_limit_has_all_headers_and_recovers() {
    let clock = HeldClock::new();
    let limit = "[users.alice.rate_limit]\nrequests_per_minute = 3\nrequests_per_hour = 100";
    let gateway = Gateway::builder().provider("a").user(limit).start().await;
    for remaining in ["2", "1", "0"] {
        let reply = gateway.plain().await;
        assert!(reply.is_good_chat());
        assert_eq!(reply.header("x-ratelimit-limit-requests"), "3");
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), remaining);
        assert!(reply.header("x-ratelimit-reset-requests").ends_with('s'), "{reply:?}");
    }
    let reply = gateway.stream().await;
    assert_eq!(reply.verdict(), (429, "requests".into(), Some("rate_limit_exceeded".into())));
    assert_eq!(reply.header("x-ratelimit-remaining-requests"), "0");
    let wait: u64 = reply.header("retry-after").parse().expect("whole seconds");
    let millis: u64 = reply.header("retry-after-ms").parse().expect("milliseconds");
    assert!((1..=20).contains(&wait) && millis <= wait * 1000 && millis > 0, "{reply:?}");
    assert_eq!(gateway.calls(0), 3);
    clock.seconds(wait).await;
    assert!(gateway.plain().await.is_good_chat(), "after the time of retry-after");
}

#[tokio::test]
async fn other_requests_do_not_count_against_the_limit() {
    let limit = "[users.alice.rate_limit]\nrequests_per_minute = 1";
    let gateway = Gateway::builder().provider("a").user(limit).start().await;
    for _ in 0..5 {
        for path in ["/v1/models", "/v1/models/pool", "/health", "/readyz"] {
            assert_eq!(gateway.ask(&Ask::get(path)).await.status, 200);
        }
    }
    assert!(gateway.plain().await.is_good_chat());
    assert_eq!(gateway.plain().await.status, 429);
}

#[tokio::test]
async fn limits_are_separate_for_each_user() {
    let gateway = Gateway::builder().provider("a").user("[users.alice.rate_limit]\nrequests_per_day = 1");
    let gateway = gateway.tables("[users.bob]\ntoken = \"token-of-bob-0123456789ab\"").start().await;
    assert!(gateway.plain().await.is_good_chat());
    assert_eq!(gateway.plain().await.status, 429);
    for _ in 0..5 {
        let reply = gateway.ask(&Ask::chat("pool", false).token("token-of-bob-0123456789ab")).await;
        assert!(reply.is_good_chat());
        assert!(!reply.headers.contains_key("x-ratelimit-limit-requests"));
    }
}

#[tokio::test]
async fn concurrency_is_limited_until_responses_end() {
    let slow = Config { tokens: Some(4), ..Config::named("a") };
    let gateway = Gateway::builder().provider_as(slow).user("[users.alice.rate_limit]\nmax_concurrent_requests = 2");
    let gateway = gateway.start().await;
    gateway.providers[0].set(Fault::StallAfter(2).times(2));
    let mut open = Vec::new();
    for calls in 1..=2 {
        let mut connection = gateway.connect().await;
        connection.send(&Ask::chat("pool", true).bytes()).await.expect("sent");
        assert_eq!(soon(connection.head()).await.expect("a head").status, 200);
        soon(gateway.providers[0].wait_for(calls)).await;
        open.push(connection);
    }
    let reply = gateway.plain().await;
    assert_eq!(reply.verdict(), (429, "requests".into(), Some("rate_limit_exceeded".into())));
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(gateway.ask(&Ask::get("/v1/models")).await.status, 200);
    // A client that disconnects frees its slot.
    open.pop();
    soon(gateway.providers[0].wait_until(|counts| counts.in_flight == 1)).await;
    let admitted = async {
        while !gateway.plain().await.is_good_chat() {
            tokio::task::yield_now().await;
        }
    };
    soon(admitted).await;
}

#[tokio::test]
async fn skips_a_full_backend() {
    let gateway = Gateway::builder().provider("a").backend("max_in_flight = 1").provider("b").backend("priority = 1");
    let gateway = gateway.strategy("failover").start().await;
    gateway.providers[0].set(Fault::StallAfter(2).once());
    let mut connection = gateway.connect().await;
    connection.send(&Ask::chat("pool", true).bytes()).await.expect("sent");
    assert_eq!(soon(connection.head()).await.expect("a head").header("x-berry-backend"), "a:sim");
    for _ in 0..3 {
        assert_eq!(gateway.plain().await.header("x-berry-backend"), "b:sim");
    }
    drop(connection);
    soon(gateway.providers[0].wait_idle()).await;
    let returned = async {
        while gateway.plain().await.header("x-berry-backend") != "a:sim" {
            tokio::task::yield_now().await;
        }
    };
    soon(returned).await;
}
