//! Claude's rules, errors and events.

use super::{PNG, client, fold, plain, question, read, refusal, refuses, request, set, soon, start, stream, text};
use crate::{Dialect, Provider, demo_providers};
use serde_json::{Value, json};

const CLAUDE: Dialect = Dialect::Claude;

type Headers<'a> = &'a [(&'a str, &'a str)];

async fn get(provider: &Provider, path: &str, headers: Headers<'_>) -> (u16, Value) {
    let mut request = client().get(format!("{}{path}", provider.base_url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = soon(request.send()).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn requires_the_key_and_version_headers() {
    let provider = start(CLAUDE).await;
    let key = provider.key().to_owned();
    assert_eq!(provider.base_url(), format!("http://{}/v1", provider.addr()));
    let bearer = format!("Bearer {key}");
    let version = ("anthropic-version", "2023-06-01");
    let cases: [(Headers<'_>, u16, &str, &str); 5] = [
        (&[version], 401, "authentication_error", "x-api-key"),
        (&[version, ("authorization", &bearer)], 401, "authentication_error", "x-api-key"),
        (&[version, ("x-api-key", "other")], 401, "authentication_error", "x-api-key"),
        (&[("x-api-key", &key)], 400, "invalid_request_error", "anthropic-version"),
        (&[("x-api-key", &key), ("anthropic-version", "1")], 400, "invalid_request_error", "anthropic-version"),
    ];
    for (headers, status, kind, names) in cases {
        let (seen, body) = get(&provider, "/models", headers).await;
        assert_eq!((seen, &body["type"], &body["error"]["type"]), (status, &json!("error"), &json!(kind)));
        assert!(body["error"]["message"].as_str().unwrap().contains(names), "{body}");
    }
    let (status, list) = get(&provider, "/models", &[version, ("x-api-key", &key)]).await;
    assert_eq!((status, &list["data"][0]["id"], &list["has_more"]), (200, &json!("sim"), &json!(false)));
    assert_eq!(list["data"][0]["created_at"], "2025-06-15T15:06:40Z");
    let (status, one) = get(&provider, "/models/sim", &[version, ("x-api-key", &key)]).await;
    assert_eq!((status, &one["type"]), (200, &json!("model")));
    let (status, error) = get(&provider, "/models/other", &[version, ("x-api-key", &key)]).await;
    assert_eq!((status, &error["error"]["type"]), (404, &json!("not_found_error")));
    assert_eq!(get(&provider, "/messages", &[version, ("x-api-key", &key)]).await.0, 405);
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn assistant(content: impl Into<Value>) -> Value {
    json!({"role": "assistant", "content": content.into()})
}

#[tokio::test]
async fn checks_fields_at_every_level() {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}});
    let good = json!({
        "max_tokens": 20,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [user(json!([{"type": "text", "text": "What is it?"}, image])), assistant(json!("A pixel")), user(json!("Sure?"))],
        "metadata": {"user_id": "u"},
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "top_k": 5,
        "top_p": 0.9,
        "service_tier": "auto",
        "tools": [{"type": "custom", "name": "a-1", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "thinking": {"type": "disabled"},
    });
    refuses(
        CLAUDE,
        &good,
        &[
            ("/max_tokens", Value::Null, "max_tokens: Field required"),
            ("/max_tokens", json!(0), "max_tokens"),
            ("/max_tokens", json!(1.5), "max_tokens"),
            ("/max_completion_tokens", json!(5), "max_completion_tokens: Extra inputs"),
            ("/seed", json!(1), "seed: Extra inputs"),
            ("/temperature", json!(1.2), "temperature"),
            ("/metadata/a", json!("b"), "metadata.a"),
            ("/messages", json!([]), "messages"),
            ("/messages/1/role", json!("user"), "messages.1.role"),
            ("/messages/0/role", json!("cat"), "messages.0.role"),
            ("/messages/2", assistant(json!("x")), "messages.2.role"),
            ("/messages/2/content", json!(""), "messages.2.content"),
            ("/messages/2/content", json!([]), "messages.2.content"),
            ("/messages/2/content", json!([{"type": "text", "text": " "}]), "messages.2.content.0.text"),
            ("/messages/2/name", json!("x"), "messages.2.name"),
            ("/messages/0/content/0/x", json!(1), "messages.0.content.0.x"),
            ("/messages/0/content/0/type", json!("image_url"), "messages.0.content.0.type"),
            ("/messages/0/content/1/source/media_type", json!("image/bmp"), "messages.0.content.1.source.media_type"),
            ("/messages/0/content/1/source/data", json!("%"), "messages.0.content.1.source.data"),
            (
                "/messages/0/content/1/source",
                json!({"type": "url", "url": "data:x"}),
                "messages.0.content.1.source.url",
            ),
            ("/system/0/cache_control/type", json!("for ever"), "system.0.cache_control.type"),
            ("/stop_sequences/0", json!(" "), "stop_sequences.0"),
            ("/tools/0/name", json!("a b"), "tools.0.name"),
            ("/tools/0/input_schema/type", json!("string"), "tools.0.input_schema.type"),
            ("/tools/0/parameters", json!({}), "tools.0.parameters"),
            ("/tools/-", good["tools"][0].clone(), "tools.1.name"),
            ("/tools", Value::Null, "tool_choice"),
            ("/tool_choice", json!("auto"), "tool_choice"),
            ("/tool_choice", json!({"type": "tool", "name": "b"}), "tool_choice.name"),
            ("/thinking", json!({"type": "enabled", "budget_tokens": 1000}), "thinking.budget_tokens"),
        ],
    )
    .await;
}

#[tokio::test]
async fn each_tool_use_needs_a_result_in_the_next_turn() {
    let tool_use = |id: &str| json!({"type": "tool_use", "id": id, "name": "look", "input": {}});
    let result =
        |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": "x"}]});
    let good = json!({
        "max_tokens": 20,
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "messages": [
            user(json!("Look.")),
            assistant(json!([{"type": "text", "text": "I look."}, tool_use("a"), tool_use("b")])),
            user(json!([result("b"), result("a"), {"type": "text", "text": "Well?"}])),
        ],
    });
    let text = json!({"type": "text", "text": "Well?"});
    refuses(
        CLAUDE,
        &good,
        &[
            ("/messages/2/content", json!([result("a")]), "messages.2: `tool_use` ids were found without"),
            ("/messages/2/content", json!("Well?"), "without `tool_result` blocks in the next message: a, b"),
            ("/messages/2/content", json!([text, result("a"), result("b")]), "messages.2.content.1.type"),
            ("/messages/2/content/0/tool_use_id", json!("c"), "messages.2.content.0.tool_use_id"),
            ("/messages/2/content/0/content", json!(5), "messages.2.content.0.content"),
            ("/messages/1/content/1/id", json!("b"), "messages.1.content.2.id"),
            ("/messages/1/content/1/id", json!("a b"), "messages.1.content.1.id"),
            ("/messages/1/content/1/input", json!("{}"), "messages.1.content.1.input"),
            ("/messages/0/content", json!([result("a")]), "messages.0.content.0.tool_use_id"),
            ("/messages/0/content", json!([tool_use("a")]), "messages.0.content.0.type"),
        ],
    )
    .await;
    let mut open = good.clone();
    open["messages"].as_array_mut().unwrap().pop();
    let (status, _, message) = refusal(CLAUDE, &open).await;
    assert!(status == 400 && message.contains("messages.2"), "{message}");
}

#[tokio::test]
async fn checks_the_rules_of_thinking() {
    let mut good = question(CLAUDE);
    good["max_tokens"] = json!(2000);
    good["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    good["tools"] = json!([{"name": "look", "input_schema": {"type": "object"}}]);
    let first = plain(CLAUDE, "sim-tools", &good).await;
    assert_eq!((&first["content"][0]["type"], &first["content"][1]["type"]), (&json!("thinking"), &json!("tool_use")));
    let id = &first["content"][1]["id"];
    set(&mut good, "/messages/-", assistant(first["content"].clone()));
    set(&mut good, "/messages/-", user(json!([{"type": "tool_result", "tool_use_id": id}])));
    refuses(
        CLAUDE,
        &good,
        &[
            ("/thinking/budget_tokens", json!(2000), "max_tokens"),
            ("/thinking/budget_tokens", json!(1023), "thinking.budget_tokens"),
            ("/tool_choice", json!({"type": "any"}), "tool_choice"),
            ("/tool_choice", json!({"type": "tool", "name": "look"}), "tool_choice"),
            ("/temperature", json!(0.5), "temperature"),
            ("/top_k", json!(5), "top_k"),
            ("/messages/1/content/0/signature", json!("made up"), "messages.1.content.0: Invalid `signature`"),
            ("/messages/1/content/0/thinking", json!("Other"), "messages.1.content.0: Invalid `signature`"),
            ("/messages/0/content", json!("Another"), "bound to a different conversation"),
            ("/tools/0/description", json!("Another"), "bound to a different conversation"),
            ("/messages/1/content", json!([first["content"][1]]), "messages.1.content.0.type"),
            ("/messages/-", assistant(json!("So")), "messages.3"),
        ],
    )
    .await;
    good["temperature"] = json!(1);
    // The same content as blocks, with a mark of the cache, is no other conversation.
    let text = good["messages"][0]["content"].take();
    good["messages"][0]["content"] = json!([{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]);
    plain(CLAUDE, "sim", &good).await;
    // Adaptive thinking may leave out a turn.
    good["thinking"] = json!({"type": "adaptive"});
    good["messages"][1]["content"] = json!([first["content"][1]]);
    plain(CLAUDE, "sim", &good).await;
}

#[tokio::test]
async fn rejects_sampling_fields_like_newer_models() {
    for (model, fields, refused) in [
        ("sim-noboth", json!({"temperature": 1, "top_p": 1}), true),
        ("sim-noboth", json!({"temperature": 1}), false),
        ("sim-nosampling", json!({"temperature": 1}), true),
        ("sim-nosampling", json!({"top_p": 1}), true),
        ("sim-nosampling", json!({}), false),
    ] {
        let mut body = question(CLAUDE);
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let provider = start(CLAUDE).await;
        let response = soon(request(&provider, CLAUDE, model, false, &body).send()).await.unwrap();
        assert_eq!(response.status(), if refused { 400 } else { 200 }, "{model} {fields}");
    }
}

#[tokio::test]
async fn structured_output_requires_closed_objects() {
    let mut body = question(CLAUDE);
    let schema = json!({"type": "object", "properties": {"a": {"type": "object", "additionalProperties": false}}});
    body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    let (status, _, message) = refusal(CLAUDE, &body).await;
    assert!(status == 400 && message.contains("output_config.format.schema"), "{message}");
}

#[tokio::test]
async fn events_have_names_and_an_early_ping() {
    let read = stream(CLAUDE, "sim", &question(CLAUDE)).await;
    let lines: Vec<_> = read.text().lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let kinds: Vec<_> = read.events().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(lines, kinds);
    assert_eq!(kinds[..4], ["message_start", "content_block_start", "ping", "content_block_delta"]);
    assert_eq!(kinds[kinds.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(read.events()[0]["message"]["usage"]["output_tokens"], 1);
    let read = stream(CLAUDE, "sim-pings-odd2", &question(CLAUDE)).await;
    assert_eq!(read.text().matches("event: ping\n").count(), 12 + 1);
    assert_eq!(read.text().matches("event: content_novelty\n").count(), 1);
}

#[tokio::test]
async fn demo_provider_serves_every_model() {
    let demo = soon(demo_providers()).await.unwrap();
    let foreign = demo.iter().find(|one| one.dialect == CLAUDE).unwrap();
    assert_eq!((foreign.name, foreign.models.len()), ("foreign", 2));
    for model in &foreign.models {
        let model = format!("{model}-t3-d0");
        for stream in [false, true] {
            let request = request(&foreign.provider, CLAUDE, &model, stream, &question(CLAUDE));
            let response = soon(request.send()).await.unwrap();
            assert_eq!(response.status(), 200);
            let read = soon(read(response)).await;
            let answer = if stream { fold(CLAUDE, &read.events()) } else { read.json() };
            assert_eq!(text(CLAUDE, &answer), "You said: “How are you?”. This answer");
        }
    }
}

#[tokio::test]
async fn a_system_turn_may_follow_one_of_the_users() {
    let user = json!({"role": "user", "content": "Hi"});
    let system = json!({"role": "system", "content": [{"type": "text", "text": "Be brief."}]});
    let body = |messages: &[&Value]| json!({"max_tokens": 50, "messages": messages});
    let said = super::plain(Dialect::Claude, "sim", &body(&[&user, &system])).await;
    assert!(super::text(Dialect::Claude, &said).contains("Hi"));
    for bad in [&[&system, &user][..], &[&user, &system, &system]] {
        let (status, _, message) = super::refusal(Dialect::Claude, &body(bad)).await;
        assert!(status == 400 && message.contains("\"system\""), "{message}");
    }
}

#[tokio::test]
async fn beta_fields_come_with_their_header() {
    let provider = super::start(Dialect::Claude).await;
    let mut body = super::question(Dialect::Claude);
    body["context_management"] = json!({"edits": []});
    body["thinking"] = json!({"type": "adaptive", "display": "updates"});
    for (betas, status) in [
        ("context-management-2025-06-27,thinking-display-updates-2026-08-18", 200),
        ("context-management-2025-06-27", 400),
        ("other", 400),
    ] {
        let request = super::request(&provider, Dialect::Claude, "sim", false, &body).header("anthropic-beta", betas);
        assert_eq!(super::soon(request.send()).await.unwrap().status(), status, "{betas}");
    }
}
