//! Invalid requests get the right status and code in the common shape, and the connection stays usable.

use berry_tests::{Ask, Connection, Gateway, Reply, soon};
use http::Method;

/// Sends an invalid request, then a valid one on the same connection. Returns the reply to the first.
async fn rejection(gateway: &Gateway, ask: &Ask) -> Reply {
    let mut connection = gateway.connect().await;
    let reply = soon(connection.ask(ask)).await.expect("an answer");
    let next = soon(connection.ask(&Ask::chat("pool", false))).await.expect("the connection stays open");
    assert!(next.is_good_chat(), "{next:?}");
    reply
}

async fn verdict(gateway: &Gateway, ask: &Ask) -> (u16, String, String) {
    let (status, kind, code) = rejection(gateway, ask).await.verdict();
    (status, kind, code.unwrap_or_default())
}

fn is(status: u16, kind: &str, code: &str) -> (u16, String, String) {
    (status, kind.to_owned(), code.to_owned())
}

#[tokio::test]
async fn rejects_an_invalid_body() {
    let gateway = Gateway::single().await;
    let chat = |body: &[u8]| Ask::post("/v1/chat/completions", body);
    for body in [
        b"".as_slice(),
        b"null",
        b"[]",
        b"\"model\"",
        b"{\"model\":\"pool\"",
        b"{\"model\":\"pool\"}}",
        b"{model:\"pool\"}",
        b"{\"model\":\"pool\",}",
        b"{\"model\":\"pool\",\"messages\":[01]}",
        b"{\"messages\":[]}",
        b"{\"model\":null}",
        b"{\"model\":7}",
        b"{\"model\":[\"pool\"]}",
        b"{\"model\":\"pool\",\"model\":\"pool\"}",
        b"{\"model\":\"pool\",\"mod\\u0065l\":\"pool\"}",
        b"{\"model\":\"pool\",\"user\":\"\xff\xfe\"}",
        b"{\"model\":\"po\xc3\"}",
        b"\xef\xbb\xbf",
    ] {
        let text = String::from_utf8_lossy(body);
        assert_eq!(verdict(&gateway, &chat(body)).await, is(400, "invalid_request_error", ""), "{text}");
    }
    let param = |reply: Reply| reply.error()["param"].clone();
    assert_eq!(param(rejection(&gateway, &chat(b"{\"messages\":[]}")).await), "model");
    assert_eq!(param(rejection(&gateway, &chat(b"{\"model\":7}")).await), "model");
}

#[tokio::test]
async fn deep_nesting_is_harmless() {
    let gateway = Gateway::single().await;
    let depth = 10_000;
    let body = format!("{{\"model\":\"pool\",\"messages\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let reply = rejection(&gateway, &Ask::post("/v1/chat/completions", body)).await;
    assert_eq!(reply.status, 400, "the gateway or the provider rejects it: {reply:?}");
    assert_eq!(reply.error()["type"], "invalid_request_error");
}

#[tokio::test]
async fn rejects_a_body_over_the_limit() {
    let gateway = Gateway::single().await;
    // A body slightly over the limit is discarded, and the connection stays open.
    let body = vec![b' '; (32 << 20) + 1];
    let ask = Ask::post("/v1/chat/completions", body);
    assert_eq!(verdict(&gateway, &ask).await, is(413, "invalid_request_error", "request_too_large"));

    let mut connection = gateway.connect().await;
    let ask = Ask::post("/v1/chat/completions", vec![b' '; 100_000_000]);
    let reply = soon(connection.ask_at_length(ask.bytes())).await.expect("the client receives the response");
    assert_eq!(reply.status, 413);
    assert_eq!(reply.error()["code"], "request_too_large");

    // The same without a `content-length`.
    let mut connection = gateway.connect().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n";
    let mut bytes = format!("{head}authorization: Bearer {}\r\n\r\n", berry_tests::TOKEN).into_bytes();
    for _ in 0..40 {
        bytes.extend_from_slice(b"100000\r\n");
        bytes.resize(bytes.len() + (1 << 20), b' ');
        bytes.extend_from_slice(b"\r\n");
    }
    let reply = soon(connection.ask_at_length(bytes)).await.expect("the client receives the response");
    assert_eq!(reply.status, 413);
    assert!(gateway.plain().await.is_good_chat());
}

#[tokio::test]
async fn applies_a_smaller_body_limit() {
    let gateway = Gateway::builder().provider("a").settings("max_request_body_bytes = 200").start().await;
    let long = Ask::post("/v1/chat/completions", format!("{{\"model\":\"pool\",\"user\":\"{}\"}}", "u".repeat(200)));
    assert_eq!(verdict(&gateway, &long).await, is(413, "invalid_request_error", "request_too_large"));
}

#[tokio::test]
async fn rejects_too_many_headers() {
    let gateway = Gateway::single().await;
    let mut many = Ask::get("/v1/models");
    for i in 0..500 {
        many = many.header(&format!("x-{i}"), "1");
    }
    let large = Ask::get("/v1/models").header("x-large", &"x".repeat(100_000));
    assert_eq!(verdict(&gateway, &many).await, is(431, "invalid_request_error", "headers_too_large"));
    // A connection without an authenticated request may send a head of 64 KiB, and is closed beyond that.
    let mut connection = gateway.connect().await;
    let (status, kind, code) = soon(connection.ask(&large)).await.expect("an answer").verdict();
    let actual = (status, kind, code.unwrap_or_default());
    assert_eq!(actual, is(431, "invalid_request_error", "headers_too_large"));
    soon(connection.closed()).await;
    // Beyond the read limit the connection closes, with the same status.
    let mut connection = gateway.connect().await;
    let huge = Ask::get("/v1/models").header("x-large", &"x".repeat(2_000_000));
    let reply = soon(connection.ask_at_length(huge.bytes())).await;
    if let Ok(reply) = reply {
        assert_eq!(reply.status, 431);
    }
    assert!(gateway.plain().await.is_good_chat());
}

#[tokio::test]
async fn invalid_credentials_get_the_same_401() {
    let users = "[users.gone]\ntoken = \"token-of-gone-0123456789\"\nenabled = false\n\
                 [users.late]\ntoken = \"token-of-late-0123456789\"\nexpires_at = 2020-01-01T00:00:00Z";
    let gateway = Gateway::builder().provider("a").tables(users).start().await;
    let ask = Ask::chat("pool", false);
    let mut messages = Vec::new();
    for bad in [
        ask.clone().without("authorization"),
        ask.clone().token("no-such-token-anywhere"),
        ask.clone().token("token-of-gone-0123456789"),
        ask.clone().token("token-of-late-0123456789"),
        ask.clone().without("authorization").header("authorization", "Basic dXNlcjpwYXNz"),
        ask.clone().without("authorization").header("authorization", "Bearer"),
        ask.clone().without("authorization").header("authorization", ""),
        ask.clone().header("authorization", &format!("Bearer {}", berry_tests::TOKEN)),
        Ask::new(Method::GET, "/v1/models"),
        Ask::new(Method::GET, "/v1/models/pool"),
    ] {
        let reply = rejection(&gateway, &bad).await;
        let expected = (401, "invalid_request_error".to_owned(), Some("invalid_api_key".to_owned()));
        assert_eq!(reply.verdict(), expected, "{bad:?}");
        assert_eq!(reply.header("www-authenticate"), "Bearer");
        messages.push(reply.error()["message"].clone());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "the message does not depend on the reason: {messages:?}");
}

#[tokio::test]
async fn rejects_a_bad_token_before_reading_the_body() {
    let gateway = Gateway::single().await;
    let mut connection = gateway.connect().await;
    let ask = Ask::chat("pool", false).token("no-such-token-anywhere");
    connection.send(&ask.head(1000)).await.unwrap();
    let mut reply = soon(connection.head()).await.expect("an answer before the body");
    assert_eq!(reply.status, 401);
    connection.send(&[b'x'; 1000]).await.unwrap();
    soon(connection.rest(&mut reply)).await;
    assert!(reply.whole);
    assert!(soon(connection.ask(&Ask::chat("pool", false))).await.unwrap().is_good_chat());
}

#[tokio::test]
async fn unknown_paths_methods_and_models_are_rejected() {
    let tables = "[models.tagged]\nname = \"tagged\"\n[[models.tagged.backends]]\nprovider = \"a\"\nmodel = \"sim\"\n\
         tags = [\"vip\"]\n[models.off]\nname = \"off\"\nenabled = false\n[[models.off.backends]]\nprovider = \"a\"\n\
         model = \"sim\"\n[models.other]\nname = \"other\"\n[[models.other.backends]]\nprovider = \"a\"\nmodel = \"sim\"";
    let gateway =
        Gateway::builder().provider("a").user("allowed_models = [\"pool\", \"tagged\", \"off\"]").tables(tables);
    let gateway = gateway.start().await;
    let kind = "invalid_request_error";
    for (ask, expected) in [
        (Ask::get("/nowhere"), is(404, kind, "not_found")),
        (Ask::get("/v1/nowhere"), is(404, kind, "not_found")),
        (Ask::get("/v1/chat/completions"), is(405, kind, "method_not_allowed")),
        (Ask::post("/v1/models", "{}"), is(405, kind, "method_not_allowed")),
        (Ask::new(Method::DELETE, "/health"), is(405, kind, "method_not_allowed")),
        (Ask::chat("unknown", false), is(404, kind, "model_not_found")),
        (Ask::chat("off", false), is(404, kind, "model_not_found")),
        (Ask::chat("other", true), is(403, "permission_error", "model_not_allowed")),
        (Ask::chat("tagged", false), is(403, "permission_error", "no_backend_for_user")),
        (Ask::get("/v1/models/unknown"), is(404, kind, "model_not_found")),
        (Ask::get("/v1/models/other"), is(404, kind, "model_not_found")),
    ] {
        assert_eq!(verdict(&gateway, &ask).await, expected, "{ask:?}");
    }
    assert_eq!(rejection(&gateway, &Ask::chat("other", false)).await.error()["param"], "model");
    assert_eq!(rejection(&gateway, &Ask::chat("unknown", false)).await.error()["param"], "model");
}

#[tokio::test]
async fn rejects_an_endpoint_that_no_backend_serves() {
    let tables = "[providers.c]\nbase_url = \"http://127.0.0.1:9\"\napi_key = \"k\"\nmodels = [\"claude\"]\n\
        backend_type = \"claude\"\n[models.claude]\nname = \"claude\"\n[[models.claude.backends]]\nprovider = \"c\"\n\
        model = \"claude\"\nprobe = \"none\"";
    let gateway = Gateway::builder().provider("a").tables(tables).start().await;
    let ask = Ask::post("/v1/embeddings", r#"{"model":"claude","input":"hi"}"#);
    assert_eq!(verdict(&gateway, &ask).await, is(400, "invalid_request_error", "unsupported_endpoint"));
}

#[tokio::test]
async fn closes_connections_that_do_not_speak_http() {
    let gateway = Gateway::single().await;
    for bytes in [b"\x16\x03\x01\x02\x00\x01\x00".as_slice(), b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"] {
        let mut connection = Connection::open(gateway.addr).await.unwrap();
        connection.send(bytes).await.unwrap();
        soon(connection.closed()).await;
    }
    assert!(gateway.plain().await.is_good_chat());
}
