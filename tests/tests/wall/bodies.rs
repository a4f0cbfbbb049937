//! Answers of other kinds and sizes.

use berry_simulated::Fault;
use serde_json::{Value, json};

use crate::{answer::Answer, support::Plan};

#[tokio::test(start_paused = true)]
async fn long_plain_response_that_breaks_off_ends_uncleanly() {
    for fault in [Fault::Short, Fault::Chopped] {
        let wall = Plan::of(2).start().await;
        wall.set(0, fault.and(Fault::Huge(100 << 10)));
        let answer = wall.ask(false).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.clean && answer.text.len() > 1 << 20);
        assert_eq!(wall.counts(), [1, 0]);
        wall.settle().await;
        assert_eq!(wall.outcomes(0, "network"), 1);
        wall.next_works(&Answer { text: String::new(), ..answer }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn long_plain_response_passes() {
    let wall = Plan::of(1).start().await;
    wall.set(0, Fault::Huge(100 << 10));
    let answer = wall.ask(false).await;
    assert!(answer.is_whole() && answer.text.len() > 5 << 20);
    wall.settle().await;
    assert_eq!(wall.outcomes(0, "success"), 1);
}

#[tokio::test(start_paused = true)]
async fn every_endpoint_fails_over_from_an_invalid_response() {
    let chat = json!([{ "role": "user", "content": "Hello" }]);
    let bodies: [(&str, Value); 7] = [
        ("/v1/chat/completions", json!({ "model": "m", "messages": chat })),
        ("/v1/completions", json!({ "model": "m", "prompt": "Hello" })),
        ("/v1/responses", json!({ "model": "m", "input": "Hello" })),
        ("/v1/embeddings", json!({ "model": "m", "input": "Hello" })),
        ("/v1/moderations", json!({ "model": "m", "input": "Hello" })),
        ("/v1/images/generations", json!({ "model": "m", "prompt": "Hello" })),
        ("/v1/audio/speech", json!({ "model": "m", "input": "Hello to all of you", "voice": "alloy" })),
    ];
    for (path, body) in bodies {
        for fault in [Fault::Html, Fault::Empty, Fault::ErrorFirst, Fault::Status(500), Fault::Short] {
            let committed = path == "/v1/audio/speech" && fault == Fault::Short;
            let wall = Plan::of(2).start().await;
            wall.set(0, fault.clone());
            let bytes = async |clean: bool| {
                let response = wall.request(path, &body).send().await.unwrap();
                assert_eq!(response.status(), 200, "{path} {fault:?}");
                let read = response.bytes().await;
                assert_eq!(read.is_ok(), clean, "{path} {fault:?}");
                read.unwrap_or_default()
            };
            let answer = bytes(!committed).await;
            assert_eq!(wall.counts(), if committed { [1, 0] } else { [1, 1] }, "{path} {fault:?}");
            wall.providers[0].heal();
            assert!(committed || answer == bytes(true).await, "{path} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cut_streams_of_other_apis_never_look_complete() {
    let bodies = [
        ("/v1/completions", json!({ "model": "m", "prompt": "Hello", "stream": true })),
        ("/v1/responses", json!({ "model": "m", "input": "Hello", "stream": true })),
    ];
    for (path, body) in bodies {
        let responses = path.ends_with("responses");
        let wall = Plan::of(2).start().await;
        let whole = wall.send(wall.request(path, &body)).await;
        assert!(whole.clean && whole.done(), "{whole:?}");
        wall.set(0, Fault::CutAfter(9));
        let cut = wall.send(wall.request(path, &body)).await;
        assert!(!cut.clean && !cut.done(), "{cut:?}");
        let last = cut.events().pop().unwrap();
        let error = if responses { &last["response"]["error"] } else { &last["error"] };
        assert_eq!(error["code"], "upstream_stream_interrupted", "{cut:?}");
        assert_eq!(cut.text.contains("\nevent: response.failed\n"), responses);
        wall.set(1, Fault::ErrorFirst);
        wall.set(0, Fault::ErrorFirst);
        let failed = wall.send(wall.request(path, &body)).await;
        assert_eq!(failed.status, 502, "{failed:?}");
    }
}
