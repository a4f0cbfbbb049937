//! Ids that only the account knows which made them: a request that holds one goes to a backend of that account.

use berry_simulated::{Config, Dialect};
use berry_tests::{Ask, Gateway, Reply};
use serde_json::{Value, json};

async fn gateway() -> Gateway {
    Gateway::builder().provider("a").provider("b").provider("c").strategy("round_robin").start().await
}

async fn ask(gateway: &Gateway, body: &Value) -> Reply {
    gateway.ask(&Ask::post("/v1/responses", body.to_string())).await
}

/// The response of a plain reply or of a stream.
fn response(reply: &Reply, is_stream: bool) -> Value {
    if is_stream { reply.events().last().expect("a stream has events")["response"].clone() } else { reply.json() }
}

/// The numbers of calls of the providers, the most first.
fn counts(gateway: &Gateway) -> Vec<usize> {
    let mut counts: Vec<_> = gateway.providers.iter().map(|provider| provider.calls().len()).collect();
    counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
    counts
}

#[tokio::test]
async fn a_conversation_stays_with_the_account_that_stores_it() {
    let gateway = gateway().await;
    let mut previous = Value::Null;
    for turn in 0..6 {
        let is_stream = turn % 2 == 1;
        let body = json!({
            "model": "pool", "input": format!("turn {turn}"), "previous_response_id": previous, "stream": is_stream,
        });
        let reply = ask(&gateway, &body).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-berry-attempts")), (200, "1"), "{turn}: {reply:?}");
        previous = response(&reply, is_stream)["id"].clone();
    }
    assert_eq!(counts(&gateway), [6, 0, 0]);
    // Another conversation has its turn elsewhere.
    assert_eq!(ask(&gateway, &json!({ "model": "pool", "input": "Hi" })).await.status, 200);
    assert_eq!(counts(&gateway), [6, 1, 0]);
}

#[tokio::test]
async fn reasoning_that_no_account_can_decrypt_is_left_out() {
    for names in [&["a"][..], &["a", "b"]] {
        let gateway = names.iter().fold(Gateway::builder(), |builder, name| builder.provider(name)).start().await;
        for is_stream in [false, true] {
            let input = json!([
                { "role": "user", "content": "Hi" },
                { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAof-a-lost-account" },
                { "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                    "content": [{ "type": "output_text", "text": "Yes?", "annotations": [] }] },
                { "role": "user", "content": "Go on." },
            ]);
            let body = json!({ "model": "pool", "input": input, "store": false, "stream": is_stream });
            let reply = ask(&gateway, &body).await;
            assert_eq!((reply.status.as_u16(), reply.whole), (200, true), "{names:?}: {reply:?}");
        }
        assert_eq!(gateway.ask(&Ask::get("/health")).await.json()["status"], "healthy");
    }
}

#[tokio::test]
async fn encrypted_reasoning_goes_back_to_its_maker() {
    let gateway = gateway().await;
    let mut input = Vec::new();
    for turn in 0..4 {
        let is_stream = turn % 2 == 0;
        input.push(json!({ "role": "user", "content": format!("turn {turn}") }));
        let body = json!({
            "model": "pool", "input": input, "store": false, "stream": is_stream,
            "include": ["reasoning.encrypted_content"], "reasoning": { "effort": "low", "summary": "auto" },
        });
        let reply = ask(&gateway, &body).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-berry-attempts")), (200, "1"), "{turn}: {reply:?}");
        let output = response(&reply, is_stream)["output"].as_array().expect("a response has an output").clone();
        assert!(output.iter().any(|item| item["encrypted_content"].is_string()), "{output:?}");
        input.extend(output);
    }
    assert_eq!(counts(&gateway), [4, 0, 0]);
}

/// A provider with an account of its own.
fn account(name: &str) -> Config {
    Config { key: format!("sk-simulated-account-{name}"), ..Config::named(name) }
}

fn with_reasoning(input: &[Value]) -> Value {
    json!({
        "model": "pool", "input": input, "store": false, "include": ["reasoning.encrypted_content"],
        "reasoning": { "effort": "low", "summary": "auto" },
    })
}

/// Returns a conversation with reasoning that one account has encrypted, which no later gateway has seen being made.
async fn conversation_of(maker: Config) -> Vec<Value> {
    let gateway = Gateway::builder().provider_as(maker).start().await;
    let mut input = vec![json!({ "role": "user", "content": "one" })];
    input.extend(response(&ask(&gateway, &with_reasoning(&input)).await, false)["output"].as_array().unwrap().clone());
    input.push(json!({ "role": "user", "content": "two" }));
    input
}

fn has_reasoning(body: &Value) -> bool {
    body["input"].as_array().unwrap().iter().any(|item| item["type"] == "reasoning")
}

#[tokio::test]
async fn reasoning_of_another_account_is_left_out_once_all_have_refused_it() {
    let input = conversation_of(account("maker")).await;
    for others in [&["b"][..], &["b", "c"]] {
        let builder = Gateway::builder().strategy("failover");
        let builder = others.iter().fold(builder, |builder, name| builder.provider_as(account(name)));
        let gateway = builder.start().await;
        let reply = ask(&gateway, &with_reasoning(&input)).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-berry-attempts")), (200, &*others.len().to_string()));
        let served = reply.header("x-berry-backend").split(':').next().unwrap();
        let calls = gateway.providers[others.iter().position(|name| *name == served).unwrap()].calls();
        let sent: Vec<_> = calls.iter().map(|call| has_reasoning(&call.json())).collect();
        assert_eq!(sent, [true, false], "{others:?}");
        assert!(calls[1].json()["input"].as_array().unwrap().iter().any(|item| item["type"] == "message"));
    }
}

#[tokio::test]
async fn reasoning_of_an_unknown_maker_fails_over_to_it() {
    let input = conversation_of(account("maker")).await;
    let builder = Gateway::builder().strategy("failover").provider_as(account("b")).provider_as(account("maker"));
    let gateway = builder.start().await;
    let reply = ask(&gateway, &with_reasoning(&input)).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-berry-backend")), (200, "maker:sim"));
    assert!(has_reasoning(&gateway.providers[1].calls()[0].json()));
}

#[tokio::test]
async fn an_unknown_id_is_no_unknown_model() {
    let gateway = Gateway::builder().provider("a").start().await;
    let reference = json!({ "type": "item_reference", "id": "msg_unknown" });
    let reply = ask(&gateway, &json!({ "model": "pool", "input": [reference] })).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.error()["code"], &reply.error()["param"]),
        (404, &Value::Null, &"input".into())
    );
}

/// Codex waits for an item with the compacted conversation, which another provider's model cannot make.
#[tokio::test]
async fn a_conversation_is_compacted_by_a_backend_that_can() {
    let input = json!([{ "role": "user", "content": "Hi" }, { "type": "compaction_trigger" }]);
    let claude = Config { dialect: Dialect::Claude, ..Config::named("claude") };
    let gateway = Gateway::builder().provider_as(claude).with("backend_type = \"claude\"").start().await;
    let reply = ask(&gateway, &json!({ "model": "pool", "input": input })).await;
    assert_eq!((reply.status.as_u16(), &reply.error()["param"]), (400, &"input[1].type".into()));
}
