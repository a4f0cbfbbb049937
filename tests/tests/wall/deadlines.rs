//! How long everything may take, and how long it does.

use std::time::Duration;

use berry_simulated::{Behavior, Fault};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep};

use crate::{
    answer::{Answer, Front},
    support::Plan,
};

const SECOND: Duration = Duration::from_secs(1);

fn between(took: Duration, least: f64, most: f64) {
    assert!((least..=most).contains(&took.as_secs_f64()), "{took:?} is not within {least} to {most} s");
}

#[tokio::test(start_paused = true)]
async fn failover_adds_only_the_time_of_the_failed_attempt() {
    let wall = Plan::of(2).start().await;
    wall.set(1, Fault::LateFirstToken(SECOND / 2));
    wall.set(0, Fault::LateHead(2 * SECOND).and(Fault::Status(500)));
    for stream in [false, true] {
        let answer = wall.ask(stream).await;
        assert!(answer.is_whole() && answer.header("x-berry-attempts") == "2");
        between(answer.end, 2.5, 2.55);
        // Asked first again, however ill it is.
        sleep(Duration::from_secs(130)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn head_without_a_body_is_silence_and_is_not_retried() {
    for backends in [1, 2] {
        let settings = "stream_idle_timeout_seconds = 5\nfirst_token_timeout_seconds = 60";
        let wall = Plan::of(backends).settings(settings).start().await;
        wall.set(0, Fault::LateFirstToken(3600 * SECOND));
        // A plain answer whose head has come and whose body does not.
        let answer = wall.ask(false).await;
        between(answer.end, 5.0, 5.1);
        if backends == 1 {
            assert_eq!((answer.status.as_u16(), answer.code().as_deref()), (504, Some("upstream_timeout")));
            assert_eq!(wall.counts(), [1]);
        } else {
            assert!(answer.is_whole());
            assert_eq!(wall.counts(), [1, 1]);
        }
        assert_eq!(wall.outcomes(0, "timeout"), 1);
        wall.next_works(&answer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn total_timeout_counts_against_no_backend() {
    for stream in [false, true] {
        let wall = Plan::of(1).settings("total_timeout_seconds = 6").start().await;
        wall.set(0, Fault::LateHead(10 * SECOND));
        let answer = wall.ask(stream).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_deref()), (504, Some("upstream_timeout")));
        between(answer.end, 6.0, 6.1);
        wall.settle().await;
        assert_eq!((wall.outcomes(0, "cancelled"), wall.outcomes(0, "timeout")), (1, 0));
        // What was learnt before it passed is told.
        wall.set(0, Fault::LateHead(4 * SECOND).and(Fault::Status(500)));
        let answer = wall.ask(stream).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_deref()), (502, Some("upstream_error")));
        between(answer.end, 6.0, 6.1);
        wall.settle().await;
        assert_eq!((wall.outcomes(0, "server"), wall.outcomes(0, "cancelled"), wall.outcomes(0, "timeout")), (1, 2, 0));
        wall.next_works(&answer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_silence_ends_a_running_stream() {
    let settings = "total_timeout_seconds = 6\nfirst_token_timeout_seconds = 3\nstream_idle_timeout_seconds = 5";
    let wall = Plan::of(2).settings(settings).start().await;
    wall.set(0, Behavior::healthy().per_token(2 * SECOND));
    let answer = wall.ask(true).await;
    assert!(answer.is_whole());
    between(answer.end, 100.0, 130.0);
    assert_eq!(wall.counts(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn one_byte_per_second_is_not_silence() {
    let settings = "stream_idle_timeout_seconds = 2\nstream_keepalive_seconds = 15\ntotal_timeout_seconds = 0";
    for stream in [false, true] {
        let wall = Plan::of(1).tokens(3).settings(settings).start().await;
        let healthy = wall.ask(stream).await;
        wall.set(0, Fault::Drip(SECOND));
        let answer = wall.ask(stream).await;
        assert!(answer.is_whole(), "{answer:?}");
        assert!(answer.end > 300 * SECOND);
        assert_eq!(answer.text.replace(": keep-alive\n\n", ""), healthy.text);
        assert_eq!(
            answer.text.contains(": keep-alive\n\n"),
            stream,
            "between its events the client hears that it lives"
        );
        assert_eq!(wall.counts(), [2]);
        wall.next_works(&answer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn slow_reader_does_not_time_out_the_upstream() {
    let wall = Plan::of(1).settings("stream_idle_timeout_seconds = 5\nstream_keepalive_seconds = 2").start().await;
    wall.set(0, Fault::Huge(256 << 10));
    let began = Instant::now();
    let mut response = wall.chat(true).send().await.unwrap();
    let mut head = response.chunk().await.unwrap().unwrap().to_vec();
    sleep(40 * SECOND).await;
    let rest = Answer::read(Front::Chat, response, began).await;
    head.extend_from_slice(rest.text.as_bytes());
    let answer = Answer { text: String::from_utf8(head).unwrap(), ..rest };
    assert!(answer.is_whole() && answer.content().len() > (10 << 20));
    assert_eq!(wall.outcomes(0, "success"), 1, "{:?}", wall.state(0));
}

#[tokio::test(start_paused = true)]
async fn slow_reader_applies_back_pressure_upstream() {
    let wall = Plan::of(1).settings("stream_keepalive_seconds = 0").start().await;
    wall.set(0, Fault::Huge(1 << 20));
    let response = wall.chat(true).send().await.unwrap();
    sleep(40 * SECOND).await;
    assert_eq!(wall.providers[0].counts().in_flight, 1, "60 MB are not taken in for nobody");
    let body = response.bytes_stream().fold(0, |sum, chunk| async move { sum + chunk.unwrap().len() }).await;
    assert!(body > 50 << 20);
}
