//! Connections: their number, slow heads, slow bodies.

use berry_tests::{Ask, Gateway, HeldClock, settle, soon};
use futures_util::FutureExt;
use http::Method;

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let gateway = Gateway::builder().provider("a").max_connections(2).start().await;
    let mut held = [gateway.connect().await, gateway.connect().await];
    for connection in &mut held {
        assert!(soon(connection.ask(&Ask::chat("pool", false))).await.expect("an answer").is_good_chat());
    }
    // It is accepted by the system, not by the gateway.
    let mut third = gateway.connect().await;
    third.send(&Ask::chat("pool", false).bytes()).await.expect("sent");
    settle().await;
    assert!(third.head().now_or_never().is_none());
    assert_eq!(gateway.calls(0), 2);
    drop(held);
    let mut reply = soon(third.head()).await.expect("it is its turn");
    soon(third.rest(&mut reply)).await;
    assert!(reply.is_good_chat());
}

#[tokio::test]
async fn closes_a_connection_with_a_slow_head() {
    let clock = HeldClock::new();
    let gateway = Gateway::single().await;
    let mut silent = gateway.connect().await;
    let mut slow = gateway.connect().await;
    slow.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\n").await.expect("sent");
    settle().await;
    for _ in 0..9 {
        clock.seconds(1).await;
        slow.send(b"x-more: 1\r\n").await.expect("sent");
        settle().await;
    }
    assert!(slow.closed().now_or_never().is_none(), "nine seconds are not ten");
    clock.seconds(2).await;
    soon(slow.closed()).await;
    soon(silent.closed()).await;
    assert!(gateway.plain().await.is_good_chat());
}

#[tokio::test]
async fn stalled_body_is_a_408() {
    let clock = HeldClock::new();
    let gateway = Gateway::single().await;
    let mut connection = gateway.connect().await;
    let bytes = Ask::chat("pool", false).bytes();
    let (most, _) = bytes.split_at(bytes.len() - 10);
    connection.send(most).await.expect("sent");
    settle().await;
    clock.seconds(29).await;
    settle().await;
    assert!(connection.head().now_or_never().is_none());
    clock.seconds(2).await;
    let mut reply = soon(connection.head()).await.expect("an answer");
    assert_eq!(reply.status, 408);
    settle().await;
    clock.seconds(3).await;
    soon(connection.rest(&mut reply)).await;
    assert_eq!(reply.verdict(), (408, "invalid_request_error".into(), Some("request_timeout".into())));
}

#[tokio::test]
async fn many_requests_share_few_connections() {
    let gateway = Gateway::single().await;
    let mut connection = gateway.connect().await;
    for number in 0..50 {
        let reply = soon(connection.ask(&Ask::chat("pool", number % 2 == 0))).await.expect("an answer");
        assert!(reply.is_good_chat());
    }
    assert_eq!(gateway.providers[0].counts().connections, 1);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_pools_of_the_usual_clients() {
    let clock = HeldClock::new();
    let gateway = Gateway::single().await;
    let asks = [
        Ask::chat("pool", true),
        Ask::chat("pool", false),
        Ask::chat("unknown", false),
        Ask::get("/health"),
        Ask::new(Method::HEAD, "/health"),
        Ask::get("/nowhere"),
    ];
    // Whatever it was asked last, it is idle from then on.
    let mut connections = Vec::new();
    for ask in asks {
        connections.push((gateway.connect().await, ask));
    }
    for _ in 0..3 {
        for (connection, ask) in &mut connections {
            soon(connection.ask(ask)).await.expect("an answer, since a minute is not too long");
        }
        settle().await;
        clock.seconds(60).await;
        settle().await;
    }
    for (connection, ask) in &mut connections {
        assert!(connection.closed().now_or_never().is_none(), "{ask:?}");
    }
    clock.seconds(20).await;
    for (connection, _) in &mut connections {
        soon(connection.closed()).await;
    }
}
