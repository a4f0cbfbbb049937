//! How long connections are kept.

use std::time::Duration;

use tokio::{
    task::yield_now,
    time::{advance, pause, resume},
};

use super::*;

/// Lets time go by, as far as the pools see it.
async fn pass(seconds: u64) {
    pause();
    for _ in 0..seconds {
        advance(Duration::from_secs(1)).await;
        yield_now().await;
    }
    resume();
}

#[tokio::test]
async fn a_connection_that_is_free_for_long_is_ended() {
    for speaks in [Speaks::Plain, Speaks::Http1, Speaks::Http2] {
        let upstream = Upstream::new(speaks).await;
        let pools = trusting(&upstream);
        for number in ["1", "2"] {
            assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), number);
            // Each request gives it another term.
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
async fn nothing_is_left_of_what_nobody_uses() {
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
