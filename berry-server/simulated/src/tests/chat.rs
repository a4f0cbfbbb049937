//! Chats without faults.

use super::{ask_with, chat};
use serde_json::{Value, json};

#[tokio::test]
async fn same_request_gets_the_same_answer_plain_and_streamed() {
    let (_, streamed) = ask_with(&chat("sim", true)).await.read().await;
    let (_, again) = ask_with(&chat("sim", true)).await.read().await;
    let (_, plain) = ask_with(&chat("sim", false)).await.read().await;
    assert_eq!(streamed.bytes, again.bytes);
    let content = plain.json()["choices"][0]["message"]["content"].clone();
    assert_eq!(content, streamed.contents().concat());
}

#[tokio::test]
async fn stream_has_all_parts_in_order() {
    let mut body = chat("sim", true);
    body["stream_options"] = json!({"include_usage": true});
    let call = ask_with(&body).await;
    let content_type = &call.response.headers()["content-type"];
    assert_eq!(content_type, "text/event-stream; charset=utf-8");
    let (_, read) = call.read().await;
    let events = read.events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(read.contents().len(), 60);
    assert_eq!(read.finish().as_deref(), Some("stop"));
    let usage = events.last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 60);
    assert!(events[..events.len() - 1].iter().all(|e| e["usage"].is_null()));
    assert_eq!(events.len(), 1 + 60 + 1 + 1);
    assert!(read.done() && read.whole);
}

#[tokio::test]
async fn stream_has_usage_only_on_request() {
    let (_, read) = ask_with(&chat("sim", true)).await.read().await;
    assert!(!read.text().contains("usage"));
    let mut body = chat("sim-nousage", true);
    body["stream_options"] = json!({"include_usage": true});
    let (_, read) = ask_with(&body).await.read().await;
    assert!(!read.text().contains("prompt_tokens"));
}

#[tokio::test]
async fn every_choice_has_text_and_finish_reason() {
    let mut body = chat("sim-t5", true);
    body["n"] = json!(3);
    let (_, read) = ask_with(&body).await.read().await;
    for index in 0..3 {
        let events = read.events();
        let mine = || events.iter().filter(|e| e["choices"][0]["index"] == index);
        assert_eq!(mine().count(), 1 + 5 + 1);
        assert_eq!(mine().next_back().unwrap()["choices"][0]["finish_reason"], "stop");
    }
    body["stream"] = json!(false);
    let (_, read) = ask_with(&body).await.read().await;
    let choices = read.json()["choices"].as_array().unwrap().clone();
    assert_eq!(choices.len(), 3);
    assert_ne!(choices[0]["message"], choices[1]["message"]);
}

#[tokio::test]
async fn respects_the_token_limit() {
    for field in ["max_tokens", "max_completion_tokens"] {
        let mut body = chat("sim", true);
        body[field] = json!(1);
        let (_, read) = ask_with(&body).await.read().await;
        assert_eq!(read.contents().len(), 1);
        assert_eq!(read.finish().as_deref(), Some("length"));
    }
}

#[tokio::test]
async fn calls_tools_by_behavior_or_tool_choice() {
    let mut body = chat("sim-tools", false);
    body["tools"] = json!([{"type": "function", "function": {"name": "look_up", "parameters": {}}}]);
    let (_, read) = ask_with(&body).await.read().await;
    let choice = read.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "tool_calls");
    let function = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(function["name"], "look_up");
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"input": "How are you?"}));

    body["stream"] = json!(true);
    let (_, read) = ask_with(&body).await.read().await;
    let part = |e: &Value| {
        let function = &e["choices"][0]["delta"]["tool_calls"][0]["function"];
        function["arguments"].as_str().map(str::to_owned)
    };
    let joined: String = read.events().iter().filter_map(part).collect();
    assert_eq!(joined, function["arguments"].as_str().unwrap());
    assert_eq!(read.finish().as_deref(), Some("tool_calls"));

    body["model"] = json!("sim");
    let (_, read) = ask_with(&body).await.read().await;
    assert_eq!(read.finish().as_deref(), Some("stop"));
    body["tool_choice"] = json!("required");
    let (_, read) = ask_with(&body).await.read().await;
    assert_eq!(read.finish().as_deref(), Some("tool_calls"));
}

#[tokio::test]
async fn reasoning_precedes_the_answer() {
    let (_, read) = ask_with(&chat("sim-think", true)).await.read().await;
    let thought = read.events()[1]["choices"][0]["delta"]["reasoning_content"].clone();
    assert_eq!(thought, "Let");
    let (_, read) = ask_with(&chat("sim-think", false)).await.read().await;
    let message = &read.json()["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "Let me think.");
}

#[tokio::test]
async fn continues_an_assistant_prefix() {
    let (_, whole) = ask_with(&chat("sim", true)).await.read().await;
    let (given, rest) = (whole.contents()[..10].concat(), whole.contents()[10..].concat());
    let mut body = chat("sim", true);
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": given}));
    let (_, read) = ask_with(&body).await.read().await;
    assert_eq!(read.contents().concat(), rest);
}
