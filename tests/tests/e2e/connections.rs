//! Client connections: their limit, malformed requests, and timeouts of heads, bodies and idle time.

use std::time::Duration;

use berry_tests::{Ask, Gateway, HeldClock, settle, soon};
use futures_util::FutureExt;
use http::Method;

#[tokio::test]
async fn closes_the_longest_idle_connection_for_a_new_one() {
    let gateway = Gateway::builder().provider("a").max_connections(2).start().await;
    let mut held = [gateway.connect().await, gateway.connect().await];
    for connection in &mut held {
        assert!(soon(connection.ask(&Ask::chat("pool", false))).await.expect("an answer").is_good_chat());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut third = gateway.connect().await;
    assert!(soon(third.ask(&Ask::chat("pool", false))).await.expect("an answer").is_good_chat());
    let [mut first, mut second] = held;
    soon(first.closed()).await;
    assert!(soon(second.ask(&Ask::chat("pool", false))).await.expect("the connection is open").is_good_chat());
}

#[tokio::test]
async fn requests_beyond_the_limit_wait_and_health_checks_do_not() {
    let gateway = Gateway::builder().provider("a").max_connections(2).start().await;
    let chat = Ask::chat("pool", false).bytes();
    let mut held = [gateway.connect().await, gateway.connect().await];
    for connection in &mut held {
        // Incomplete requests are not idle.
        connection.send(&chat[..chat.len() - 1]).await.expect("sent");
    }
    settle().await;
    let mut third = gateway.connect().await;
    third.send(&chat).await.expect("sent");
    settle().await;
    assert!(third.head().now_or_never().is_none());
    for path in ["/livez", "/readyz", "/livez"] {
        let mut probe = gateway.connect().await;
        assert_eq!(soon(probe.ask(&Ask::get(path))).await.expect("an answer").status, 200);
    }
    // The queue is bounded: the next request is rejected.
    let mut waiting = [gateway.connect().await, gateway.connect().await];
    let [fourth, fifth] = &mut waiting;
    fourth.send(&chat).await.expect("sent");
    settle().await;
    let reply = soon(fifth.ask(&Ask::chat("pool", false))).await.expect("an answer");
    assert_eq!(reply.verdict(), (503, "server_error".into(), Some("overloaded".into())));
    assert_eq!(gateway.calls(0), 0);

    for connection in &mut held {
        connection.send(&chat[chat.len() - 1..]).await.expect("sent");
        let mut reply = soon(connection.head()).await.expect("an answer");
        soon(connection.rest(&mut reply)).await;
        assert!(reply.is_good_chat());
    }
    for connection in [&mut third, fourth] {
        let mut reply = soon(connection.head()).await.expect("an answer after the wait");
        soon(connection.rest(&mut reply)).await;
        assert!(reply.is_good_chat());
    }
}

#[tokio::test]
async fn malformed_requests_get_the_common_error_shape() {
    let gateway = Gateway::single().await;
    let large = [b"GET / HTTP/1.1\r\nhost: g\r\nx: ".as_slice(), &[b'a'; 70_000]].concat();
    for (sent, status) in [
        (b"nonsense\r\n\r\n".as_slice(), 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (&large, 431),
    ] {
        let mut connection = gateway.connect().await;
        connection.send(sent).await.expect("sent");
        let mut reply = soon(connection.head()).await.expect("an answer");
        soon(connection.rest(&mut reply)).await;
        assert_eq!((reply.verdict().0, reply.verdict().1.as_str()), (status, "invalid_request_error"));
        assert!(!reply.header("x-request-id").is_empty());
        soon(connection.closed()).await;
    }
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
    assert!(slow.closed().now_or_never().is_none(), "closed before the timeout of ten seconds");
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
    let (start, _) = bytes.split_at(bytes.len() - 10);
    connection.send(start).await.expect("sent");
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
async fn idle_connection_stays_open_for_over_a_minute() {
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
    // The idle timeout does not depend on the last request.
    let mut connections = Vec::new();
    for ask in asks {
        connections.push((gateway.connect().await, ask));
    }
    for _ in 0..3 {
        for (connection, ask) in &mut connections {
            soon(connection.ask(ask)).await.expect("the connection is open after a minute");
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
