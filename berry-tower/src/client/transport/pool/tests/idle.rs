//! Keeping and closing unused connections.

use std::{
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use http::Request;
use tokio::{
    task::yield_now,
    time::{Instant, advance, pause, resume},
};

use super::{
    super::connection::{Connection, Outcome},
    *,
};

/// A connection whose state the test sets.
#[derive(Clone)]
struct FakeConnection(Arc<State>);

struct State {
    is_ready: AtomicBool,
    is_closed: AtomicBool,
    waits: AtomicWaker,
}

impl FakeConnection {
    fn new(is_ready: bool) -> Self {
        let (is_ready, is_closed) = (AtomicBool::new(is_ready), AtomicBool::new(false));
        Self(Arc::new(State { is_ready, is_closed, waits: AtomicWaker::new() }))
    }

    fn is_ready_now(&self) {
        self.0.is_ready.store(true, Relaxed);
        self.0.waits.wake();
    }

    /// Whether the pool still has it.
    fn is_kept(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Connection for FakeConnection {
    fn send(self: Pin<&mut Self>, _request: Request<Buffered>, _head_due: Option<Instant>) {}

    fn is_known_deaf(self: Pin<&mut Self>) -> bool {
        false
    }

    fn is_known_lost(&self) -> bool {
        false
    }

    fn any_byte_received(&self) -> bool {
        true
    }

    fn poll_answer(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Outcome> {
        Poll::Pending
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready.load(Relaxed)
    }

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.waits.register(cx.waker());
        if self.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed.load(Relaxed)
    }

    fn is_shared(&self) -> bool {
        false
    }
}

#[test]
fn skips_connections_that_are_not_ready_and_drops_closed_ones() {
    let (idle, all) = (Idle::default(), [true, false, true, false].map(FakeConnection::new));
    for connection in &all {
        idle.put(Box::pin(connection.clone()), usize::MAX);
    }
    all[3].0.is_closed.store(true, Relaxed);
    drop(idle.take().unwrap());
    assert_eq!(
        all.each_ref().map(FakeConnection::is_kept),
        [true, true, false, false],
        "the last one that is ready is taken"
    );
    drop(idle.take().unwrap());
    assert_eq!(all.each_ref().map(FakeConnection::is_kept), [false, true, false, false]);
    assert!(idle.take().is_none());
    all[1].is_ready_now();
    assert!(idle.take().is_some());
    assert!(idle.is_empty());
}

#[tokio::test]
async fn wakes_a_waiter_when_a_connection_is_ready() {
    let pools = Arc::new(Pools::default());
    let pool = pools.find(&"https://127.0.0.1/".parse().unwrap(), LONG).unwrap();
    // As if another request was making one, so that nothing else wakes it.
    pool.is_connecting.store(true, Relaxed);
    let connection = FakeConnection::new(false);
    pool.put(Box::pin(connection.clone()));
    let waiting = pool.clone();
    let waits = tokio::spawn(async move { waiting.connect(1, false).await.map(|found| found.1) });
    while pool.waiters.count() == 0 {
        yield_now().await;
    }
    connection.is_ready_now();
    assert!(timeout(LONG, waits).await.unwrap().unwrap().unwrap(), "it takes the connection that was free");
}

/// Advances the clock of the pools.
pub(super) async fn pass(seconds: u64) {
    pause();
    for _ in 0..seconds {
        advance(Duration::from_secs(1)).await;
        yield_now().await;
    }
    resume();
}

#[tokio::test]
async fn an_unused_connection_is_closed() {
    for speaks in [Speaks::Plain, Speaks::Http1, Speaks::Http2] {
        let upstream = Upstream::new(speaks).await;
        let pools = trusting(&upstream);
        for number in ["1", "2"] {
            assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), number);
            // Each request restarts the time.
            for _ in 0..3 {
                pass(70).await;
                assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), number);
            }
            pass(95).await;
            upstream.wait_for(|counts| counts.open == 0).await;
        }
    }
}

#[tokio::test]
async fn a_connection_in_use_stays() {
    for speaks in [Speaks::Plain, Speaks::Http2] {
        let upstream = Upstream::new(speaks).await;
        let pools = trusting(&upstream);
        let held = tokio::spawn(ask(&pools, &upstream.uri("/held")));
        upstream.wait_for(|counts| counts.requests == 1).await;
        pass(200).await;
        upstream.gates().held.add_permits(1);
        assert_eq!(text(held.await.unwrap().unwrap()).await, "1");
    }
}

#[tokio::test]
async fn an_unused_pool_is_removed() {
    let upstream = Upstream::new(Speaks::Plain).await;
    let pools = trusting(&upstream);
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
    assert!(pools.is_reaped.load(Relaxed));
    pass(200).await;
    assert!(pools.list.load().is_empty());
    assert!(!pools.is_reaped.load(Relaxed));
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "2");
    assert!(pools.is_reaped.load(Relaxed));
}

#[tokio::test]
async fn the_connections_end_with_the_pools() {
    for speaks in [Speaks::Plain, Speaks::Http1, Speaks::Http2] {
        let upstream = Upstream::new(speaks).await;
        let pools = trusting(&upstream);
        assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
        assert_eq!(upstream.counts().open, 1);
        drop(pools);
        upstream.wait_for(|counts| counts.open == 0).await;
    }
}

#[test]
fn the_pools_outlive_a_runtime() {
    let pools = Arc::new(Pools::default());
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let upstream = Upstream::new(Speaks::Plain).await;
            assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
        });
        assert!(pools.is_reaped.load(Relaxed));
        drop(runtime);
        assert!(!pools.is_reaped.load(Relaxed));
    }
}
