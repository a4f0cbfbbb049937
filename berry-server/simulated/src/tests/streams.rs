//! Faults within streams.

use super::{Read, ask, end, post, soon, start};
use crate::{Behavior, Config, End, Fault, Provider};
use futures_util::StreamExt;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

async fn stream(model: &str) -> (Read, End) {
    let (provider, read) = ask(model, true).await.read().await;
    let end = end(&provider).await;
    (read, end)
}

#[tokio::test]
async fn cut_keeps_the_events_before_it() {
    for (tokens, seen) in [(0, 0), (1, 1), (40, 40), (60, 60), (1000, 60)] {
        let (read, end) = stream(&format!("sim-cut{tokens}")).await;
        assert_eq!(read.contents().len(), seen);
        assert_eq!(read.finish(), None);
        assert!(!read.whole && !read.done());
        assert_eq!(end, End::Cut);
    }
}

#[tokio::test]
async fn break_after_finish_loses_only_the_end() {
    let (read, end) = stream("sim-cutfin").await;
    assert_eq!((read.contents().len(), end), (60, End::Cut));
    assert_eq!(read.finish().as_deref(), Some("stop"));
    assert!(!read.whole && !read.done());
    let (read, end) = stream("sim-rstfin").await;
    assert_eq!(read.finish().as_deref(), Some("stop"));
    assert_eq!((read.whole, end), (false, End::Reset));
}

#[tokio::test]
async fn stall_lasts_until_the_client_disconnects() {
    let call = ask("sim-stall20", true).await;
    let mut body = call.response.bytes_stream();
    let mut text = Vec::new();
    // The twentieth token is the last event.
    let count = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        text.matches(r#""delta":{"content":"#).count()
    };
    while count(&text) < 20 {
        text.extend(soon(body.next()).await.unwrap().unwrap());
    }
    let more = tokio::time::timeout(Duration::from_millis(50), body.next()).await;
    assert!(more.is_err());
    assert_eq!(count(&text), 20);
    assert_eq!(call.provider.counts().in_flight, 1);
    drop(body);
    assert_eq!(end(&call.provider).await, End::PeerClosed);
}

#[tokio::test]
async fn malformed_event_is_additional() {
    let (read, end) = stream("sim-bad5").await;
    assert_eq!(read.contents().len(), 60);
    // All data except one event and the end marker is JSON.
    assert_eq!(read.data().len(), read.events().len() + 2);
    let bad = read.data().iter().position(|d| !d.ends_with('}')).unwrap();
    assert_eq!(bad, 1 + 5);
    assert!(read.done() && end == End::Complete);
}

#[tokio::test]
async fn end_events_can_be_missing() {
    let (read, end) = stream("sim-nodone").await;
    assert_eq!(read.finish().as_deref(), Some("stop"));
    assert!(!read.done() && read.whole && end == End::Complete);
    let (read, _) = stream("sim-nofinish").await;
    assert_eq!(read.finish(), None);
    assert!(read.done() && read.whole);
    let (read, _) = stream("sim-nofinish-nodone").await;
    assert_eq!(read.data().len(), 1 + 60);
    assert!(read.whole);
}

#[tokio::test]
async fn error_event_comes_first_or_later() {
    let (read, _) = stream("sim-err").await;
    assert_eq!(read.data().len(), 2);
    assert_eq!(read.events()[0]["error"]["type"], "server_error");
    assert!(read.done());
    let (read, _) = stream("sim-err20-nodone").await;
    assert_eq!(read.contents().len(), 20);
    assert!(read.events().last().unwrap()["error"].is_object());
    assert!(!read.done() && read.whole);
}

#[tokio::test]
async fn responses_api_has_its_own_errors_and_end_events() {
    let provider = start().await;
    let get = async |model: &str| {
        let body = json!({"model": model, "input": "hi", "stream": true});
        let response = post(&provider, "/responses", &body).send().await.unwrap();
        soon(super::read(response)).await
    };
    let read = get("sim-err").await;
    assert_eq!(read.events().len(), 1);
    assert_eq!(read.events()[0]["type"], "error");
    let read = get("sim-nofinish").await;
    assert!(read.whole && !read.text().contains("response.completed"));
    let read = get("sim-cut3").await;
    assert_eq!(read.text().matches("event: response.output_text.delta").count(), 3);
    assert!(!read.whole);
}

#[tokio::test]
async fn splits_and_line_ends_keep_the_content() {
    let (good, _) = stream("sim").await;
    for (token, crlf) in [("split1", false), ("split7", false), ("crlf", true), ("crlf-split3", true)] {
        let (read, end) = stream(&format!("sim-{token}")).await;
        assert_eq!(read.contents(), good.contents(), "{token}");
        assert!(read.done() && read.whole && end == End::Complete);
        let lines = read.text().matches('\n').count();
        let crlfs = read.text().matches("\r\n").count();
        assert_eq!(crlfs, if crlf { lines } else { 0 }, "{token}");
    }
    let (read, _) = stream("sim-split3-crlf-cut10").await;
    assert_eq!((read.contents().len(), read.whole), (10, false));
}

#[tokio::test]
async fn split_pieces_arrive_separately() {
    let call = ask("sim-split5-t2", true).await;
    let mut body = call.response.bytes_stream();
    let mut sizes = Vec::new();
    while let Some(chunk) = soon(body.next()).await {
        sizes.push(chunk.unwrap().len());
    }
    // hyper yields the data of each chunk separately.
    let (last, rest) = sizes.split_last().unwrap();
    assert!(rest.len() > 50 && rest.iter().all(|&size| size == 5));
    assert!(*last <= 5);
}

#[tokio::test]
async fn huge_events_have_the_given_size() {
    let (read, _) = stream("sim-huge64-t3").await;
    let contents = read.contents();
    assert_eq!(contents.len(), 3);
    assert!(contents[1..].iter().all(|text| text.len() == 64 * 1024));
    assert!(read.done());
}

#[tokio::test]
async fn drip_sends_single_bytes() {
    for stream in [true, false] {
        let config = Config { echo: false, tokens: Some(0), ..Config::named("d") };
        let provider = Provider::start(config).await.unwrap();
        provider.set(Fault::Drip(Duration::from_millis(1)));
        let body = super::chat("sim", stream);
        let begin = Instant::now();
        let response = post(&provider, "/chat/completions", &body).send().await.unwrap();
        let read = soon(super::read(response)).await;
        assert!(read.whole);
        let least = Duration::from_millis(read.bytes.len() as u64);
        assert!(begin.elapsed() >= least);
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_delayed_and_the_head_is_not() {
    let provider = Provider::start(Config {
        first_token: Duration::from_secs(800),
        per_token: Duration::from_secs(100),
        tokens: Some(5),
        ..Config::named("slow")
    })
    .await
    .unwrap();
    let send = async |stream| {
        let body = super::chat("sim", stream);
        let response = post(&provider, "/chat/completions", &body).send().await;
        response.unwrap()
    };
    let begin = Instant::now();
    let response = send(true).await;
    assert!(begin.elapsed() < Duration::from_secs(800));
    assert!(super::read(response).await.done());
    assert!(begin.elapsed() >= Duration::from_secs(800 + 4 * 100));

    let begin = Instant::now();
    send(false).await;
    assert!(begin.elapsed() >= Duration::from_secs(800 + 4 * 100));
}

#[tokio::test]
async fn cut_follows_all_sent_data_for_a_slow_reader() {
    let provider = start().await;
    let behavior = Behavior::from(Fault::Huge(512 * 1024)).and(Fault::CutAfter(40)).tokens(60);
    provider.set(behavior);
    let body = super::chat("sim", true);
    let response = post(&provider, "/chat/completions", &body).send().await.unwrap();
    // The pending data exceeds the socket buffers.
    soon(provider.wait_for(1)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(provider.counts().in_flight, 1);
    let read = soon(super::read(response)).await;
    assert_eq!(read.contents().len(), 40);
    assert!(!read.whole);
    assert_eq!(end(&provider).await, End::Cut);
}

#[tokio::test]
async fn speech_is_cut() {
    let provider = start().await;
    let body = json!({"model": "sim-cut2", "input": "one two three", "voice": "alloy"});
    let response = post(&provider, "/audio/speech", &body).send().await.unwrap();
    let read = soon(super::read(response)).await;
    assert_eq!((read.bytes.len(), read.whole), (2048, false));
    let body = json!({"model": "sim-err", "input": "one", "voice": "alloy"});
    let response = post(&provider, "/audio/speech", &body).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(soon(super::read(response)).await.json()["error"].is_object());
}
