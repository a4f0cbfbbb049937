//! HTTP/2 connections.

use std::num::NonZeroU32;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;
use crate::{client, error::LostTogether};

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let upstream = Upstream::new(Speaks::Http2).await;
    let pools = trusting(&upstream);
    for _ in 0..2 {
        let answers = join_all((0..100).map(|_| read(&pools, &upstream.uri("/")))).await;
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|number| number == "1")), "{answers:?}");
    }
    let counts = upstream.counts();
    assert_eq!((counts.made, counts.requests), (1, 200));
}

#[tokio::test]
async fn a_dropped_request_leaves_the_connection_to_the_others() {
    let upstream = Upstream::with(Speaks::Http2, Gates::shut()).await;
    let pools = trusting(&upstream);
    let first = tokio::spawn(ask(&pools, &upstream.uri("/")));
    upstream.wait_for(|counts| counts.made == 1).await;
    let others: Vec<_> = (0..10).map(|_| tokio::spawn(ask(&pools, &upstream.uri("/")))).collect();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    upstream.gates().handshakes.add_permits(1);
    for other in others {
        assert_eq!(text(other.await.unwrap().unwrap()).await, "1");
    }
    // So does a response that is not read to its end.
    drop(ask(&pools, &upstream.uri("/long")).await.unwrap());
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
    assert_eq!(upstream.counts().made, 1);
}

#[tokio::test]
async fn a_fresh_connection_takes_the_place_of_one_without_requests() {
    let upstream = Upstream::new(Speaks::Http2).await;
    let pools = trusting(&upstream);
    let read_fresh = async || {
        let settings = client::Upstream::new(LONG).with_max_connections(NonZeroU32::new(2)).with_fresh_connection();
        let mut request = http::Request::post(upstream.uri("/")).body(Buffered::from("{}")).unwrap();
        request.extensions_mut().insert(settings);
        let pool = pools.find(request.uri(), LONG).unwrap();
        text(Exchange::new(pool, request).await.unwrap()).await
    };
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
    for number in ["2", "3", "4"] {
        assert_eq!(read_fresh().await, number);
    }
    upstream.wait_for(|counts| counts.open == 2).await;
}

#[tokio::test]
async fn a_closed_connection_is_replaced() {
    let upstream = Upstream::new(Speaks::Http2).await;
    let pools = trusting(&upstream);
    for number in ["1", "2", "3"] {
        let answers = join_all((0..10).map(|_| read(&pools, &upstream.uri("/")))).await;
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|it| it == number)), "{answers:?}");
        upstream.close();
        upstream.wait_for(|counts| counts.open == 0).await;
    }
}

#[tokio::test]
async fn every_waiter_learns_that_no_connection_can_be_made() {
    let upstream = Upstream::with(Speaks::Http2, Gates::shut()).await;
    upstream.gates().handshakes.close();
    let pools = trusting(&upstream);
    for answer in join_all((0..10).map(|_| read(&pools, &upstream.uri("/")))).await {
        assert!(matches!(answer, Err(Failure::Connect(_))), "{answer:?}");
    }
    assert_eq!(upstream.counts().made, 10, "each tries for itself");
}

#[tokio::test]
async fn a_waiter_fails_after_the_connect_timeout() {
    let upstream = Upstream::with(Speaks::Http2, Gates::shut()).await;
    let pools = trusting(&upstream);
    let timeout = Duration::from_millis(40);
    let answers = (0..10).map(|_| {
        let request = http::Request::post(upstream.uri("/")).body(Buffered::default()).unwrap();
        Exchange::new(pools.find(request.uri(), timeout).unwrap(), request)
    });
    let began = tokio::time::Instant::now();
    for answer in join_all(answers).await {
        assert!(matches!(answer, Err(Failure::Timeout(Deadline::Connect))), "{answer:?}");
    }
    assert!(began.elapsed() < timeout * 50);
}

/// Starts requests that are held, and waits until the upstream has them.
async fn hold(pools: &Arc<Pools>, upstream: &Upstream, count: usize) -> Vec<tokio::task::JoinHandle<String>> {
    let before = upstream.counts().requests;
    let held = || tokio::spawn(ask(pools, &upstream.uri("/held")));
    let all: Vec<_> = (0..count).map(|_| held()).collect();
    upstream.wait_for(|counts| counts.requests == before + count).await;
    all.into_iter().map(|held| tokio::spawn(async { text(held.await.unwrap().unwrap()).await })).collect()
}

#[tokio::test]
async fn opens_another_connection_when_no_stream_is_free_and_closes_the_surplus() {
    let upstream = Upstream::with_streams(3).await;
    let pools = trusting(&upstream);
    let held = hold(&pools, &upstream, 10).await;
    assert_eq!(upstream.counts().made, 4);
    upstream.gates().held.add_permits(10);
    let mut numbers = Vec::new();
    for held in held {
        numbers.push(held.await.unwrap());
    }
    for number in ["1", "2", "3", "4"] {
        assert!((1..=3).contains(&numbers.iter().filter(|it| *it == number).count()), "{numbers:?}");
    }
    // Requests go to the first that has room, so the others fall idle.
    for _ in 0..5 {
        assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
    }
    super::idle::pass(35).await;
    upstream.wait_for(|counts| counts.open == 1).await;
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
}

#[tokio::test]
async fn a_request_waits_for_a_stream_when_there_are_as_many_connections_as_may_be() {
    let upstream = Upstream::with_streams(2).await;
    let pools = Pools::new(Config { max_connections: 2, ..Config::default() }, Trust::default());
    pools.tls.set(upstream.trust().unwrap()).unwrap();
    let pools = Arc::new(pools);
    let held = hold(&pools, &upstream, 4).await;
    let waiting = tokio::spawn(read(&pools, &upstream.uri("/")));
    yield_now().await;
    upstream.gates().held.add_permits(1);
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(upstream.counts().made, 2);
    upstream.gates().held.add_permits(3);
    for held in held {
        held.await.unwrap();
    }
}

#[tokio::test]
async fn the_lack_of_a_free_stream_is_no_failure_of_the_provider() {
    let upstream = Upstream::with_streams(1).await;
    let pools = Pools::new(Config { max_connections: 1, ..Config::default() }, Trust::default());
    pools.tls.set(upstream.trust().unwrap()).unwrap();
    let pools = Arc::new(pools);
    let timeout = Duration::from_millis(50);
    let send = |path: &str| {
        let request = http::Request::post(upstream.uri(path)).body(Buffered::default()).unwrap();
        Exchange::new(pools.find(request.uri(), timeout).unwrap(), request)
    };
    let held = tokio::spawn(send("/held"));
    upstream.wait_for(|counts| counts.requests == 1).await;
    let refused = send("/").await;
    assert!(matches!(refused, Err(Failure::LocalResource(_))), "{refused:?}");
    assert_eq!(upstream.counts().made, 1);
    upstream.gates().held.add_permits(1);
    assert!(held.await.unwrap().is_ok());
}

#[tokio::test]
async fn responses_that_are_not_read_delay_no_others() {
    let upstream = Upstream::new(Speaks::Http2).await;
    let pools = trusting(&upstream);
    let mut unread = Vec::new();
    for _ in 0..20 {
        unread.push(ask(&pools, &upstream.uri("/large")).await.unwrap());
    }
    for _ in 0..3 {
        let number = timeout(LONG, read(&pools, &upstream.uri("/"))).await.unwrap().unwrap();
        assert_eq!(number, "1");
    }
    assert_eq!(text(unread.remove(0)).await.len(), 4 << 20);
}

#[tokio::test]
async fn a_connection_whose_head_is_overdue_gets_no_further_request() {
    let upstream = Upstream::new(Speaks::Http2).await;
    let pools = trusting(&upstream);
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
    let due = Instant::now() + Duration::from_millis(20);
    let silent = http::Request::post(upstream.uri("/held"))
        .extension(client::Upstream::new(LONG).with_head_due(due))
        .body(Buffered::default())
        .unwrap();
    let silent = Exchange::new(pools.find(silent.uri(), LONG).unwrap(), silent);
    assert!(tokio::time::timeout_at(due, silent).await.is_err());
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "2");
}

/// A request to a path that holds it, whose head is due at once.
fn overdue(pools: &Arc<Pools>, uri: &str, due: Instant) -> Exchange {
    let request = http::Request::post(uri)
        .extension(client::Upstream::new(LONG).with_head_due(due))
        .body(Buffered::default())
        .unwrap();
    Exchange::new(pools.find(request.uri(), LONG).unwrap(), request)
}

#[tokio::test]
async fn one_of_the_requests_on_a_deaf_connection_tells_against_the_upstream() {
    let upstream = Upstream::new(Speaks::Http2).await;
    let pools = trusting(&upstream);
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
    let due = Instant::now() + Duration::from_millis(20);
    let silent = (0..5).map(|_| tokio::time::timeout_at(due, overdue(&pools, &upstream.uri("/held"), due)));
    let (mut timeouts, mut together) = (0, 0);
    for answer in join_all(silent).await {
        match answer {
            Err(_) => timeouts += 1,
            Ok(Err(failure)) => together += usize::from(crate::error::find::<LostTogether>(&failure).is_some()),
            Ok(Ok(_)) => {}
        }
    }
    assert_eq!((timeouts, together), (1, 4));
}

#[tokio::test]
async fn one_of_the_requests_of_a_lost_connection_tells_against_the_upstream() {
    for is_known in [false, true] {
        let upstream = Upstream::new(Speaks::Http2).await;
        let pools = trusting(&upstream);
        if is_known {
            assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
        }
        let held: Vec<_> = (0..5).map(|_| tokio::spawn(ask(&pools, &upstream.uri("/held")))).collect();
        upstream.wait_for(|counts| counts.requests == 5 + usize::from(is_known)).await;
        upstream.close();
        let mut together = 0;
        for answer in held {
            let failure = answer.await.unwrap().err().unwrap();
            assert_eq!(failure.class(), crate::classify::Class::Network, "{failure:?}");
            together += usize::from(crate::error::find::<LostTogether>(&failure).is_some());
        }
        assert_eq!(together, if is_known { 4 } else { 0 }, "a peer that never answered may be at fault");
    }
}
