//! Clients that go away, and a gateway that does.

use std::time::Duration;

use berry_simulated::{Behavior, Dialect, End, Fault};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    answer::{Answer, Front},
    support::{DIALECTS, Plan, Wall, question, stop},
};

const SECOND: Duration = Duration::from_secs(1);

/// The upstream's connection has been closed within a second, and nobody is asked again.
async fn is_left(wall: &Wall, calls: &[usize]) {
    let left = Instant::now();
    wall.providers[0].wait_idle().await;
    assert!(left.elapsed() < SECOND);
    sleep(60 * SECOND).await;
    assert_eq!(wall.counts(), calls);
    assert_eq!(wall.providers[0].calls().last().unwrap().end(), Some(End::PeerClosed));
    assert_eq!(wall.outcomes(0, "cancelled"), 1);
    wall.settle().await;
}

#[tokio::test(start_paused = true)]
async fn disconnect_before_the_head_ends_the_attempts() {
    for stream in [false, true] {
        for fault in [Fault::Silent, Fault::LateFirstToken(60 * SECOND)] {
            let wall = Plan::of(2).start().await;
            wall.set(0, fault);
            assert!(timeout(SECOND, wall.ask(stream)).await.is_err());
            is_left(&wall, &[1, 0]).await;
            wall.providers[0].heal();
            assert!(wall.ask(stream).await.is_whole());
            assert_eq!(wall.counts(), [2, 0], "leaving tells nothing of the backend");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn disconnect_amid_a_stream_ends_it_upstream() {
    for front in Front::ALL {
        for dialect in DIALECTS {
            let wall = Plan::speaking(&[dialect, Dialect::OpenAi]).front(front).start().await;
            wall.set(0, Behavior::healthy().per_token(SECOND));
            let mut response = wall.chat(true).send().await.unwrap();
            for _ in 0..5 {
                assert!(response.chunk().await.unwrap().is_some());
            }
            drop(response);
            is_left(&wall, &[1, 0]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn disconnect_from_a_silent_stream_ends_it_upstream() {
    let wall = Plan::of(2).start().await;
    wall.set(0, Fault::StallAfter(5));
    let mut response = wall.chat(true).send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    sleep(10 * SECOND).await;
    drop(response);
    is_left(&wall, &[1, 0]).await;
}

#[tokio::test(start_paused = true)]
async fn disconnect_during_a_back_off_ends_the_attempts() {
    let wall = Plan::of(1).start().await;
    wall.set(0, Fault::Status(429).retry_after(5));
    assert!(timeout(2 * SECOND, wall.ask(true)).await.is_err());
    sleep(60 * SECOND).await;
    assert_eq!(wall.counts(), [1]);
    assert_eq!(wall.outcomes(0, "rate_limit"), 1);
}

/// Asks for a stream on a task of its own, and waits until it has begun.
async fn begun(wall: &Wall, front: Front) -> tokio::task::JoinHandle<Answer> {
    let (request, began) = (wall.chat(true), Instant::now());
    let response = request.send().await.unwrap();
    tokio::spawn(Answer::read(front, response, began))
}

#[tokio::test(start_paused = true)]
async fn drain_lets_streams_finish() {
    let wall = Plan::of(1).settings("shutdown_grace_seconds = 90").start().await;
    wall.set(0, Behavior::healthy().per_token(SECOND));
    let stream = begun(&wall, Front::Chat).await;
    let (addr, began) = (wall.server.addr(), Instant::now());
    let stopping = tokio::spawn(stop(wall.server));
    sleep(5 * SECOND).await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "nobody new is let in");
    assert!(stream.await.unwrap().is_whole());
    stopping.await.unwrap();
    assert!(began.elapsed() < 70 * SECOND, "nothing is waited for any more");
}

#[tokio::test(start_paused = true)]
async fn drain_ends_streams_beyond_the_grace_period_with_an_error_event() {
    for (front, code) in
        [(Front::Chat, "shutting_down"), (Front::Messages, "overloaded_error"), (Front::Responses, "shutting_down")]
    {
        for dialect in DIALECTS {
            let plan = Plan::speaking(&[dialect]).front(front).settings("shutdown_grace_seconds = 10");
            let wall = plan.start().await;
            wall.set(0, Behavior::healthy().per_token(SECOND));
            let stream = begun(&wall, front).await;
            let began = Instant::now();
            stop(wall.server).await;
            assert!((10 * SECOND..13 * SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());
            let answer = stream.await.unwrap();
            assert_eq!(answer.code().as_deref(), Some(code), "{dialect:?}: {answer:?}");
            assert!(!answer.clean && !answer.done() && !answer.content().is_empty());
            wall.providers[0].wait_idle().await;
            assert_eq!(wall.providers[0].calls()[0].end(), Some(End::PeerClosed));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn drain_ends_a_stream_with_an_early_head_with_an_error_event() {
    let settings = "shutdown_grace_seconds = 10\ncommit_after_seconds = 1";
    let wall = Plan::of(1).settings(settings).start().await;
    wall.set(0, Fault::Silent);
    let stream = begun(&wall, Front::Chat).await;
    stop(wall.server).await;
    let answer = stream.await.unwrap();
    assert_eq!(answer.code().as_deref(), Some("shutting_down"), "{answer:?}");
    assert!(!answer.clean);
}

#[tokio::test(start_paused = true)]
async fn all_tests_send_the_same_request() {
    let wall = Plan::of(2).start().await;
    wall.set(0, Fault::Status(500));
    wall.ask(false).await;
    let [first, second] = [0, 1].map(|i| wall.providers[i].calls()[0].json());
    assert_eq!(first, second);
    assert_eq!(first["messages"], question(false)["messages"]);
    assert_eq!(wall.providers[1].calls()[0].header("authorization"), "Bearer sk-simulated-p1");
}
