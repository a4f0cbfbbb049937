//! OpenAI's rules for chat requests.

use super::{PNG, plain, question, refusal, refuses};
use crate::{Config, Dialect, Provider};
use serde_json::{Value, json};

const OPENAI: Dialect = Dialect::OpenAi;

#[tokio::test]
async fn checks_fields_at_every_level() {
    let url = format!("data:image/png;base64,{PNG}");
    let function = json!({"name": "look", "description": "d", "parameters": {"type": "object"}, "strict": true});
    let good = json!({
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "system", "content": [{"type": "text", "text": "And kind."}]},
            {"role": "user", "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
            ]},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "auto", "parallel_tool_calls": true,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        "max_completion_tokens": 50, "temperature": 2, "top_p": 1, "n": 1, "stop": ["END"], "seed": 7,
        "logprobs": true, "top_logprobs": 2, "logit_bias": {"50256": -100}, "user": "u", "metadata": {"a": "b"},
        "reasoning_effort": "low", "service_tier": "auto", "store": null,
        "prediction": {"type": "content", "content": "x"},
    });
    refuses(
        OPENAI,
        &good,
        &[
            ("/messages", Value::Null, "messages"),
            ("/messages", json!([]), "messages"),
            ("/max_output_tokens", json!(5), "'max_output_tokens'"),
            ("/max_tokens", json!(5), "max_tokens"),
            ("/temperature", json!(2.5), "temperature"),
            ("/n", json!(0), "'n'"),
            ("/stop", json!(["a", "b", "c", "d", "e"]), "stop"),
            ("/logprobs", json!(false), "top_logprobs"),
            ("/stream_options", json!({"include_usage": true}), "stream_options"),
            ("/metadata/a", json!(1), "metadata.a"),
            ("/messages/2/role", json!("model"), "messages[2].role"),
            ("/messages/2/x", json!(1), "messages[2].x"),
            ("/messages/0/content", Value::Null, "messages[0].content"),
            ("/messages/1/content/0/type", json!("image_url"), "messages[1].content[0].type"),
            ("/messages/2/content", json!([]), "messages[2].content"),
            ("/messages/2/content/1/image_url", json!("u"), "messages[2].content[1].image_url"),
            ("/messages/2/content/1/image_url/url", json!("ftp://x"), "messages[2].content[1]"),
            ("/messages/2/content/1/image_url/url", json!("data:image/bmp;base64,AAAA"), "messages[2].content[1]"),
            ("/messages/2/content/2/input_audio/format", json!("ogg"), "messages[2].content[2].input_audio.format"),
            ("/messages/2/content/3/file", json!({}), "messages[2].content[3]"),
            ("/messages/-", json!({"role": "assistant"}), "messages[3].content"),
            ("/tools", json!([]), "tools"),
            ("/tools", Value::Null, "tool_choice"),
            ("/tools/0/function/name", json!("a b"), "tools[0].function.name"),
            ("/tools/0/function/parameters/type", json!("string"), "tools[0].function.parameters"),
            ("/tools/0/input_schema", json!({}), "tools[0].input_schema"),
            ("/tool_choice", json!("any"), "tool_choice"),
            ("/tool_choice", json!({"type": "function", "function": {"name": "x"}}), "tool_choice"),
            ("/response_format", json!({"type": "json"}), "response_format.type"),
            ("/response_format", json!({"type": "json_object"}), "json"),
            ("/response_format/json_schema/name", json!("a b"), "response_format.json_schema.name"),
        ],
    )
    .await;
    let (_, error, _) = refusal(OPENAI, &json!({"messages": good["messages"], "x": 1})).await;
    assert_eq!((&error["error"]["param"], &error["error"]["code"]), (&json!("x"), &json!("unknown_parameter")));
}

#[tokio::test]
async fn each_call_needs_a_tool_message() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
    let good = json!({"messages": [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]},
        result("b"),
        result("a"),
        {"role": "user", "content": "Well?"},
    ]});
    refuses(
        OPENAI,
        &good,
        &[
            ("/messages/2/tool_call_id", json!("c"), "messages[2].tool_call_id"),
            ("/messages/3/tool_call_id", json!("b"), "messages[3].tool_call_id"),
            ("/messages/3", json!({"role": "user", "content": "x"}), "have no answer: a"),
            ("/messages/1/tool_calls", json!([]), "messages[1].tool_calls"),
            ("/messages/1/tool_calls/0/function/arguments", json!({}), "messages[1].tool_calls[0].function.arguments"),
        ],
    )
    .await;
    let mut open = good;
    open["messages"].as_array_mut().unwrap().truncate(3);
    let (status, _, message) = refusal(OPENAI, &open).await;
    assert!(status == 400 && message.contains("have no answer: a"), "{message}");
}

#[tokio::test]
async fn accepts_fields_of_earlier_responses() {
    let mut body = question(OPENAI);
    let answer = plain(OPENAI, "sim-think", &body).await;
    let messages = body["messages"].as_array_mut().unwrap();
    messages.extend([answer["choices"][0]["message"].clone(), json!({"role": "user", "content": "And?"})]);
    plain(OPENAI, "sim", &body).await;
}

#[tokio::test]
async fn lax_provider_accepts_any_fields() {
    let provider = Provider::start(Config { lax: true, ..Config::named("one") }).await.unwrap();
    let body = json!({"model": "sim", "x": 1});
    let response = super::super::post(&provider, "/chat/completions", &body).send().await.unwrap();
    assert_eq!(response.status(), 200);
}
