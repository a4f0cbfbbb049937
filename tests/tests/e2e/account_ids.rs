//! Ids that only the account knows which made them: a request that holds one goes to a backend of that account.

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
