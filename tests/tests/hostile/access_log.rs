//! The access lines of streams that break.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use berry_tests::Ask;
use serde_json::Value;

use crate::{
    process::{ALICE, Gateway, Start, configuration},
    upstream::{Http1, Then, end_of_stream, event},
};

/// Sends one request for a stream to a provider that breaks off its first stream; returns the access line.
async fn line(model: &str) -> Value {
    let requests = Arc::<AtomicUsize>::default();
    let provider = Http1::start(move |_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_owned();
        let rest = if requests.fetch_add(1, Relaxed) == 0 { String::new() } else { event("two") + &end_of_stream() };
        ((head + &event("one") + &rest).into_bytes(), Then::Close)
    })
    .await;
    let start = Start { access_log: true, ..Start::default() };
    let gateway = Gateway::start_as(&configuration("", model, &[("a", provider.url(), "")]), start).await;
    let reply = gateway.ask(&Ask::chat("m", true).token(ALICE)).await;
    assert_eq!(reply.status, 200);
    // The line is written when the response has ended.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let lines = gateway.stop().await;
    let parse = |line: &String| serde_json::from_str::<Value>(line).ok();
    let mut lines = lines.iter().filter_map(parse).filter(|line| line["target"] == "berry_server::access");
    let mut line = lines.next().expect("an access line");
    assert!(lines.next().is_none(), "one request has one line");
    line["fields"].take()
}

#[tokio::test]
async fn a_stream_that_breaks_is_interrupted() {
    let line = line("").await;
    assert_eq!(line["outcome"], "interrupted", "{line}");
    assert_eq!((&line["backend"], &line["attempts"]), (&"a:m".into(), &1.into()), "{line}");
}

#[tokio::test]
async fn a_stream_that_is_resumed_is_complete_and_counts_its_attempts() {
    let line = line("stream_recovery = \"replay\"").await;
    assert_eq!(line["outcome"], "complete", "{line}");
    assert_eq!((&line["backend"], &line["attempts"]), (&"a:m".into(), &2.into()), "{line}");
}
