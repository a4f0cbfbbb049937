//! Backends that cannot be reached, and fallbacks for those that cannot answer.

use std::time::Duration;

use berry_simulated::{Fault, Provider};
use berry_tower::{backend::Stage, breaker::State};
use tokio::time::sleep;

use crate::support::Plan;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn fails_over_from_backends_without_tls_or_dns() {
    let plain = Provider::start(Default::default()).await.unwrap();
    for url in [format!("https://{}/v1", plain.addr()), "http://no-such-host.invalid/v1".to_owned()] {
        for stream in [false, true] {
            let wall = Plan::of(2).url(0, &url).start().await;
            let answer = wall.ask(stream).await;
            assert!(answer.is_whole(), "{url}: {answer:?}");
            assert_eq!(wall.outcomes(0, "network") + wall.outcomes(0, "timeout"), 1, "{url}");
            assert_eq!(wall.state(0).view.stage, Stage::Unhealthy);
            let wall = Plan::of(1).url(0, &url).start().await;
            let answer = wall.ask(stream).await;
            assert!(matches!(answer.status.as_u16(), 502 | 504), "{url}: {answer:?}");
            let host = url.split('/').nth(2).unwrap();
            assert!(!answer.text.contains(host), "the address is nobody's business: {}", answer.text);
        }
    }
    assert_eq!(plain.counts().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn primary_serves_again_after_an_outage() {
    let settings = "recovery_check_interval_seconds = 10\nhealth_check_interval_seconds = 3600";
    let wall = Plan::of(2).settings(settings).start().await;
    wall.providers[0].down().await.unwrap();
    for _ in 0..40 {
        assert!(wall.ask(true).await.is_whole());
        sleep(SECOND).await;
    }
    // A trial every ten seconds, and no more.
    assert_eq!(wall.outcomes(0, "network"), 4, "{:?}", wall.state(0));
    assert_eq!(wall.outcomes(1, "success"), 40);
    wall.providers[0].up().await.unwrap();
    for _ in 0..30 {
        assert!(wall.ask(true).await.is_whole());
        sleep(SECOND).await;
    }
    assert_eq!(wall.state(0).view.stage, Stage::Healthy, "{:?}", wall.state(0));
    assert!(wall.counts()[0] >= 20, "{:?}", wall.counts());
}

#[tokio::test(start_paused = true)]
async fn breaker_opens_and_closes_after_a_trial() {
    let settings = "circuit_breaker_failure_threshold = 3\ncircuit_breaker_timeout_seconds = 20\n\
        health_check_interval_seconds = 3600\nrecovery_check_interval_seconds = 3600";
    let wall = Plan::of(1).settings(settings).start().await;
    wall.set(0, Fault::Status(503));
    assert_eq!(wall.ask(false).await.status, 502);
    assert_eq!(wall.counts(), [3]);
    assert!(matches!(wall.state(0).circuit, State::Open { .. }), "{:?}", wall.state(0));
    for stream in [false, true] {
        let answer = wall.ask(stream).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_deref()), (503, Some("no_backend_available")));
        assert_eq!(answer.header("retry-after"), "20");
        assert!(answer.end < SECOND);
    }
    assert_eq!(wall.counts(), [3], "nobody knocks at an open breaker");
    // Its probe fails: one attempt, and it is open again.
    sleep(20 * SECOND).await;
    assert_eq!(wall.ask(false).await.status, 502);
    assert_eq!(wall.counts(), [4]);
    assert_eq!(wall.ask(false).await.status, 503);
    sleep(20 * SECOND).await;
    wall.providers[0].heal();
    for _ in 0..5 {
        assert!(wall.ask(true).await.is_whole());
    }
    assert!(matches!(wall.state(0).circuit, State::Closed { .. }), "{:?}", wall.state(0));
    assert_eq!(wall.state(0).view.stage, Stage::Healthy);
}

#[tokio::test(start_paused = true)]
async fn falls_back_when_no_backend_is_left() {
    for stream in [false, true] {
        let wall = Plan::of(2).last_is_fallback().start().await;
        wall.set(0, Fault::Status(500));
        let answer = wall.ask(stream).await;
        assert!(answer.is_whole(), "{answer:?}");
        assert_eq!((answer.header("x-berry-backend"), answer.header("x-berry-attempts")), ("p1:sim", "4"));
        assert_eq!(wall.counts(), [3, 1]);
        wall.next_works(&answer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn context_overflow_falls_back_at_once_and_a_refusal_does_not() {
    for stream in [false, true] {
        let wall = Plan::of(2).last_is_fallback().start().await;
        wall.set(0, Fault::ContextLength);
        let answer = wall.ask(stream).await;
        assert!(answer.is_whole() && answer.end < SECOND, "{answer:?}");
        assert_eq!((answer.header("x-berry-backend"), wall.counts()), ("p1:sim", vec![1, 1]));
        wall.set(1, Fault::Status(500));
        let answer = wall.ask(stream).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_deref()), (400, Some("context_length_exceeded")));
        assert_eq!(wall.counts(), [2, 4]);
        wall.set(0, Fault::ContentPolicy);
        let answer = wall.ask(stream).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_deref()), (400, Some("content_policy_violation")));
        assert_eq!(wall.counts(), [3, 4]);
    }
}

#[tokio::test(start_paused = true)]
async fn passes_on_a_retry_after_that_is_too_long() {
    let wall = Plan::of(1).start().await;
    wall.set(0, Fault::Status(429).retry_after(30));
    let answer = wall.ask(true).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "30"));
    assert!(answer.end < SECOND);
    let answer = wall.ask(true).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_deref()), (503, Some("no_backend_available")), "{answer:?}");
    assert_eq!(wall.counts(), [1]);
}
