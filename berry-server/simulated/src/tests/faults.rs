//! Faults instead of a response, and in plain responses.

use super::{Read, ask, ask_with, chat, end, post, read, soon, start};
use crate::{End, Fault, Provider, Refusal};
use serde_json::json;
use std::error::Error;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[tokio::test]
async fn errors_have_the_common_shape() {
    let cases = [
        ("e503", 503, "server_error", None),
        ("e500", 500, "server_error", None),
        ("e429", 429, "requests", Some("rate_limit_exceeded")),
        ("e529", 529, "overloaded_error", None),
        ("e401", 401, "invalid_request_error", Some("invalid_api_key")),
        ("key", 401, "invalid_request_error", Some("invalid_api_key")),
        ("quota", 429, "insufficient_quota", Some("insufficient_quota")),
        ("busy", 503, "overloaded_error", Some("server_is_overloaded")),
        ("ctx", 400, "invalid_request_error", Some("context_length_exceeded")),
        ("policy", 400, "invalid_request_error", Some("content_policy_violation")),
        ("e418", 418, "invalid_request_error", None),
    ];
    for (token, status, kind, code) in cases {
        for stream in [false, true] {
            let call = ask(&format!("sim-{token}"), stream).await;
            assert_eq!(call.response.status(), status, "{token}");
            assert_eq!(call.response.headers()["content-type"], "application/json");
            assert_eq!(call.response.headers().get("retry-after"), None);
            let (provider, read) = call.read().await;
            let error = &read.json()["error"];
            assert_eq!(error["type"], kind, "{token}");
            assert_eq!(error["code"].as_str(), code, "{token}");
            assert_eq!(end(&provider).await, End::Complete);
            assert_eq!(provider.seen()[0].ended.unwrap().status, Some(status));
        }
    }
}

#[tokio::test]
async fn returns_a_custom_error() {
    let provider = start().await;
    let own = Refusal::new(451, "legal_error", "Not here.").code("blocked").param("user");
    provider.set(Fault::Refuse(own));
    let response = post(&provider, "/chat/completions", &chat("sim", true)).send().await.unwrap();
    assert_eq!(response.status(), 451);
    let expected = json!({"error": {
        "message": "Not here.", "type": "legal_error", "param": "user", "code": "blocked",
    }});
    assert_eq!(read(response).await.json(), expected);
}

#[tokio::test]
async fn rejects_a_field_only_if_present() {
    let mut body = chat("sim-noopts-nomax", true);
    assert_eq!(ask_with(&body).await.response.status(), 200);
    body["stream_options"] = json!({"include_usage": true});
    let call = ask_with(&body).await;
    assert_eq!(call.response.status(), 400);
    let error = call.read().await.1.json();
    assert_eq!(error["error"]["param"], "stream_options");
    assert!(error["error"]["message"].as_str().unwrap().contains("stream_options"));
    body.as_object_mut().unwrap().remove("stream_options");
    body["max_tokens"] = json!(5);
    let error = ask_with(&body).await.read().await.1.json();
    assert_eq!(error["error"]["param"], "max_tokens");
}

/// Sends a request over a bare socket.
async fn raw(provider: &Provider, model: &str, stream: bool) -> TcpStream {
    let body = chat(model, stream).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        provider.key(),
        body.len(),
    );
    let mut socket = TcpStream::connect(provider.addr()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Reads to the end. Returns the bytes, and whether the connection was reset.
async fn drain(socket: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match soon(socket.read_to_end(&mut bytes)).await {
        Ok(_) => (bytes, false),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            (bytes, true)
        }
    }
}

#[tokio::test]
async fn resets_before_the_head() {
    for stream in [false, true] {
        let provider = start().await;
        let mut socket = raw(&provider, "sim-reset", stream).await;
        let (bytes, reset) = drain(&mut socket).await;
        assert!(reset && bytes.is_empty());
        assert_eq!(end(&provider).await, End::Reset);
        assert_eq!(provider.seen()[0].ended.unwrap().status, None);
    }
}

#[tokio::test]
async fn resets_after_the_given_tokens() {
    let provider = start().await;
    let mut socket = raw(&provider, "sim-rst7", true).await;
    let (bytes, reset) = drain(&mut socket).await;
    assert!(reset);
    let text = String::from_utf8(bytes).unwrap();
    // The first chunk has empty content and is not one of the seven.
    assert_eq!(text.matches(r#""delta":{"content":"#).count(), 7);
    assert!(!text.contains("\r\n0\r\n"));
    assert_eq!(end(&provider).await, End::Reset);
}

#[tokio::test]
async fn cut_closes_without_the_last_chunk() {
    let provider = start().await;
    let mut socket = raw(&provider, "sim-cut7", true).await;
    let (bytes, reset) = drain(&mut socket).await;
    assert!(!reset);
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.matches(r#""delta":{"content":"#).count(), 7);
    assert!(!text.contains("\r\n0\r\n"));
    assert_eq!(end(&provider).await, End::Cut);
}

#[tokio::test]
async fn silence_lasts_until_the_client_disconnects() {
    for stream in [false, true] {
        let provider = start().await;
        let mut socket = raw(&provider, "sim-silent", stream).await;
        soon(provider.wait_for(1)).await;
        let mut byte = [0];
        let wait = Duration::from_millis(50);
        let heard = tokio::time::timeout(wait, socket.read(&mut byte)).await;
        assert!(heard.is_err());
        assert_eq!(provider.counts().in_flight, 1);
        assert_eq!(provider.seen()[0].end(), None);
        drop(socket);
        assert_eq!(end(&provider).await, End::PeerClosed);
        soon(provider.wait_until(|counts| counts.open_connections == 0)).await;
    }
}

#[tokio::test]
async fn html_and_empty_bodies_have_status_200() {
    for stream in [false, true] {
        let call = ask("sim-html", stream).await;
        assert_eq!(call.response.status(), 200);
        assert!(call.response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
        assert!(call.read().await.1.text().contains("<html>"));

        let call = ask("sim-empty", stream).await;
        assert_eq!(call.response.status(), 200);
        let (provider, read) = call.read().await;
        assert!(read.whole && read.bytes.is_empty());
        assert_eq!(end(&provider).await, End::Complete);
    }
}

#[tokio::test]
async fn plain_bodies_are_truncated() {
    let (_, good) = ask("sim", false).await.read().await;
    // The response contains the model's name, so the lengths differ by that of the tokens.
    let cases =
        [("short", End::Cut, true), ("cut5", End::Cut, true), ("chop", End::Cut, false), ("rst5", End::Reset, true)];
    for (token, how, has_length) in cases {
        let call = ask(&format!("sim-{token}"), false).await;
        let length = call.response.content_length();
        let promised = (good.bytes.len() + 1 + token.len()) as u64;
        assert_eq!(length, has_length.then_some(promised), "{token}");
        let (provider, read) = call.read().await;
        assert!(!read.whole, "{token}");
        assert_eq!(read.bytes.len() as u64, promised / 2, "{token}");
        assert_eq!(end(&provider).await, how);
    }
}

#[tokio::test]
async fn plain_body_stalls() {
    let call = ask("sim-stall5", false).await;
    let mut response = call.response;
    assert!(response.chunk().await.unwrap().is_some());
    let more = tokio::time::timeout(Duration::from_millis(50), response.chunk()).await;
    assert!(more.is_err());
    drop(response);
    assert_eq!(end(&call.provider).await, End::PeerClosed);
}

#[tokio::test]
async fn malformed_plain_body_has_a_correct_length() {
    let (_, read) = ask("sim-bad", false).await.read().await;
    assert!(read.whole);
    assert!(serde_json::from_slice::<serde_json::Value>(&read.bytes).is_err());
    let call = ask("sim-err", false).await;
    assert_eq!(call.response.status(), 200);
    assert_eq!(call.read().await.1.json()["error"]["type"], "server_error");
}

#[tokio::test]
async fn swaps_stream_and_plain_response() {
    let call = ask("sim-swap", false).await;
    assert!(call.response.headers()["content-type"].to_str().unwrap().starts_with("text/event"));
    assert!(call.read().await.1.done());
    let call = ask("sim-swap", true).await;
    assert_eq!(call.response.headers()["content-type"], "application/json");
    assert_eq!(call.read().await.1.json()["object"], "chat.completion");

    let provider = start().await;
    let body = json!({"model": "sim-swap", "input": "a"});
    let response = post(&provider, "/embeddings", &body).send().await.unwrap();
    let read: Read = read(response).await;
    assert_eq!(read.events()[0]["object"], "list");
}

#[tokio::test(start_paused = true)]
async fn delays_head_or_body() {
    let hour = Duration::from_secs(3600);
    let provider = start().await;
    let send = async |model: &str| {
        let body = chat(model, false);
        let response = post(&provider, "/chat/completions", &body).send().await;
        response.unwrap()
    };
    let begin = Instant::now();
    send("sim-head3600000").await;
    assert!(begin.elapsed() >= hour);

    let begin = Instant::now();
    let response = send("sim-late3600000").await;
    assert!(begin.elapsed() < hour);
    assert!(read(response).await.whole);
    assert!(begin.elapsed() >= hour);
}

#[tokio::test]
async fn closed_port_refuses_connections() {
    let provider = start().await;
    provider.down().await.unwrap();
    let body = chat("sim", false);
    let error = soon(post(&provider, "/chat/completions", &body).send()).await.unwrap_err();
    assert!(error.is_connect());
    let mut source: &dyn Error = &error;
    while let Some(next) = source.source() {
        source = next;
    }
    let io = source.downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(io.kind(), std::io::ErrorKind::ConnectionRefused);
}
