//! What the client hears while there is nothing to hear: keep-alives, and heads that go first.

use std::time::Duration;

use berry_simulated::{Behavior, End, Fault};
use tokio::time::{Instant, sleep};

use crate::{
    answer::{Answer, Front},
    support::{DIALECTS, Plan},
};

const SECOND: Duration = Duration::from_secs(1);
const KEEP_ALIVE: &str = ": keep-alive\n\n";

fn keep_alives(answer: &Answer) -> Vec<u64> {
    let is = |(_, piece): &&(Duration, String)| piece == KEEP_ALIVE;
    answer.pieces.iter().filter(is).map(|(at, _)| at.as_secs()).collect()
}

#[tokio::test(start_paused = true)]
async fn keeps_a_stalled_stream_alive_until_its_deadline() {
    for (front, code) in
        [(Front::Chat, "upstream_timeout"), (Front::Messages, "timeout_error"), (Front::Responses, "upstream_timeout")]
    {
        for dialect in DIALECTS {
            let plan = Plan::speaking(&[dialect]).front(front);
            let plan = plan.settings("stream_idle_timeout_seconds = 9\nstream_keepalive_seconds = 2");
            let wall = plan.start().await;
            wall.set(0, Fault::StallAfter(20));
            let answer = wall.ask(true).await;
            assert_eq!(keep_alives(&answer), [2, 4, 6, 8], "{dialect:?} {front:?}");
            assert_eq!(answer.code().as_deref(), Some(code));
            assert!(!answer.clean && !answer.done() && answer.end <= 10 * SECOND);
            wall.next_works(&answer).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sends_nothing_before_the_commit_point_without_an_early_head() {
    let wall = Plan::of(1).settings("stream_keepalive_seconds = 2").start().await;
    wall.set(0, Fault::LateFirstToken(11 * SECOND));
    let answer = wall.ask(true).await;
    assert!(answer.is_whole() && answer.head >= 11 * SECOND);
    assert!(keep_alives(&answer).is_empty());
}

#[tokio::test(start_paused = true)]
async fn sends_no_keep_alive_to_a_healthy_or_ended_stream() {
    let wall = Plan::of(1).settings("stream_keepalive_seconds = 2").start().await;
    wall.set(0, Behavior::healthy().per_token(SECOND));
    let answer = wall.ask(true).await;
    assert!(answer.is_whole() && keep_alives(&answer).is_empty());
    assert!(answer.text.ends_with("data: [DONE]\n\n"));
}

const EARLY: &str = "commit_after_seconds = 3\nstream_keepalive_seconds = 2\nrequest_timeout_seconds = 30";

#[tokio::test(start_paused = true)]
async fn fails_over_after_an_early_head() {
    let wall = Plan::of(2).settings(EARLY).start().await;
    wall.set(0, Fault::LateHead(8 * SECOND).and(Fault::Status(500)));
    let answer = wall.ask(true).await;
    assert_eq!((answer.status.as_u16(), answer.head.as_secs()), (200, 3));
    assert_eq!((answer.header("x-berry-backend"), answer.header("x-berry-attempts")), ("", ""));
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
    {
        assert_eq!(answer.header(name), value);
    }
    assert!(!answer.header("x-request-id").is_empty());
    assert_eq!(keep_alives(&answer), [5, 7]);
    assert!(answer.is_whole() && answer.end < 9 * SECOND, "{answer:?}");
    assert_eq!(wall.counts(), [1, 1]);
    wall.next_works(&answer).await;
}

#[tokio::test(start_paused = true)]
async fn failure_after_an_early_head_is_an_error_event() {
    for (fault, code, kind) in [
        (Fault::Status(500), "upstream_error", "api_error"),
        (Fault::Status(429), "upstream_rate_limited", "rate_limit_error"),
        (Fault::BadKey, "upstream_auth", "api_error"),
    ] {
        let of_response = if code == "upstream_rate_limited" { "rate_limit_exceeded" } else { code };
        for (front, code) in [(Front::Chat, code), (Front::Messages, kind), (Front::Responses, of_response)] {
            for dialect in DIALECTS {
                let wall = Plan::speaking(&[dialect]).front(front).settings(EARLY).start().await;
                wall.set(0, Fault::LateHead(5 * SECOND).and(fault.clone()));
                let answer = wall.ask(true).await;
                assert_eq!((answer.status.as_u16(), answer.head.as_secs()), (200, 3));
                assert_eq!(answer.code().as_deref(), Some(code), "{dialect:?}: {answer:?}");
                assert!(!answer.clean && !answer.done());
                wall.next_works(&Answer { text: String::new(), ..answer }).await;
            }
        }
    }
    let wall = Plan::of(1).settings(EARLY).start().await;
    wall.set(0, Fault::LateHead(5 * SECOND).and(Fault::ContentPolicy));
    assert_eq!(wall.ask(true).await.code().as_deref(), Some("content_policy_violation"));
}

#[tokio::test(start_paused = true)]
async fn plain_responses_have_no_early_head() {
    let wall = Plan::of(1).settings(EARLY).start().await;
    wall.set(0, Fault::LateHead(8 * SECOND));
    let answer = wall.ask(false).await;
    assert!(answer.is_whole() && answer.head >= 8 * SECOND && !answer.header("x-berry-backend").is_empty());
}

#[tokio::test(start_paused = true)]
async fn disconnect_after_an_early_head_ends_the_attempt() {
    let wall = Plan::of(2).settings(EARLY).start().await;
    wall.set(0, Fault::Silent);
    let response = wall.chat(true).send().await.unwrap();
    sleep(SECOND).await;
    let left = Instant::now();
    drop(response);
    wall.providers[0].wait_idle().await;
    assert!(left.elapsed() < SECOND);
    sleep(60 * SECOND).await;
    assert_eq!(wall.counts(), [1, 0]);
    assert_eq!(wall.providers[0].calls()[0].end(), Some(End::PeerClosed));
    assert_eq!(wall.outcomes(0, "cancelled"), 1);
}
