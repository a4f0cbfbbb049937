//! Few files and many connections.

use std::time::Duration;

use berry_tests::Ask;
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::{
    process::{ALICE, BOB, Gateway, Start, configuration, idle},
    upstream::{Http1, Then, end_of_stream, event, good},
};

#[tokio::test]
async fn at_64_files_requests_are_served_or_refused_and_no_backend_is_blamed() {
    let provider = Http1::start(|request| {
        if !request.has("\"stream\":true") {
            return good();
        }
        let body = event("a") + &end_of_stream();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        (format!("{head}{body}").into_bytes(), Then::Close)
    })
    .await;
    let text = configuration("", "", &[("a", provider.url(), ""), ("b", provider.url(), "")]);
    let gateway = Gateway::start_as(&text, Start { files: Some(64), ..Start::default() }).await;
    let mut connections = Vec::new();
    for _ in 0..80 {
        connections.push(idle(gateway.address).await);
    }
    sleep(Duration::from_millis(500)).await;
    let health = Ask::new(http::Method::GET, "/livez");
    let reply = gateway.ask(&health).await;
    assert_eq!(reply.status, 200);
    drop(connections);
    let ask = Ask::chat("m", true).token(ALICE);
    for reply in join_all((0..35).map(|_| gateway.ask(&ask))).await {
        match reply.status.as_u16() {
            200 => assert!(reply.is_good_chat(), "{reply:?}"),
            503 => assert!(!reply.header("retry-after").is_empty(), "{reply:?}"),
            _ => panic!("{reply:?}"),
        }
    }
    let reply = gateway.chat(BOB).await;
    assert_eq!(reply.unwrap().status, 200);
    for backend in ["a", "b"] {
        let health = gateway.backend(backend).await;
        assert_eq!((&health["circuit_state"], &health["is_healthy"]), (&"closed".into(), &true.into()), "{health}");
    }
    let log = gateway.stop().await;
    assert!(log.iter().any(|line| line.contains("the limit of open files is low")), "{log:?}");
}
