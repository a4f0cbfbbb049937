//! Known providers: with their presets nothing is refused, and without them the gateway learns what they refuse.

use berry_server::{Options, Server, config};
use berry_simulated::{Config, Dialect};
use berry_tests::{Ask, Gateway, Reply, TOKEN, connection::Connection, soon};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

fn tool() -> Value {
    json!({"type": "function", "function": {
        "name": "look", "strict": true,
        "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": false},
    }})
}

/// A chat with everything that some provider refuses, in the second round of a tool call.
fn awkward(stream: bool) -> Value {
    json!({
        "model": "pool", "stream": stream, "max_tokens": 64, "user": "u", "reasoning_effort": "max",
        "parallel_tool_calls": false, "tools": [tool()], "tool_choice": "auto",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Look"}, {"type": "text", "text": "there"}]},
            {"role": "assistant", "content": null, "reasoning_content": "I look.",
             "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "a tree"},
            {"role": "assistant", "content": "A tree.", "reasoning_content": "It is one."},
            {"role": "user", "content": "And there?"},
        ],
    })
}

/// The same kind of request in Anthropic's format.
fn awkward_messages(stream: bool) -> Value {
    json!({
        "model": "pool", "stream": stream, "max_tokens": 64, "system": "Be kind.", "metadata": {"user_id": "u"},
        "tools": [{"name": "look", "input_schema": {"type": "object", "properties": {}}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Look"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "a tree"}]},
        ],
    })
}

fn post(path: &str, body: &Value) -> Ask {
    Ask::post(path, body.to_string())
}

async fn gateway(preset: &str, lines: &str) -> Gateway {
    let config = Config { tokens: Some(4), ..Config::of_preset(preset).unwrap() };
    Gateway::builder().provider_as(config).with(lines).start().await
}

/// Those that the simulated providers have addresses for.
fn presets() -> impl Iterator<Item = &'static str> {
    Config::presets().filter(|name| *name != "vertex")
}

#[tokio::test]
async fn a_preset_writes_what_its_provider_accepts() {
    for preset in presets() {
        let gateway = gateway(preset, &format!("preset = \"{preset}\"")).await;
        for stream in [false, true] {
            let before = gateway.calls(0);
            let reply = gateway.ask(&post("/v1/chat/completions", &awkward(stream))).await;
            assert!(reply.is_good_chat(), "{preset} {stream}: {reply:?}");
            let reply = gateway.ask(&post("/v1/messages", &awkward_messages(stream))).await;
            assert!(reply.status == 200 && reply.whole, "{preset} {stream}: {reply:?}");
            assert_eq!(gateway.calls(0), before + 2, "{preset}: nothing was refused");
        }
    }
}

fn add_messages(body: &mut Value, more: Vec<Value>) {
    body["messages"].as_array_mut().unwrap().extend(more);
}

#[tokio::test]
async fn what_a_provider_refuses_is_learned() {
    type Part = (&'static str, fn(&mut Value));
    let parts: [Part; 10] = [
        ("tools", |body| body["tools"] = json!([tool()])),
        ("developer", |body| body["messages"][0] = json!({"role": "developer", "content": "Be brief."})),
        ("parts", |body| body["messages"][1]["content"] = json!([{"type": "text", "text": "Hi"}])),
        ("name", |body| body["messages"][1]["name"] = json!("ann")),
        ("late system", |body| {
            body["messages"] = json!([{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."}]);
        }),
        ("effort", |body| body["reasoning_effort"] = json!("xhigh")),
        ("limit", |body| body["max_tokens"] = json!(64)),
        ("required", |body| {
            body["tools"] = json!([tool()]);
            body["tool_choice"] = json!("required");
        }),
        ("reasoning", |body| {
            let said = json!({"role": "assistant", "content": "Yes?", "reasoning_content": "A greeting."});
            add_messages(body, vec![said, json!({"role": "user", "content": "Go on."})]);
        }),
        ("call without reasoning", |body| {
            body["tools"] = json!([tool()]);
            let call = json!({"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}});
            let called = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            add_messages(body, vec![called, json!({"role": "tool", "tool_call_id": "c1", "content": "a tree"})]);
        }),
    ];
    for preset in presets().filter(|name| Config::of_preset(name).unwrap().dialect == Dialect::OpenAi) {
        // Perplexity has no version in its addresses, which the simulated one has.
        let gateway = gateway(preset, "").await;
        for (part, change) in parts {
            let messages = json!([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]);
            let mut body = json!({"model": "pool", "messages": messages});
            change(&mut body);
            let reply = gateway.ask(&post("/v1/chat/completions", &body)).await;
            assert_eq!(reply.status, 200, "{preset} {part}: {reply:?}");
            let before = gateway.calls(0);
            let reply = gateway.ask(&post("/v1/chat/completions", &body)).await;
            assert_eq!((reply.status.as_u16(), gateway.calls(0)), (200, before + 1), "{preset} {part} is remembered");
        }
    }
}

#[tokio::test]
async fn reasoning_comes_back_with_tool_calls_of_other_formats() {
    let gateway = gateway("deepseek", "preset = \"deepseek\"").await;
    let mut body = awkward_messages(false);
    body["messages"][1]["content"] = json!([
        {"type": "thinking", "thinking": "I look.", "signature": "berry:unsigned"},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {}},
    ]);
    assert_eq!(gateway.ask(&post("/v1/messages", &body)).await.status, 200);
    let sent: Value = serde_json::from_slice(&gateway.providers[0].calls().pop().unwrap().body).unwrap();
    assert_eq!(sent["messages"][2]["reasoning_content"], "I look.");
}

fn named(reply: &Reply, pointer: &str) -> Vec<String> {
    let events =
        if reply.header("content-type").starts_with("text/event-stream") { reply.events() } else { vec![reply.json()] };
    events.iter().filter_map(|event| Some(event.pointer(pointer)?.as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn answers_name_the_public_model_where_it_is_wanted() {
    for dialect in [Dialect::OpenAi, Dialect::Claude, Dialect::Gemini] {
        let config = || Config { tokens: Some(4), dialect, ..Config::named("a") };
        let kind = format!("backend_type = \"{}\"", dialect.backend_type());
        let public =
            Gateway::builder().provider_as(config()).with(&kind).pool("answer_model = \"public\"").start().await;
        let own = Gateway::builder().provider_as(config()).with(&kind).start().await;
        for stream in [false, true] {
            let chat = json!({"model": "pool", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
            let messages = json!({"model": "pool", "stream": stream, "max_tokens": 9, "messages": chat["messages"]});
            let asks = [
                ("/v1/chat/completions", &chat, "/model"),
                ("/v1/messages", &messages, if stream { "/message/model" } else { "/model" }),
            ];
            for (path, body, pointer) in asks {
                let reply = public.ask(&post(path, body)).await;
                let names = named(&reply, pointer);
                assert!(!names.is_empty() && names.iter().all(|name| name == "pool"), "{dialect:?} {path}: {reply:?}");
                assert!(reply.whole && !reply.text().contains("\"sim\""), "{reply:?}");
                let names = named(&own.ask(&post(path, body)).await, pointer);
                assert!(!names.is_empty() && names.iter().all(|name| name == "sim"), "{dialect:?} {path}");
            }
        }
    }
    let public = Gateway::builder().provider("a").pool("answer_model = \"public\"").start().await;
    for (stream, pointer) in [(false, "/model"), (true, "/response/model")] {
        let body = json!({"model": "pool", "stream": stream, "input": "Hi"});
        let names = named(&public.ask(&post("/v1/responses", &body)).await, pointer);
        assert!(!names.is_empty() && names.iter().all(|name| name == "pool"), "{names:?}");
    }
    let body = json!({"model": "pool", "input": "Hi"});
    assert_eq!(named(&public.ask(&post("/v1/embeddings", &body)).await, "/model"), ["pool"]);
}

/// Answers every request with this body, and returns each request as text.
async fn upstream(answer: &'static str) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (sender, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut text = Vec::new();
                let mut part = [0; 4096];
                loop {
                    let read = connection.read(&mut part).await.unwrap_or(0);
                    text.extend_from_slice(&part[..read]);
                    let seen = String::from_utf8_lossy(&text).into_owned();
                    let length = seen.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                    let (head, body) = seen.split_once("\r\n\r\n").unwrap_or((&seen, ""));
                    if read == 0 || (head.len() < seen.len() && body.len() >= length.unwrap_or(0)) {
                        break;
                    }
                }
                let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    answer.len()
                );
                let _ = connection.write_all(format!("{head}{answer}").as_bytes()).await;
            });
        }
    });
    (url, requests)
}

const CLAUDE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;

#[tokio::test]
async fn vertex_has_the_model_in_the_address_and_a_key_that_changes() {
    let (url, mut requests) = upstream(CLAUDE).await;
    let file = format!(
        r#"
        [settings]
        health_check_interval_seconds = 86400
        [users.alice]
        token = "{TOKEN}"
        [providers.vertex]
        preset = "vertex"
        base_url = "{url}"
        region = "r1"
        project = "p1"
        api_key_command = ["printf", "ya29.a-token-of-vertex"]
        models = ["claude-x@1", "gemini-y"]
        [models.pool]
        name = "pool"
        [[models.pool.backends]]
        provider = "vertex"
        model = "claude-x@1"
        probe = "none"
        "#
    );
    let loaded = config::parse(&file, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let server = Server::start(loaded, Options::loopback()).await.unwrap();
    for (path, body) in [
        ("/v1/messages", json!({"model": "pool", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})),
        ("/v1/chat/completions", json!({"model": "pool", "messages": [{"role": "user", "content": "Hi"}]})),
    ] {
        let mut connection = soon(Connection::open(server.addr())).await.unwrap();
        let reply = soon(connection.ask(&post(path, &body))).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        let sent = loop {
            let sent = soon(requests.recv()).await.unwrap();
            if sent.starts_with("POST ") {
                break sent;
            }
        };
        let line = sent.lines().next().unwrap();
        assert_eq!(
            line,
            "POST /v1/projects/p1/locations/r1/publishers/anthropic/models/claude-x@1:rawPredict HTTP/1.1"
        );
        assert!(sent.contains("authorization: Bearer ya29.a-token-of-vertex\r\n"), "{sent}");
        let sent: Value = serde_json::from_str(sent.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(sent["anthropic_version"], "vertex-2023-10-16");
        assert!(sent.get("model").is_none(), "{sent}");
    }
}

const GEMINI: &str =
    r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hi"}]},"finishReason":"STOP","index":0}]}"#;

#[tokio::test]
async fn vertex_reaches_gemini_and_streams_by_their_addresses() {
    for (model, answer, plain, streamed) in [
        ("claude-x", CLAUDE, "anthropic/models/claude-x:rawPredict", "anthropic/models/claude-x:streamRawPredict"),
        (
            "gemini-y",
            GEMINI,
            "google/models/gemini-y:generateContent",
            "google/models/gemini-y:streamGenerateContent?alt=sse",
        ),
    ] {
        let (url, mut requests) = upstream(answer).await;
        let tables = format!(
            r#"
            [providers.vertex]
            preset = "vertex"
            base_url = "{url}"
            region = "r1"
            project = "p1"
            api_key = "ya29.a-token-of-vertex"
            models = ["{model}"]
            [models.there]
            name = "there"
            [[models.there.backends]]
            provider = "vertex"
            model = "{model}"
            probe = "none"
            "#
        );
        let gateway = Gateway::builder().provider("a").tables(&tables).start().await;
        for (stream, path) in [(false, plain), (true, streamed)] {
            let reply = gateway.ask(&Ask::chat("there", stream)).await;
            // The upstream knows only plain answers.
            assert_eq!(reply.status == 200, !stream, "{reply:?}");
            let sent = loop {
                let sent = soon(requests.recv()).await.unwrap();
                if sent.starts_with("POST ") {
                    break sent;
                }
            };
            let line = format!("POST /v1/projects/p1/locations/r1/publishers/{path} HTTP/1.1");
            assert_eq!(sent.lines().next(), Some(&*line));
        }
        drop(requests);
    }
}

#[tokio::test]
async fn another_backend_answers_while_a_key_cannot_be_got() {
    let (url, _requests) = upstream(CLAUDE).await;
    let tables = format!(
        r#"
        [providers.broken]
        preset = "anthropic"
        base_url = "{url}"
        api_key_command = ["false"]
        models = ["c"]
        [models.both]
        name = "both"
        strategy = "failover"
        [[models.both.backends]]
        provider = "broken"
        model = "c"
        probe = "none"
        [[models.both.backends]]
        provider = "a"
        model = "sim"
        priority = 1
        [models.alone]
        name = "alone"
        [[models.alone.backends]]
        provider = "broken"
        model = "c"
        probe = "none"
        "#
    );
    let gateway = Gateway::builder().provider("a").tables(&tables).start().await;
    let reply = gateway.ask(&Ask::chat("both", false)).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-berry-backend")), (200, "a:sim"), "{reply:?}");
    let reply = gateway.ask(&Ask::chat("alone", false)).await;
    assert_eq!(reply.verdict().2.as_deref(), Some("upstream_auth"), "{reply:?}");
}
