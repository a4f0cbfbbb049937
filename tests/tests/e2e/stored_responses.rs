//! Stored responses: a request continues a conversation by the id of a response, whichever backend answers.

use berry_simulated::{Config, Dialect, Provider};
use berry_tests::{Ask, Builder, Gateway, Reply};
use http::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/responses";

/// A gateway that stores responses, over backends of several formats that take turns.
fn gateway(folder: &tempfile::TempDir) -> Builder {
    let claude = Config { dialect: Dialect::Claude, ..Config::named("b") };
    let gemini = Config { dialect: Dialect::Gemini, ..Config::named("c") };
    let path = folder.path().join("berry.db");
    let tables = format!(
        "[users.bob]\ntoken = \"token-of-bob-0123456789ab\"\n[database]\nurl = \"sqlite://{}\"\n[responses]\nstore = \"sqlite\"",
        path.display()
    );
    Gateway::builder()
        .provider_as(Config::named("a"))
        .provider_as(claude)
        .with("backend_type = \"claude\"")
        .provider_as(gemini)
        .with("backend_type = \"gemini\"")
        .strategy("round_robin")
        .tables(&tables)
}

async fn ask(gateway: &Gateway, body: &Value) -> Reply {
    gateway.ask(&Ask::post(PATH, body.to_string())).await
}

/// The words of the prompt that a provider saw last.
fn last_prompt(provider: &Provider) -> String {
    provider.calls().last().map(|call| String::from_utf8_lossy(&call.body).into_owned()).unwrap_or_default()
}

fn last_event(reply: &Reply) -> Value {
    reply.events().last().expect("a stream has events")["response"].clone()
}

#[tokio::test]
async fn continues_a_stored_response_at_every_backend() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(&folder).start().await;
    let mut previous = Value::Null;
    for turn in 0..6 {
        // One turn is long enough to be read on another thread.
        let more = "more ".repeat(if turn == 2 { 100_000 } else { 0 });
        let body = json!({
            "model": "pool", "input": format!("turn-{turn} {more}"), "previous_response_id": previous, "stream": turn % 2 == 1,
        });
        let reply = ask(&gateway, &body).await;
        assert_eq!(reply.status, 200, "{turn}: {reply:?}");
        let response = if turn % 2 == 1 { last_event(&reply) } else { reply.json() };
        previous = response["id"].clone();
        let served = reply.header("x-berry-backend").to_owned();
        let provider = &gateway.providers[["a:sim", "b:sim", "c:sim"].iter().position(|id| *id == served).unwrap()];
        for earlier in 0..=turn {
            assert!(last_prompt(provider).contains(&format!("turn-{earlier}")), "{served} in turn {turn}");
        }
    }
    for provider in &gateway.providers {
        assert_eq!(provider.calls().len(), 2);
        assert!(provider.calls().iter().all(|call| call.ended.and_then(|ended| ended.status) == Some(200)));
    }
}

#[tokio::test]
async fn a_stored_response_belongs_to_its_caller_until_it_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(&folder).start().await;
    let first = ask(&gateway, &json!({"model": "pool", "input": "Hi"})).await.json();
    let path = format!("{PATH}/{}", first["id"].as_str().unwrap());
    let got = gateway.ask(&Ask::get(&path)).await;
    assert_eq!((got.status.as_u16(), got.json()), (200, first.clone()));
    let bob = "token-of-bob-0123456789ab";
    assert_eq!(gateway.ask(&Ask::get(&path).token(bob)).await.status, 404);
    let next = json!({"model": "pool", "input": "Hi", "previous_response_id": first["id"]});
    for _ in 0..3 {
        let reply = gateway.ask(&Ask::post(PATH, next.to_string()).token(bob)).await;
        assert_eq!(reply.error()["code"], "previous_response_not_found", "{reply:?}");
    }
    assert_eq!(gateway.ask(&Ask::new(Method::DELETE, &path).token(bob)).await.status, 404);
    let removed = gateway.ask(&Ask::new(Method::DELETE, &path).token(berry_tests::TOKEN)).await;
    assert_eq!(removed.json(), json!({"id": first["id"], "object": "response", "deleted": true}));
    assert_eq!(gateway.ask(&Ask::get(&path)).await.status, 404);
    let unstored = ask(&gateway, &json!({"model": "pool", "input": "Hi", "store": false})).await.json();
    let path = format!("{PATH}/{}", unstored["id"].as_str().unwrap());
    assert_eq!(gateway.ask(&Ask::get(&path)).await.status, 404);
}

#[tokio::test]
async fn nothing_is_stored_unless_the_configuration_says_so() {
    let gateway = Gateway::builder().provider("a").start().await;
    let first = ask(&gateway, &json!({"model": "pool", "input": "Hi"})).await.json();
    let reply = gateway.ask(&Ask::get(&format!("{PATH}/{}", first["id"].as_str().unwrap()))).await;
    assert_eq!(reply.status, 404);
    assert!(reply.error()["message"].as_str().unwrap().contains("stores no responses"));
}
