//! No key and no token appears in a log line of any level, in an error, or in `Debug` output.
//!
//! This is a test binary of its own because it installs a global subscriber.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{io, sync::mpsc};

use berry_simulated::{Config, Fault, Refusal};
use berry_tests::{Ask, Gateway, Reply, TOKEN, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

const BAD_TOKEN: &str = "token-that-is-unknown-0123456789";
const BOB: &str = "token-of-bob-0123456789ab";
const KEYS: [&str; 3] = ["sk-simulated-first-0123", "plainwords-without-a-known-beginning", "short1"];
const HEADER: &str = "the-house-secret-0123";
/// Text of a request body. It is no secret, but bodies do not belong in the log.
const QUESTION: &str = "text-for-the-provider-only";

fn secrets() -> impl Iterator<Item = &'static str> {
    [TOKEN, BAD_TOKEN, BOB, HEADER].into_iter().chain(KEYS)
}

struct Lines(mpsc::Sender<Vec<u8>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn has_secret(text: &str) -> Option<&'static str> {
    secrets().find(|secret| text.contains(secret))
}

fn ask(model: &str, stream: bool, token: &str) -> Ask {
    let body = serde_json::json!({
        "model": model, "stream": stream, "user": token, "messages": [{"role": "user", "content": QUESTION}],
    });
    Ask::post("/v1/chat/completions", body.to_string()).token(token).header("x-api-key", token)
}

async fn gateway() -> Gateway {
    let mut builder = Gateway::builder().settings("max_internal_retries = 0").tables(&format!(
        "[users.bob]\ntoken = \"{BOB}\"\nallowed_models = [\"pool\"]\n[users.bob.rate_limit]\nrequests_per_day = 1"
    ));
    for (name, key) in ["a", "b", "c"].into_iter().zip(KEYS) {
        let config = Config { key: key.to_owned(), tokens: Some(4), echo: false, ..Config::named(name) };
        builder = builder.provider_as(config).with(&format!("headers = {{ \"x-house\" = \"{HEADER}\" }}"));
    }
    builder.start().await
}

/// Returns an error response that quotes the key in every field.
fn quoting(status: u16, code: Option<&'static str>) -> impl Fn(&str) -> Fault {
    move |key| {
        let message = format!("Incorrect API key provided: {key}. Header: {HEADER}.");
        Fault::Refuse(match code {
            Some(code) => Refusal::new(status, "some_error", message).code(code).param(key.to_owned()),
            None => Refusal::new(status, key.to_owned(), message).code(key.to_owned()),
        })
    }
}

/// Returns the reply of a new gateway whose providers have the fault. In a used gateway the breakers
/// would be open.
async fn with_fault(fault: impl Fn(&str) -> Fault, stream: bool) -> Reply {
    let gateway = gateway().await;
    gateway.providers.iter().for_each(|provider| provider.set(fault(provider.key())));
    gateway.ask(&ask("pool", stream, TOKEN)).await
}

/// Returns the reply of a gateway whose provider responds with 200 and the given body.
async fn with_body(media: &str, body: &str, stream: bool) -> Reply {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, length) = (format!("http://{}/v1", listener.local_addr().unwrap()), body.len());
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let provider = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") && socket.read_buf(&mut request).await.is_ok_and(|n| n > 0) {}
            let _ = socket.write_all(response.as_bytes()).await;
        }
    });
    let tables = format!(
        "[providers.raw]\nbase_url = \"{url}\"\napi_key = \"{}\"\nmodels = [\"m\"]\n\
         [models.raw]\nname = \"raw\"\n[[models.raw.backends]]\nprovider = \"raw\"\nmodel = \"m\"\nprobe = \"none\"",
        KEYS[1]
    );
    let gateway = Gateway::builder().provider("a").settings("max_internal_retries = 0").tables(&tables).start().await;
    let reply = gateway.ask(&ask("raw", stream, TOKEN)).await;
    provider.abort();
    reply
}

/// Returns the replies to errors in the body of a successful response.
async fn errors_in_bodies() -> Vec<Reply> {
    let key = KEYS[1];
    let error = format!(r#"{{"error":{{"message":"bad key {key}","type":"{key}","param":"{key}","code":"{key}"}}}}"#);
    let token = r#"data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#;
    let events = "text/event-stream";
    vec![
        with_body("application/json", &error, false).await,
        with_body(events, &format!("data: {error}\n\ndata: [DONE]\n\n"), true).await,
        with_body(events, &format!("{token}\n\ndata: {error}\n\ndata: [DONE]\n\n"), true).await,
        with_body(events, &format!("{token}\n\nevent: error\ndata: {error}\n\n"), true).await,
        with_body(events, &error, true).await,
    ]
}

async fn provoke_all_outcomes(gateway: &Gateway) -> Vec<Reply> {
    let mut replies = Vec::new();
    for stream in [false, true] {
        for token in [TOKEN, BAD_TOKEN, BOB] {
            for model in ["pool", "unknown"] {
                replies.push(gateway.ask(&ask(model, stream, token)).await);
            }
        }
        for (status, code) in [
            (400, None),
            (400, Some("context_length_exceeded")),
            (400, Some("content_policy_violation")),
            (401, Some("invalid_api_key")),
            (403, None),
            (404, None),
            (409, Some("conflict")),
            (422, None),
            (429, None),
            (429, Some("insufficient_quota")),
            (500, None),
            (529, None),
        ] {
            replies.push(with_fault(quoting(status, code), stream).await);
        }
        for fault in [Fault::Reset, Fault::Html, Fault::CutAfter(2), Fault::ErrorAfter(1), Fault::Malformed(1)] {
            replies.push(with_fault(|_| fault.clone(), stream).await);
        }
    }
    replies.extend(errors_in_bodies().await);
    let mut connection = gateway.connect().await;
    connection.send(&ask("pool", true, TOKEN).bytes()).await.unwrap();
    soon(connection.head()).await.unwrap();
    drop(connection);
    for path in ["/v1/models", "/v1/models/pool", "/health", "/v1/health", "/nowhere"] {
        replies.push(gateway.ask(&Ask::get(&format!("{path}?api_key={TOKEN}"))).await);
    }
    replies.push(gateway.ask(&Ask::get("/v1/models").token(BAD_TOKEN)).await);
    replies.push(gateway.ask(&Ask::post("/v1/chat/completions", format!("{{\"model\":\"{TOKEN}"))).await);
    replies.push(gateway.ask(&Ask::post("/v1/chat/completions", format!("{{\"model\":\"{TOKEN}\"}}"))).await);
    replies.push(gateway.ask(&Ask::get("/v1/models").without("authorization").header("authorization", TOKEN)).await);
    replies
}

#[tokio::test]
async fn keys_and_tokens_never_leak() {
    let (sender, receiver) = mpsc::channel();
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || Lines(sender.clone()));
    tracing_subscriber::registry().with(LevelFilter::TRACE).with(lines).init();

    let gateway = gateway().await;
    let replies = soon(provoke_all_outcomes(&gateway)).await;
    for provider in &gateway.providers {
        for seen in provider.seen() {
            let text = format!("{:?}", seen.headers);
            assert!(![TOKEN, BAD_TOKEN, BOB].iter().any(|token| text.contains(token)), "{text}");
        }
    }
    for reply in &replies {
        let text = format!("{reply:?}");
        assert_eq!(has_secret(&text), None, "{text}");
    }
    for text in [format!("{gateway:?}"), format!("{gateway:#?}"), format!("{:?}", gateway.loaded)] {
        assert_eq!(has_secret(&text), None);
    }
    gateway.server.shutdown().await;

    let log = String::from_utf8(receiver.try_iter().flatten().collect()).unwrap();
    assert!(log.contains("request finished") && log.contains("TRACE"), "the log has lines of every level");
    for line in log.lines() {
        assert_eq!(has_secret(line), None, "{line}");
        assert!(!line.contains(QUESTION), "{line}");
    }
    logged_bodies_hide_secrets(&receiver).await;
}

/// Checks that the body log, when enabled, has the bodies without keys and tokens.
async fn logged_bodies_hide_secrets(log: &mpsc::Receiver<Vec<u8>>) {
    let key = KEYS[1];
    let config = Config { key: key.to_owned(), echo: true, ..Config::named("a") };
    let settings = "log_request_body = true\nlog_response_body = true";
    let gateway = Gateway::builder().provider_as(config).settings(settings).start().await;
    for stream in [false, true] {
        let words = format!("{QUESTION} {key} {TOKEN} sk-of-another-account-0123456789");
        let body = serde_json::json!({
            "model": "pool", "stream": stream, "messages": [{"role": "user", "content": words}],
        });
        let reply = gateway.ask(&Ask::post("/v1/chat/completions", body.to_string())).await;
        assert!(reply.text().contains(QUESTION), "the provider echoes the prompt");
    }
    gateway.server.shutdown().await;
    let log = String::from_utf8(log.try_iter().flatten().collect()).unwrap();
    for what in ["request body", "response body"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(what)).collect();
        assert_eq!(lines.len(), 2, "{log}");
        for line in lines {
            assert!(line.contains("DEBUG") && line.contains(QUESTION) && line.contains("sk-…6789"), "{line}");
        }
    }
    for line in log.lines() {
        assert_eq!(has_secret(line), None, "{line}");
        assert!(!line.contains("another-account"), "{line}");
    }
}
