//! Cut streams that are resumed, and those that are not.

use std::time::Duration;

use berry_simulated::{Behavior, Dialect, Fault};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    answer::{Answer, Front},
    support::{FORMATS, Format, Plan, TOKENS, Wall, question},
};

const SETTINGS: &str = "stream_idle_timeout_seconds = 5\nstream_keepalive_seconds = 2\nfirst_token_timeout_seconds = 3";
const REPLAY: &str = "stream_recovery = \"replay\"";
const PREFILL: &str = "stream_recovery = \"prefill\"";

async fn wall(backends: usize, model: &str) -> Wall {
    Plan::of(backends).settings(SETTINGS).model(model).start().await
}

/// The answer is one piece, resumed so often, and all of it is of the first stream's id.
fn is_resumed(answer: &Answer, times: usize) {
    assert!(answer.is_whole(), "{answer:?}");
    assert_eq!(answer.text.matches(": resumed\n\n").count(), times, "{answer:?}");
    let events = answer.events();
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]), "{answer:?}");
    let roles = events.iter().filter(|event| event["choices"][0]["delta"]["role"].is_string());
    assert_eq!(roles.count(), 1);
    assert_eq!(answer.done() as usize, answer.text.matches("[DONE]").count());
}

fn is_cut(answer: &Answer) {
    assert_eq!(answer.code().as_deref(), Some("upstream_stream_interrupted"), "{answer:?}");
    assert!(!answer.clean && !answer.looks_whole() && !answer.text.contains(": resumed"));
}

#[tokio::test(start_paused = true)]
async fn resumes_a_cut_stream_on_another_backend() {
    for fault in [Fault::CutAfter(40), Fault::ResetAfter(1), Fault::ErrorAfter(20), Fault::NoFinish] {
        let wall = wall(2, REPLAY).await;
        wall.set(0, fault.clone());
        let answer = wall.ask(true).await;
        is_resumed(&answer, 1);
        assert!(answer.end < Duration::from_millis(100));
        assert_eq!(wall.counts(), [1, 1], "{fault:?}");
        assert_eq!((wall.outcomes(1, "success"), wall.outcomes(0, "success")), (1, 0));
        assert_eq!(wall.providers[0].calls()[0].json(), wall.providers[1].calls()[0].json());
        wall.next_works(&answer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn resumes_a_stalled_stream_and_sends_keep_alives_meanwhile() {
    let wall = wall(2, REPLAY).await;
    wall.set(0, Fault::StallAfter(20));
    wall.set(1, Fault::LateFirstToken(Duration::from_secs(4)));
    let answer = wall.ask(true).await;
    is_resumed(&answer, 1);
    assert!((9.0..9.2).contains(&answer.end.as_secs_f64()), "{:?}", answer.end);
    assert_eq!(answer.text.matches(": keep-alive\n\n").count(), 4, "{answer:?}");
    wall.next_works(&answer).await;
}

#[tokio::test(start_paused = true)]
async fn counts_each_resumption_as_an_attempt() {
    // Three backends, the third of which is well.
    let wall = wall(3, REPLAY).await;
    wall.set(0, Fault::CutAfter(10));
    wall.set(1, Fault::CutAfter(30));
    let answer = wall.ask(true).await;
    is_resumed(&answer, 2);
    assert_eq!(wall.counts(), [1, 1, 1]);
    // One that breaks off within what the client has already is passed over unheard.
    let wall = self::wall(3, REPLAY).await;
    wall.set(0, Fault::CutAfter(30));
    wall.set(1, Fault::CutAfter(10));
    is_resumed(&wall.ask(true).await, 1);
    assert_eq!(wall.counts(), [1, 1, 1]);
    // A backend alone is asked again, once.
    let wall = self::wall(1, REPLAY).await;
    wall.set(0, Fault::CutAfter(30).once());
    is_resumed(&wall.ask(true).await, 1);
    wall.set(0, Fault::CutAfter(30));
    let answer = wall.ask(true).await;
    is_cut(&answer);
    assert_eq!(wall.counts(), [2 + 2]);
    wall.next_works(&answer).await;
}

#[tokio::test(start_paused = true)]
async fn resumes_on_a_fallback_and_names_it() {
    let wall = Plan::of(2).settings(SETTINGS).model(REPLAY).last_is_fallback().start().await;
    wall.set(0, Fault::CutAfter(40).once());
    // The backend alone would do; it must not be there.
    wall.providers[0].script([Fault::CutAfter(40).once(), Fault::Status(401).into()]);
    let answer = wall.ask(true).await;
    is_resumed(&answer, 1);
    assert_eq!(wall.counts(), [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn retry_budget_limits_resumptions() {
    let settings = format!("{SETTINGS}\n[settings.retry_budget]\nratio = 0.0\nmin_per_second = 0");
    let wall = Plan::of(2).settings(&settings).model(REPLAY).start().await;
    wall.set(0, Fault::CutAfter(40));
    is_cut(&wall.ask(true).await);
    assert_eq!(wall.counts(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn never_joins_two_different_responses() {
    for model in [REPLAY, PREFILL] {
        let wall = wall(2, model).await;
        wall.set(0, Fault::CutAfter(40));
        // It says fewer words, and others.
        for other in [Behavior::healthy().tokens(30), Fault::Huge(100).into(), Behavior::healthy().reasoning()] {
            wall.set(1, other.clone());
            let answer = wall.ask(true).await;
            is_cut(&answer);
            let whole = self::wall(1, "").await.ask(true).await;
            assert!(whole.content().starts_with(&answer.content()), "{other:?}");
            sleep(Duration::from_secs(200)).await;
        }
        wall.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn sends_a_prefix_to_backends_that_continue_from_it() {
    let wall = Plan::of(2).settings(SETTINGS).model(PREFILL).backend("supports_prefill = true").start().await;
    wall.set(0, Fault::CutAfter(40));
    let answer = wall.ask(true).await;
    is_resumed(&answer, 1);
    let sent = wall.providers[1].calls()[0].json();
    let messages = sent["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[1]["role"], "assistant");
    let prefix = messages[1]["content"].as_str().unwrap();
    assert!(answer.content().starts_with(prefix) && prefix.len() > 50);
    wall.next_works(&answer).await;
}

#[tokio::test(start_paused = true)]
async fn resumes_plain_text_only() {
    let tools = json!([{ "type": "function", "function": { "name": "look", "parameters": {} } }]);
    let cases = [
        json!({ "n": 2 }),
        json!({ "logprobs": true }),
        json!({
            "response_format": { "type": "json_object" },
            "messages": [{ "role": "user", "content": "How are you, as JSON?" }],
        }),
        json!({ "tools": tools, "tool_choice": "required" }),
    ];
    for case in cases {
        let wall = wall(2, REPLAY).await;
        wall.set(0, Fault::CutAfter(2));
        let mut body = question(true);
        body.as_object_mut().unwrap().extend(case.as_object().unwrap().clone());
        let answer = wall.send(wall.request("/v1/chat/completions", &body)).await;
        is_cut(&answer);
        assert_eq!(wall.counts(), [1, 0], "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn resumes_completions() {
    let wall = wall(2, REPLAY).await;
    let body = json!({ "model": "m", "prompt": "Hello", "stream": true });
    let text = |answer: &Answer| -> String {
        answer.events().iter().filter_map(|event| event["choices"][0]["text"].as_str().map(str::to_owned)).collect()
    };
    let whole = wall.send(wall.request("/v1/completions", &body)).await;
    wall.set(0, Fault::CutAfter(TOKENS / 2));
    let answer = wall.send(wall.request("/v1/completions", &body)).await;
    assert!(answer.is_whole() && answer.text.contains(": resumed"), "{answer:?}");
    assert_eq!(text(&answer), text(&whole));
}

#[tokio::test(start_paused = true)]
async fn disconnect_during_a_resumption_ends_it() {
    let wall = wall(3, REPLAY).await;
    wall.set(0, Fault::CutAfter(10));
    wall.set(1, Fault::Silent);
    let mut response = wall.chat(true).send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    wall.providers[1].wait_for(1).await;
    drop(response);
    wall.providers[1].wait_idle().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(wall.counts(), [1, 1, 0]);
}

/// A format in which the answer begins, and another in which it goes on.
const PAIRS: [[Dialect; 2]; 4] = [
    [Dialect::Claude, Dialect::OpenAi],
    [Dialect::Claude, Dialect::Gemini],
    [Dialect::Gemini, Dialect::Claude],
    [Dialect::OpenAi, Dialect::Claude],
];

#[tokio::test(start_paused = true)]
async fn resumes_in_another_format() {
    for pair in PAIRS {
        for fault in [Fault::CutAfter(40), Fault::ErrorAfter(20), Fault::NoFinish, Fault::StallAfter(20)] {
            let wall = Plan::speaking(&pair).settings(SETTINGS).model(REPLAY).start().await;
            wall.set(0, fault.clone());
            let answer = wall.ask(true).await;
            is_resumed(&answer, 1);
            assert_eq!(wall.counts(), [1, 1], "{pair:?} {fault:?}");
            assert_eq!((wall.outcomes(1, "success"), wall.outcomes(0, "success")), (1, 0));
            wall.next_works(&answer).await;
        }
        // But not where it says something else.
        let wall = Plan::speaking(&pair).settings(SETTINGS).model(REPLAY).start().await;
        wall.set(0, Fault::CutAfter(40));
        wall.set(1, Behavior::healthy().tokens(30));
        is_cut(&wall.ask(true).await);
    }
}

#[tokio::test(start_paused = true)]
async fn claude_continues_from_a_prefix() {
    for first in [Dialect::OpenAi, Dialect::Claude, Dialect::Gemini] {
        let plan = Plan::speaking(&[first, Dialect::Claude]).settings(SETTINGS).model(PREFILL);
        let wall = plan.backend("supports_prefill = true").start().await;
        wall.set(0, Fault::CutAfter(40));
        let answer = wall.ask(true).await;
        is_resumed(&answer, 1);
        let sent = wall.providers[1].calls()[0].json();
        let last = sent["messages"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((sent["messages"].as_array().unwrap().len(), &last["role"]), (2, &json!("assistant")), "{sent}");
        let prefix = last["content"].as_str().or(last["content"][0]["text"].as_str()).unwrap();
        assert!(answer.content().starts_with(prefix) && prefix.len() > 50, "{sent}");
        wall.next_works(&answer).await;
    }
}

/// Anthropic takes no beginning that ends in white space: then the question is asked anew.
#[tokio::test(start_paused = true)]
async fn claude_replays_if_the_prefix_ends_in_white_space() {
    let plan = Plan::speaking(&[Dialect::OpenAi, Dialect::Claude]).settings(SETTINGS).model(PREFILL);
    let wall = plan.backend("supports_prefill = true").start().await;
    // It stops before its second word, and says so only here.
    wall.set(0, Fault::NoFinish);
    let mut body = question(true);
    body["stop"] = json!(["This"]);
    let answer = wall.send(wall.request("/v1/chat/completions", &body)).await;
    is_resumed(&answer, 1);
    assert!(answer.content().ends_with(' '), "{answer:?}");
    let sent = wall.providers[1].calls()[0].json();
    assert_eq!(sent["messages"].as_array().unwrap().len(), 1, "{sent}");
}

/// The response is one piece, resumed once, and all of it is of the first stream's id.
fn is_resumed_response(answer: &Answer) {
    assert!(answer.is_whole(), "{answer:?}");
    assert_eq!(answer.text.matches(": resumed\n\n").count(), 1, "{answer:?}");
    let events = answer.events();
    let ids: Vec<_> = events.iter().filter_map(|event| event["response"]["id"].as_str()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let text = &events.last().unwrap()["response"]["output"][0]["content"][0]["text"];
    assert_eq!(*text, answer.content());
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_cut_in_one_format_goes_on_in_another() {
    let mut pools = Vec::new();
    for (at, first) in FORMATS.into_iter().enumerate() {
        pools.extend([vec![first, first], vec![first, FORMATS[(at + 1) % FORMATS.len()]]]);
    }
    for fault in [Fault::CutAfter(40), Fault::ErrorAfter(20), Fault::NoFinish, Fault::StallAfter(20)] {
        let plan = Plan::pools(pools.clone()).front(Front::Responses).settings(SETTINGS).model(REPLAY);
        for (wall, pool) in plan.start_all().await.iter().zip(&pools) {
            wall.set(0, fault.clone());
            let answer = wall.ask(true).await;
            is_resumed_response(&answer);
            assert_eq!(wall.counts(), [1, 1], "{pool:?} {fault:?}");
            assert_eq!((wall.outcomes(1, "success"), wall.outcomes(0, "success")), (1, 0));
            wall.next_works(&answer).await;
        }
    }
    // But not where it says something else.
    let plan = Plan::pools(pools.clone()).front(Front::Responses).settings(SETTINGS).model(REPLAY);
    for wall in plan.start_all().await {
        wall.set(0, Fault::CutAfter(40));
        wall.set(1, Behavior::healthy().tokens(30));
        let answer = wall.ask(true).await;
        assert_eq!(answer.code().as_deref(), Some("upstream_stream_interrupted"), "{answer:?}");
        assert!(!answer.clean && answer.is_in_grammar() && !answer.text.contains(": resumed"), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_goes_on_from_a_prefix() {
    for first in FORMATS {
        let plan = Plan::speaking(&[first, Format(Dialect::Claude, None)]).settings(SETTINGS).model(PREFILL);
        let wall = plan.front(Front::Responses).backend("supports_prefill = true").start().await;
        wall.set(0, Fault::CutAfter(40));
        let answer = wall.ask(true).await;
        is_resumed_response(&answer);
        let sent = wall.providers[1].calls()[0].json();
        let last = sent["messages"].as_array().unwrap().last().unwrap().clone();
        let prefix = last["content"].as_str().or(last["content"][0]["text"].as_str()).unwrap();
        assert_eq!(last["role"], "assistant", "{sent}");
        assert!(answer.content().starts_with(prefix) && prefix.len() > 50, "{sent}");
        wall.next_works(&answer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_with_a_call_or_a_schema_is_not_resumed() {
    let tools = json!([{ "type": "function", "name": "look", "parameters": { "type": "object" } }]);
    let cases = [
        json!({ "tools": tools, "tool_choice": "required" }),
        json!({ "text": { "format": { "type": "json_object" } }, "input": "How are you, as JSON?" }),
    ];
    for case in cases {
        let wall = Plan::of(2).front(Front::Responses).settings(SETTINGS).model(REPLAY).start().await;
        wall.set(0, Fault::CutAfter(2));
        let mut body = json!({ "model": "m", "stream": true, "input": "How are you?" });
        body.as_object_mut().unwrap().extend(case.as_object().unwrap().clone());
        let answer = wall.send(wall.request("/v1/responses", &body)).await;
        assert_eq!(answer.code().as_deref(), Some("upstream_stream_interrupted"), "{answer:?}");
        assert!(!answer.clean && !answer.text.contains(": resumed"));
        assert_eq!(wall.counts(), [1, 0], "{case}");
    }
}
