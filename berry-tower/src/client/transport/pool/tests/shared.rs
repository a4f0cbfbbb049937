//! Connections of HTTP/2.

use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn one_connection_is_made_for_all() {
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
async fn a_request_that_is_given_up_leaves_the_connection_to_the_others() {
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
    // Nor does an answer that nobody reads to its end.
    drop(ask(&pools, &upstream.uri("/long")).await.unwrap());
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
    assert_eq!(upstream.counts().made, 1);
}

#[tokio::test]
async fn a_connection_that_is_gone_is_replaced() {
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
async fn when_no_connection_can_be_made_all_are_told() {
    let upstream = Upstream::with(Speaks::Http2, Gates::shut()).await;
    upstream.gates().handshakes.close();
    let pools = trusting(&upstream);
    for answer in join_all((0..10).map(|_| read(&pools, &upstream.uri("/")))).await {
        assert!(matches!(answer, Err(Failure::Connect(_))), "{answer:?}");
    }
    assert_eq!(upstream.counts().made, 10, "each has tried for itself");
}

#[tokio::test]
async fn nobody_waits_longer_than_a_connection_may_take() {
    let upstream = Upstream::with(Speaks::Http2, Gates::shut()).await;
    let pools = trusting(&upstream);
    let timeout = Duration::from_millis(40);
    let answers = (0..10).map(|_| {
        let request = http::Request::post(upstream.uri("/")).body(Buffered::default()).unwrap();
        Answer::new(pools.find(request.uri(), timeout).unwrap(), request)
    });
    let began = tokio::time::Instant::now();
    for answer in join_all(answers).await {
        assert!(matches!(answer, Err(Failure::Timeout(Deadline::Connect))), "{answer:?}");
    }
    assert!(began.elapsed() < timeout * 50);
}
