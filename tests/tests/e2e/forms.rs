//! Endpoints that take multipart forms, reranking, moderations, and the rejection of WebSockets.

use berry_simulated::Fault;
use berry_tests::{Ask, Gateway, Reply};
use serde_json::json;

const BOUNDARY: &str = "----boundary7";

fn field(name: &str, value: &str) -> Vec<u8> {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes()
}

/// Returns a file field that contains every byte value and line breaks.
fn file(name: &str) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.wav\"\r\n\
         Content-Type: audio/wav\r\n\r\n"
    );
    [head.as_bytes(), &(0..=255).collect::<Vec<u8>>(), b"\r\n\r\n--\r\n\r\n"].concat()
}

fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), format!("--{BOUNDARY}--\r\n").into_bytes()].concat()
}

async fn post(gateway: &Gateway, path: &str, body: Vec<u8>) -> Reply {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let ask = Ask::post(path, body).without("content-type").header("content-type", &content_type);
    gateway.ask(&ask).await
}

#[tokio::test]
async fn replaces_only_the_model_of_a_form() {
    for (path, name) in [
        ("/v1/audio/transcriptions", "file"),
        ("/v1/audio/translations", "file"),
        ("/v1/images/edits", "image"),
        ("/v1/images/variations", "image"),
    ] {
        let gateway = Gateway::builder().provider("a").start().await;
        for is_first in [true, false] {
            let parts = |model: &str| {
                let mut parts = vec![file(name), field("prompt", "a gate")];
                parts.insert(if is_first { 0 } else { 2 }, field("model", model));
                form(&parts)
            };
            let reply = post(&gateway, path, parts("pool")).await;
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
            assert_eq!(reply.header("x-berry-backend"), "a:sim");
            let sent = gateway.providers[0].calls().pop().unwrap();
            assert_eq!(sent.path, path);
            assert_eq!(sent.body, parts("sim"), "{path}");
        }
    }
}

#[tokio::test]
async fn transcriptions_support_every_format() {
    let gateway = Gateway::builder().provider("a").start().await;
    let ask = async |parts: &[(&str, &str)]| {
        let fields = parts.iter().map(|(name, value)| field(name, value));
        let parts: Vec<_> = [field("model", "pool"), file("file")].into_iter().chain(fields).collect();
        post(&gateway, "/v1/audio/transcriptions", form(&parts)).await
    };
    let plain = ask(&[]).await;
    assert_eq!(plain.json()["text"], "a.wav has 264 bytes.");
    let text = ask(&[("response_format", "text")]).await;
    assert_eq!((text.text(), text.header("content-type")), ("a.wav has 264 bytes.\n", "text/plain; charset=utf-8"));
    assert!(ask(&[("response_format", "vtt")]).await.text().starts_with("WEBVTT"));
    let stream = ask(&[("stream", "true")]).await;
    assert!(stream.header("content-type").starts_with("text/event-stream") && stream.whole, "{stream:?}");
    assert_eq!(stream.events().last().unwrap()["type"], "transcript.text.done");
}

#[tokio::test]
async fn form_request_fails_over() {
    let gateway = Gateway::builder().provider("a").provider("b").strategy("failover").start().await;
    gateway.providers[0].set(Fault::Status(500));
    let reply = post(&gateway, "/v1/audio/transcriptions", form(&[file("file"), field("model", "pool")])).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-berry-backend")), (200, "b:sim"));
}

#[tokio::test]
async fn rejects_a_form_without_a_single_model() {
    let gateway = Gateway::builder().provider("a").settings("max_request_body_bytes = 4096").start().await;
    let model = || field("model", "pool");
    for body in [
        form(&[file("file")]),
        form(&[model(), model()]),
        form(&[model(), field("Model", "other")]),
        form(&[model(), field("stream", "maybe")]),
        model(),
        b"{}".to_vec(),
        Vec::new(),
    ] {
        let reply = post(&gateway, "/v1/audio/transcriptions", body.clone()).await;
        assert_eq!(reply.verdict().0, 400, "{} {reply:?}", String::from_utf8_lossy(&body));
    }
    let large = form(&[model(), field("prompt", &"x".repeat(5000))]);
    assert_eq!(post(&gateway, "/v1/audio/transcriptions", large).await.status, 413);
    assert_eq!(gateway.calls(0), 0);
}

#[tokio::test]
async fn form_is_subject_to_model_permission() {
    let gateway = Gateway::builder().provider("a").user("allowed_models = [\"other\"]").start().await;
    let reply = post(&gateway, "/v1/images/edits", form(&[file("image"), field("model", "pool")])).await;
    assert_eq!(reply.status, 403, "{reply:?}");
}

#[tokio::test]
async fn reranks_under_both_paths() {
    let gateway = Gateway::builder().provider("a").start().await;
    for path in ["/v1/rerank", "/v2/rerank"] {
        let body = json!({ "model": "pool", "query": "gates", "documents": ["a gate", "a wall"], "top_n": 1 });
        let reply = gateway.ask(&Ask::post(path, body.to_string())).await;
        assert_eq!((reply.status.as_u16(), reply.json()["results"][0]["index"].as_u64()), (200, Some(0)), "{reply:?}");
        assert_eq!(gateway.providers[0].calls().pop().unwrap().path, "/v1/rerank");
    }
}

#[tokio::test]
async fn websocket_upgrade_on_responses_gets_426() {
    let gateway = Gateway::builder().provider("a").start().await;
    let upgrade = |path| Ask::get(path).header("connection", "Upgrade").header("upgrade", "websocket");
    let reply = gateway.ask(&upgrade("/v1/responses")).await;
    assert_eq!(reply.verdict().0, 426, "{reply:?}");
    assert_eq!(reply.header("upgrade"), "HTTP/1.1");
    assert_eq!(gateway.ask(&Ask::get("/v1/responses")).await.status, 405);
    assert_eq!(gateway.ask(&upgrade("/v1/chat/completions")).await.status, 405);
}

#[tokio::test]
async fn moderation_without_a_model_uses_the_default() {
    let ask = || Ask::post("/v1/moderations", r#"{"input": "hello"}"#);
    let only = Gateway::builder().provider("a").start().await;
    let reply = only.ask(&ask()).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["model"]), (200, &json!("sim")), "{reply:?}");
    assert_eq!(only.providers[0].calls()[0].json(), json!({ "model": "sim", "input": "hello" }));

    let other = |default_for: &str| {
        format!(
            "[models.other]\nname = \"other\"\n{default_for}\n[[models.other.backends]]\n\
             provider = \"b\"\nmodel = \"sim\"\nprobe = \"none\"\n"
        )
    };
    let start = async |tables: String| Gateway::builder().provider("a").provider("b").tables(&tables).start().await;
    let two = start(other("")).await;
    assert_eq!(two.ask(&ask()).await.verdict().0, 400, "two models and no default");
    let marked = start(other("default_for = [\"moderations\"]")).await;
    assert_eq!(marked.ask(&ask()).await.header("x-berry-backend"), "b:sim");
}
