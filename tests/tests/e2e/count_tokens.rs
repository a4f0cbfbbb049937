//! Counts of tokens: by a backend that can, else by an estimate.

use berry_simulated::{Config, Dialect, Fault};
use berry_tests::{Ask, Gateway};
use serde_json::{Value, json};

const MESSAGES: &str = "/v1/messages/count_tokens";
const RESPONSES: &str = "/v1/responses/input_tokens";

fn provider(name: &str, dialect: Dialect) -> Config {
    Config { dialect, ..Config::named(name) }
}

fn messages() -> Value {
    json!({
        "model": "pool",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "How many tokens is this?"}],
        "tools": [{"name": "look", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}],
    })
}

fn ask(path: &str, body: &Value) -> Ask {
    Ask::post(path, body.to_string())
}

#[tokio::test]
async fn asks_claude_and_gemini_in_their_own_formats() {
    for (dialect, kind, end) in
        [(Dialect::Claude, "claude", "/messages/count_tokens"), (Dialect::Gemini, "gemini", ":countTokens")]
    {
        let gateway =
            Gateway::builder().provider_as(provider("a", dialect)).with(&format!("backend_type = \"{kind}\""));
        let gateway = gateway.start().await;
        let reply = gateway.ask(&ask(MESSAGES, &messages())).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (200, json!({"input_tokens": 14})), "{kind} {reply:?}");
        assert_eq!((reply.header("x-berry-estimated"), reply.header("x-berry-backend")), ("", "a:sim"));
        let calls = gateway.providers[0].calls();
        assert_eq!(calls.len(), 1);
        assert!(calls[0].path.ends_with(end), "{}", calls[0].path);
    }
}

#[tokio::test]
async fn asks_openai_for_its_own_requests() {
    let gateway = Gateway::builder().provider("a").start().await;
    let body = json!({"model": "pool", "input": "How many tokens is this?"});
    let reply = gateway.ask(&ask(RESPONSES, &body)).await;
    assert_eq!(reply.json(), json!({"object": "response.input_tokens", "input_tokens": 12}), "{reply:?}");
    assert_eq!(gateway.providers[0].calls()[0].path, "/v1/responses/input_tokens");
    assert_eq!(gateway.providers[0].calls()[0].json()["model"], "sim");
}

#[tokio::test]
async fn estimates_where_no_backend_can_count_or_answers() {
    let gateway = Gateway::builder().provider("a").provider_as(provider("b", Dialect::Claude));
    let gateway = gateway.with("backend_type = \"claude\"").start().await;
    let body = messages();
    let third = body.to_string().len().div_ceil(3);
    gateway.providers[1].down().await.unwrap();
    gateway.providers[0].set(Fault::Status(500));
    let reply = gateway.ask(&ask(MESSAGES, &body)).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (200, json!({"input_tokens": third})), "{reply:?}");
    assert_eq!(reply.header("x-berry-estimated"), "true");
    // Their state is that of before.
    gateway.providers[1].up().await.unwrap();
    let reply = gateway.ask(&ask(MESSAGES, &body)).await;
    assert_eq!((reply.json(), reply.header("x-berry-estimated")), (json!({"input_tokens": 14}), ""), "{reply:?}");
}

#[tokio::test]
async fn remembers_who_has_no_such_endpoint() {
    let gateway = Gateway::builder().provider("a").start().await;
    gateway.providers[0].set(Fault::Status(404));
    let body = json!({"model": "pool", "input": "hi"});
    for _ in 0..3 {
        assert_eq!(gateway.ask(&ask(RESPONSES, &body)).await.header("x-berry-estimated"), "true");
    }
    assert_eq!(gateway.calls(0), 1);
}

#[tokio::test]
async fn spends_a_request_of_the_limit_and_refuses_as_other_requests_are_refused() {
    let limit = "[users.alice.rate_limit]\nrequests_per_minute = 2";
    let gateway = Gateway::builder().provider("a").user(limit).start().await;
    let other = json!({"model": "other", "messages": []});
    let reply = gateway.ask(&ask(MESSAGES, &other)).await;
    assert_eq!(reply.status, 404);
    assert_eq!((&reply.json()["type"], &reply.json()["error"]["type"]), (&json!("error"), &json!("not_found_error")));
    assert_eq!(gateway.ask(&ask(RESPONSES, &json!({"model": "pool", "input": "hi"}))).await.status, 200);
    assert_eq!(gateway.ask(&ask(MESSAGES, &messages())).await.status, 429);
    assert_eq!(gateway.ask(&ask(MESSAGES, &messages()).token("wrong-token-0123456789")).await.status, 401);
    assert_eq!(gateway.ask(&Ask::get(MESSAGES)).await.status, 405);
}
