//! Token counts that the gateway asks for and the client does not see.

use berry_simulated::{Dialect, Fault};
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    support::{Plan, Wall, question},
};

fn asks_usage(wall: &Wall) -> Vec<bool> {
    wall.providers[0].calls().iter().map(|call| call.json()["stream_options"]["include_usage"] == true).collect()
}

fn shows_usage(answer: &Answer) -> bool {
    answer.events().iter().any(|event| event["usage"].is_object())
}

async fn ask_with(wall: &Wall, options: Value) -> Answer {
    let mut body = question(true);
    body["stream_options"] = options;
    wall.send(wall.request("/v1/chat/completions", &body)).await
}

#[tokio::test(start_paused = true)]
async fn requests_usage_and_hides_it() {
    let wall = Plan::of(1).start().await;
    let answer = wall.ask(true).await;
    assert!(answer.is_whole() && !shows_usage(&answer));
    assert!(answer.events().iter().all(|event| event["choices"][0].is_object()), "no chunk without a choice");
    let answer = ask_with(&wall, json!({ "include_usage": false })).await;
    assert!(answer.is_whole() && !shows_usage(&answer));
    assert_eq!(asks_usage(&wall), [true, true]);
}

#[tokio::test(start_paused = true)]
async fn client_that_requests_usage_gets_it() {
    let wall = Plan::of(1).start().await;
    let answer = ask_with(&wall, json!({ "include_usage": true })).await;
    assert!(answer.is_whole() && shows_usage(&answer));
    assert_eq!(asks_usage(&wall), [true]);
}

/// Who translates knows the tokens without asking for them.
#[tokio::test(start_paused = true)]
async fn translated_stream_has_usage_if_requested() {
    for dialect in [Dialect::Claude, Dialect::Gemini] {
        let wall = Plan::speaking(&[dialect]).start().await;
        let hidden = wall.ask(true).await;
        assert!(hidden.is_whole() && !shows_usage(&hidden), "{hidden:?}");
        assert!(hidden.events().iter().all(|event| event["choices"][0].is_object()), "no chunk without a choice");
        let shown = ask_with(&wall, json!({ "include_usage": true })).await;
        let usage = shown.events().pop().unwrap()["usage"].clone();
        assert!(shown.is_whole() && usage["completion_tokens"].as_u64() > Some(0), "{shown:?}");
        let plain = wall.ask(false).await;
        assert_eq!(plain.json()["usage"], usage, "{dialect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_of_stream_options_counts_as_no_attempt_and_is_learned() {
    let wall = Plan::of(1).start().await;
    wall.set(0, Fault::RefuseStreamOptions);
    for calls in [&[true, false][..], &[true, false, false]] {
        let answer = wall.ask(true).await;
        assert!(answer.is_whole(), "{answer:?}");
        assert_eq!(answer.header("x-berry-attempts"), "1");
        assert_eq!(asks_usage(&wall), calls);
    }
    assert_eq!((wall.outcomes(0, "success"), wall.state(0).requests()), (2, 2));
    // The caller's own is left out too.
    let answer = ask_with(&wall, json!({ "include_usage": true })).await;
    assert!(answer.is_whole(), "{answer:?}");
    assert_eq!(asks_usage(&wall), [true, false, false, false]);
    let fresh = Plan::of(1).provider("stream_usage = false").start().await;
    fresh.set(0, Fault::RefuseStreamOptions);
    assert!(ask_with(&fresh, json!({ "include_usage": true })).await.is_whole());
    assert_eq!(asks_usage(&fresh), [false]);
}

#[tokio::test(start_paused = true)]
async fn stream_usage_false_requests_no_usage() {
    let wall = Plan::of(1).provider("stream_usage = false").start().await;
    assert!(wall.ask(true).await.is_whole());
    assert_eq!(asks_usage(&wall), [false]);
}

#[tokio::test(start_paused = true)]
async fn stream_passes_byte_for_byte() {
    for fault in [Fault::Crlf, Fault::Split(3), Fault::Huge(40 << 10)] {
        let wall = Plan::of(1).tokens(8).provider("stream_usage = false").start().await;
        wall.set(0, fault);
        let through = wall.ask(true).await;
        let mut body = question(true);
        body["model"] = json!("sim");
        let url = format!("{}/chat/completions", wall.providers[0].base_url());
        let bare = wall.send(wall.client.post(url).bearer_auth(wall.providers[0].key()).json(&body)).await;
        assert_eq!(through.text, bare.text);
    }
}
