//! The Messages API for clients: authentication, the shape of errors, and unchanged forwarding.

use berry_simulated::{Config, Dialect};
use berry_tests::{Ask, Connection, Gateway, Reply, TOKEN, soon};
use http::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/messages";

fn message_request(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 100, "messages": [{ "role": "user", "content": "How are you?" }] })
}

/// Returns a request with its token in `x-api-key`, as Anthropic's SDKs send it.
fn message(body: impl Into<Vec<u8>>) -> Ask {
    Ask::post(PATH, body).without("authorization").header("x-api-key", TOKEN)
}

/// Returns the status and type of an error. It must have Anthropic's shape and carry the request id in
/// two headers and the body.
fn verdict(reply: &Reply) -> (u16, String) {
    assert_eq!(reply.header("content-type"), "application/json", "{reply:?}");
    let body = reply.json();
    let mut keys: Vec<&str> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!((keys, &body["type"]), (vec!["error", "request_id", "type"], &json!("error")), "{body}");
    let id = reply.header("x-request-id");
    assert!(!id.is_empty() && reply.header("request-id") == id && body["request_id"] == id, "{reply:?}");
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    (reply.status.as_u16(), body["error"]["type"].as_str().unwrap().to_owned())
}

/// Starts a gateway over a Claude provider that does not validate requests against a schema.
async fn claude() -> Gateway {
    let config = Config { tokens: Some(4), lax: true, dialect: Dialect::Claude, ..Config::named("a") };
    Gateway::builder().provider_as(config).with("backend_type = \"claude\"").start().await
}

#[tokio::test]
async fn accepts_a_token_in_either_header() {
    let gateway = Gateway::single().await;
    let body = message_request("pool").to_string();
    for ask in [message(body.clone()), Ask::post(PATH, body.clone())] {
        let reply = gateway.ask(&ask).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["type"]), (200, &json!("message")), "{reply:?}");
        assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
        let seen = &gateway.providers[0].calls()[0];
        assert!(!format!("{:?}", seen.headers).contains(TOKEN));
    }
    for ask in [
        Ask::post(PATH, body.clone()).without("authorization"),
        Ask::post(PATH, body.clone()).token("no-such-token-anywhere"),
        message(body.clone()).without("x-api-key").header("x-api-key", "no-such-token-anywhere"),
        message(body).header("x-api-key", TOKEN),
    ] {
        assert_eq!(verdict(&gateway.ask(&ask).await), (401, "authentication_error".to_owned()), "{ask:?}");
    }
}

#[tokio::test]
async fn errors_have_the_anthropic_shape() {
    let tables = "[models.tagged]\nname = \"tagged\"\n[[models.tagged.backends]]\nprovider = \"a\"\nmodel = \"sim\"\n\
         tags = [\"vip\"]\n[models.other]\nname = \"other\"\n[[models.other.backends]]\nprovider = \"a\"\nmodel = \"sim\"";
    let gateway = Gateway::builder()
        .provider("a")
        .settings("max_request_body_bytes = 2000")
        .user("allowed_models = [\"pool\", \"tagged\"]\n[users.alice.rate_limit]\nrequests_per_minute = 9")
        .tables(tables)
        .start()
        .await;
    let ask = |body: Value| message(body.to_string());
    let with = |name: &str, value: Value| {
        let mut body = message_request("pool");
        body[name] = value;
        ask(body)
    };
    let text = "x".repeat(3000);
    for (ask, status, kind, field) in [
        (ask(message_request("unknown")), 404, "not_found_error", ""),
        (ask(message_request("other")), 403, "permission_error", ""),
        (ask(message_request("tagged")), 403, "permission_error", ""),
        (with("system", json!(text)), 413, "request_too_large", ""),
        (message("{"), 400, "invalid_request_error", ""),
        (with("model", json!(7)), 400, "invalid_request_error", "model"),
        (with("max_tokens", Value::Null), 400, "invalid_request_error", "max_tokens"),
        (with("top_k", json!(5)), 400, "invalid_request_error", "top_k"),
        (with("messages", json!([{ "role": "cat" }])), 400, "invalid_request_error", "messages[0].role"),
        (ask(message_request("pool")), 429, "rate_limit_error", ""),
    ] {
        let mut connection = gateway.connect().await;
        let reply = soon(connection.ask(&ask)).await.expect("an answer");
        assert_eq!(verdict(&reply), (status, kind.to_owned()), "{ask:?}");
        assert!(reply.json()["error"]["message"].as_str().unwrap().contains(field), "{reply:?}");
        assert_eq!(reply.headers.contains_key("retry-after"), status == 429, "{reply:?}");
        // The connection stays open.
        assert_eq!(soon(connection.ask(&Ask::get("/v1/models"))).await.expect("an answer").status, 200);
    }
    assert_eq!(gateway.calls(0), 0);
}

#[tokio::test]
async fn rejects_other_methods() {
    let gateway = Gateway::single().await;
    for method in [Method::GET, Method::DELETE, Method::PUT] {
        let reply = gateway.ask(&Ask::new(method, PATH)).await;
        assert_eq!(verdict(&reply), (405, "invalid_request_error".to_owned()));
    }
    let reply = gateway.ask(&Ask::new(Method::HEAD, PATH)).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (405, 0));
    assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
}

#[tokio::test]
async fn unsupported_field_is_routed_to_a_capable_backend_or_rejected() {
    let config = |name, dialect| Config { tokens: Some(4), dialect, ..Config::named(name) };
    let gateway = Gateway::builder()
        .provider_as(config("o", Dialect::OpenAi))
        .provider_as(config("c", Dialect::Claude))
        .with("backend_type = \"claude\"")
        .backend("priority = 1")
        .strategy("failover")
        .start()
        .await;
    let mut body = message_request("pool");
    body["top_k"] = json!(5);
    let reply = gateway.ask(&message(body.to_string())).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-berry-backend")), (200, "c:sim"), "{reply:?}");
    assert_eq!((gateway.calls(0), gateway.providers[1].calls()[0].json()["top_k"].clone()), (0, json!(5)));

    let gemini = config("g", Dialect::Gemini);
    let gateway = Gateway::builder().provider_as(gemini).with("backend_type = \"gemini\"").start().await;
    let mut body = message_request("pool");
    body["stop_sequences"] = json!(["1", "2", "3", "4", "5", "6"]);
    let reply = gateway.ask(&message(body.to_string())).await;
    assert_eq!(verdict(&reply), (400, "invalid_request_error".to_owned()));
    assert!(reply.text().contains("stop_sequences"), "{reply:?}");
    assert_eq!(gateway.calls(0), 0);
}

#[tokio::test]
async fn documents_and_blocks_of_anthropics_alone_reach_other_formats() {
    let config = Config { tokens: Some(4), lax: true, dialect: Dialect::Gemini, ..Config::named("g") };
    let gateway = Gateway::builder().provider_as(config).with("backend_type = \"gemini\"").start().await;
    let mut body = message_request("pool");
    body["output_config"] = json!({ "effort": "max" });
    body["messages"] = json!([
        { "role": "user", "content": [{ "type": "document", "source": { "type": "url", "url": "https://x.example/y.pdf" } }] },
        { "role": "assistant", "content": [
            { "type": "compaction", "content": "a summary" },
            { "type": "mcp_tool_use", "id": "t", "name": "look", "server_name": "s", "input": {} },
            { "type": "mcp_tool_result", "tool_use_id": "t", "is_error": false, "content": [] },
            { "type": "text", "text": "Seen." },
        ] },
        { "role": "user", "content": "Go on." },
    ]);
    let reply = gateway.ask(&message(body.to_string())).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let sent = gateway.providers[0].calls()[0].json();
    let file = &sent["contents"][0]["parts"][0]["fileData"];
    assert_eq!(*file, json!({ "mimeType": "application/pdf", "fileUri": "https://x.example/y.pdf" }));
    assert_eq!(sent["contents"][1]["parts"], json!([{ "text": "a summary" }, { "text": "Seen." }]));
    assert_eq!(sent["generationConfig"]["thinkingConfig"]["thinkingBudget"], 24576);
}

#[tokio::test]
async fn thinking_that_a_forced_tool_excludes_is_named() {
    let gateway = claude().await;
    let tool = json!({ "type": "function", "function": { "name": "look", "parameters": { "type": "object", "properties": {} } } });
    let mut body = json!({ "model": "pool", "reasoning_effort": "high", "tools": [tool],
        "messages": [{ "role": "user", "content": "Hi" }] });
    let dropped = async |body: &Value| {
        let reply = gateway.ask(&Ask::post("/v1/chat/completions", body.to_string())).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        (reply.header("x-berry-dropped").to_owned(), gateway.providers[0].calls().pop().expect("a call").json())
    };
    let (names, sent) = dropped(&body).await;
    assert!(names.is_empty() && sent["thinking"].is_object(), "{names} {sent}");
    body["tool_choice"] = json!("required");
    let (names, sent) = dropped(&body).await;
    assert_eq!((&*names, sent.get("thinking")), ("reasoning_effort", None), "{sent}");
    body["tool_choice"] = json!("auto");
    body["response_format"] = json!({ "type": "json_object" });
    assert_eq!(dropped(&body).await.0, "reasoning_effort");
}

#[tokio::test]
async fn messages_to_claude_pass_byte_for_byte() {
    let gateway = claude().await;
    for stream in [false, true] {
        let body = |model: &str| {
            format!(
                "{{ \"new_field\":{{\"b\":1,\"a\":[ ]}}, \"stream\" : {stream},\"model\": \"{model}\",\"max_tokens\":1e2,\n\
                 \"messages\":[{{\"role\":\"user\",\"content\":[{{\"type\":\"text\",\"text\":\"h\\u0069\",\
                 \"cache_control\":{{\"type\":\"ephemeral\"}}}}]}}],\"context_management\":{{\"edits\":[]}} }}"
            )
        };
        let betas = |ask: Ask| {
            ask.header("anthropic-version", "2023-06-01")
                .header("anthropic-beta", "context-management-2025-06-27,new_field-2030-01-01")
        };
        let provider = &gateway.providers[0];
        provider.clear();
        let reply = gateway.ask(&betas(message(body("pool")))).await;
        let mut connection = Connection::open(provider.addr()).await.unwrap();
        let ask = betas(message(body("sim")).without("x-api-key").header("x-api-key", provider.key()));
        let direct = soon(connection.ask(&ask)).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.whole), (200, true), "{reply:?}");
        assert_eq!(reply.text(), direct.text());
        let kind = if stream { "text/event-stream" } else { "application/json" };
        assert!([&reply, &direct].iter().all(|reply| reply.header("content-type").starts_with(kind)), "{reply:?}");
        let [seen, direct_call] = &provider.calls()[..] else { panic!("two calls") };
        assert_eq!(String::from_utf8_lossy(&seen.body), String::from_utf8_lossy(&direct_call.body));
        for name in ["anthropic-version", "anthropic-beta", "x-api-key"] {
            assert_eq!(seen.header(name), direct_call.header(name), "{name}");
        }
        assert!(!seen.headers.contains_key("authorization"));
    }
}
