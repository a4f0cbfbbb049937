//! The Responses API: items, events, rules, and items of an account.

use super::{post, read, soon};
use crate::{Config, Dialect, Fault, Provider, TaskCall};
use serde_json::{Value, json};

async fn start(name: &str) -> Provider {
    Provider::start(Config { tokens: Some(12), ..Config::named(name) }).await.unwrap()
}

async fn ask(provider: &Provider, path: &str, body: &Value) -> (u16, Value) {
    let response = soon(post(provider, path, body).send()).await.unwrap();
    let status = response.status().as_u16();
    (status, soon(response.json()).await.unwrap())
}

async fn answer(provider: &Provider, body: &Value) -> Value {
    let (status, answer) = ask(provider, "/responses", body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Sends an invalid request and returns the error, which must have the given status.
async fn refusal(provider: &Provider, body: &Value, status: u16) -> Value {
    let (given, answer) = ask(provider, "/responses", body).await;
    assert_eq!(given, status, "{answer}");
    answer["error"].clone()
}

fn lookup() -> Value {
    json!({"type": "function", "name": "lookup", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}})
}

#[tokio::test]
async fn streams_the_items_of_the_plain_response_in_the_documented_order() {
    let provider = start("one").await;
    let patch = json!({"type": "custom", "name": "patch"});
    let inner = json!({"type": "namespace", "name": "crm", "description": "d", "tools": [lookup()]});
    for (model, tools, more) in [
        ("sim", json!([]), json!({})),
        ("sim-refuse", json!([]), json!({})),
        ("sim-think", json!([]), json!({"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]})),
        ("sim-tools-think", json!([lookup()]), json!({})),
        ("sim-tools2-talk", json!([patch, inner]), json!({})),
        ("sim-t60", json!([]), json!({"max_output_tokens": 20})),
    ] {
        let mut body = json!({"model": model, "input": "How are you?", "tools": tools});
        for (field, value) in more.as_object().unwrap() {
            body[field] = value.clone();
        }
        let mut whole = answer(&provider, &body).await;
        body["stream"] = true.into();
        let response = soon(post(&provider, "/responses", &body).send()).await.unwrap();
        let events = soon(read(response)).await.events();
        let mut items = Vec::new();
        let mut open: Option<Value> = None;
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number);
            match event["type"].as_str().unwrap() {
                "response.output_item.added" => {
                    assert!(open.is_none() && event["output_index"] == items.len());
                    open = Some(event["item"].clone());
                }
                "response.output_item.done" => {
                    assert_eq!(event["item"]["id"], open.take().unwrap()["id"]);
                    items.push(event["item"].clone());
                }
                kind if kind.ends_with(".delta") => {
                    assert_eq!(event["item_id"], open.as_ref().unwrap()["id"], "{model}");
                }
                _ => {}
            }
        }
        let mut last = events.last().unwrap()["response"].clone();
        // The ids depend on the request, which includes `stream`.
        for value in [&mut whole, &mut last] {
            value["id"] = Value::Null;
        }
        let without_ids = |items: &Value| {
            let mut items = items.clone();
            for item in items.as_array_mut().unwrap() {
                item["id"] = Value::Null;
                item["call_id"] = Value::Null;
            }
            items
        };
        assert_eq!(last["output"], Value::from(items), "{model}");
        assert_eq!(without_ids(&last["output"]), without_ids(&whole["output"]), "{model}");
        assert_eq!(last["usage"], whole["usage"], "{model}");
        assert_eq!(last["status"], whole["status"], "{model}");
    }
}

#[tokio::test]
async fn makes_items_of_every_kind() {
    let provider = start("one").await;
    let body = json!({
        "model": "sim-think-tools2", "input": "Hi", "reasoning": {"effort": "low", "summary": "auto"},
        "tools": [{"type": "custom", "name": "patch"}, {"type": "namespace", "name": "crm", "description": "d", "tools": [lookup()]}],
        "include": ["reasoning.encrypted_content"],
    });
    let output = answer(&provider, &body).await["output"].clone();
    let kinds: Vec<_> = output.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "custom_tool_call", "function_call"]);
    assert_eq!(output[0]["summary"][0]["text"], "Let me think.");
    assert!(output[0]["encrypted_content"].as_str().unwrap().starts_with("gAAA"));
    assert_eq!((&output[1]["input"], &output[1]["name"]), (&json!("Hi"), &json!("patch")));
    assert_eq!((&output[2]["namespace"], &output[2]["arguments"]), (&json!("crm"), &json!(r#"{"q":"Hi"}"#)));

    let body = json!({"model": "sim-refuse", "input": "Hi"});
    assert_eq!(answer(&provider, &body).await["output"][0]["content"][0]["type"], "refusal");
    let body = json!({"model": "sim-filter", "input": "Hi"});
    let filtered = answer(&provider, &body).await;
    assert_eq!(filtered["incomplete_details"]["reason"], "content_filter");
    let body = json!({"model": "sim-t60", "input": "Hi", "max_output_tokens": 16});
    let short = answer(&provider, &body).await;
    assert_eq!(
        (&short["status"], &short["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
}

#[tokio::test]
async fn rejects_requests_that_break_the_published_rules() {
    let provider = start("one").await;
    let user = json!({"role": "user", "content": "Hi"});
    let call = json!({"type": "function_call", "call_id": "c", "name": "lookup", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "c", "output": "1"});
    let base = json!({"model": "sim", "input": [user, call, output], "tools": [lookup()]});
    answer(&provider, &base).await;
    for (field, value, named) in [
        ("messages", json!([]), "messages"),
        ("max_output_tokens", json!(5), "max_output_tokens"),
        ("stream_options", json!({"include_obfuscation": true}), "stream_options"),
        ("tools", json!([{"type": "function", "function": {"name": "x"}}]), "tools[0]"),
        ("tool_choice", json!({"type": "function", "name": "other"}), "tool_choice"),
        ("input", json!([user, call]), "No tool output found"),
        ("input", json!([user, output]), "No tool call found"),
        (
            "input",
            json!([{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]),
            "input[0].content[0].type",
        ),
        (
            "input",
            json!([{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]),
            "input[0].content[0].type",
        ),
        (
            "input",
            json!([{"type": "message", "role": "assistant", "id": "x", "content": "x"}, user]),
            "begins with 'msg'",
        ),
        ("input", json!([user, {"type": "tool_result"}]), "input[1].type"),
    ] {
        let mut body = base.clone();
        body[field] = value;
        let error = refusal(&provider, &body, 400).await;
        assert!(error["message"].as_str().unwrap().contains(named), "{field}: {error}");
    }
    let mut strict = lookup();
    strict["strict"] = true.into();
    let body = json!({"model": "sim", "input": "Hi", "tools": [strict]});
    assert!(refusal(&provider, &body, 400).await["message"].as_str().unwrap().contains("additionalProperties"));
}

#[tokio::test]
async fn accepts_only_responses_and_reasoning_of_the_account() {
    let (one, other) = (start("one").await, start("other").await);
    let twin = Provider::start(Config { key: one.key().to_owned(), ..Config::named("twin") }).await.unwrap();
    let first = answer(&one, &json!({"model": "sim", "input": "First"})).await;
    let next = json!({"model": "sim", "input": "Second", "previous_response_id": first["id"]});
    let second = answer(&one, &next).await;
    assert!(second["usage"]["input_tokens"].as_u64() > first["usage"]["input_tokens"].as_u64());
    assert_eq!(refusal(&other, &next, 400).await["code"], "previous_response_not_found");
    let unstored = answer(&one, &json!({"model": "sim", "input": "First", "store": false})).await;
    let next = json!({"model": "sim", "input": "Second", "previous_response_id": unstored["id"]});
    assert_eq!(refusal(&one, &next, 400).await["code"], "previous_response_not_found");

    let ask = json!({"model": "sim-think", "input": "Hi", "store": false, "include": ["reasoning.encrypted_content"]});
    let output = answer(&one, &ask).await["output"].clone();
    let again = |items: &[Value]| json!({"model": "sim", "input": items, "store": false});
    let user = json!({"role": "user", "content": "More"});
    let whole = again(&[output[0].clone(), output[1].clone(), user.clone()]);
    answer(&one, &whole).await;
    answer(&twin, &whole).await;
    assert_eq!(refusal(&other, &whole, 400).await["code"], "invalid_encrypted_content");
    let alone = again(&[output[0].clone(), user.clone()]);
    assert!(refusal(&one, &alone, 400).await["message"].as_str().unwrap().contains("required following item"));
    let mut bare = output[0].clone();
    bare.as_object_mut().unwrap().remove("encrypted_content");
    let bare = again(&[bare, output[1].clone(), user]);
    assert!(refusal(&one, &bare, 404).await["message"].as_str().unwrap().contains("not found"));
}

#[tokio::test]
async fn faults_disable_responses_or_tools_in_chat() {
    let provider = start("one").await;
    let body = json!({"model": "sim-chatonly", "input": "Hi"});
    refusal(&provider, &body, 404).await;
    let function = json!({"type": "function", "function": {"name": "lookup"}});
    let mut chat =
        json!({"model": "sim-toolsresp", "messages": [{"role": "user", "content": "Hi"}], "tools": [function]});
    let (status, answer) = ask(&provider, "/chat/completions", &chat).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("reasoning_effort")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("use /v1/responses"));
    chat["reasoning_effort"] = "none".into();
    assert_eq!(ask(&provider, "/chat/completions", &chat).await.0, 200);
}

#[tokio::test]
async fn task_advances_with_each_tool_result() {
    let step = |tools: &[&str]| tools.iter().map(|tool| TaskCall::new(*tool, r#"{"q":"x"}"#)).collect();
    let task = vec![step(&["missing", "lookup"]), vec![TaskCall::new("patch", "*** text")]];
    let provider = Provider::start(Config { task, ..Config::named("one") }).await.unwrap();
    let tools = json!([lookup(), {"type": "custom", "name": "patch"}]);
    let mut input = vec![json!({"role": "user", "content": "Do it"})];
    for expected in [("function_call", "lookup"), ("custom_tool_call", "patch")] {
        let output =
            answer(&provider, &json!({"model": "sim", "input": input, "tools": tools})).await["output"].clone();
        let call = output[0].clone();
        assert_eq!((call["type"].as_str().unwrap(), call["name"].as_str().unwrap()), expected);
        let kind = format!("{}_output", expected.0);
        input.extend([call.clone(), json!({"type": kind, "call_id": call["call_id"], "output": "done"})]);
    }
    let last = answer(&provider, &json!({"model": "sim", "input": input, "tools": tools})).await;
    assert_eq!(last["output"][0]["type"], "message");
}

#[tokio::test]
async fn each_dialect_counts_tokens() {
    let provider = start("one").await;
    let (status, count) = ask(&provider, "/responses/input_tokens", &json!({"model": "sim", "input": "one two"})).await;
    assert_eq!((status, &count), (200, &json!({"object": "response.input_tokens", "input_tokens": 9})));

    let claude = Provider::start(Config { dialect: Dialect::Claude, ..Config::named("claude") }).await.unwrap();
    let mut body = json!({"model": "sim", "messages": [{"role": "user", "content": "one two"}]});
    let count = async |body: &Value| {
        let request = reqwest::Client::new().post(format!("{}/messages/count_tokens", claude.base_url())).json(body);
        let request = request.header("x-api-key", claude.key()).header("anthropic-version", "2023-06-01");
        let response = soon(request.send()).await.unwrap();
        (response.status().as_u16(), soon(response.json::<Value>()).await.unwrap())
    };
    assert_eq!(count(&body).await, (200, json!({"input_tokens": 9})));
    body["max_tokens"] = 5.into();
    assert_eq!(count(&body).await.0, 400);

    let gemini = Provider::start(Config { dialect: Dialect::Gemini, ..Config::named("gemini") }).await.unwrap();
    let contents = json!([{"role": "user", "parts": [{"text": "one two"}]}]);
    for (body, status) in [
        (json!({"contents": contents}), 200),
        (json!({"generateContentRequest": {"model": "models/sim", "contents": contents}}), 200),
        (json!({"generateContentRequest": {"contents": contents}}), 400),
        (json!({"contents": contents, "tools": []}), 400),
    ] {
        let request = reqwest::Client::new().post(format!("{}/models/sim:countTokens", gemini.base_url())).json(&body);
        let response = soon(request.header("x-goog-api-key", gemini.key()).send()).await.unwrap();
        assert_eq!(response.status(), status, "{body}");
        let count: Value = soon(response.json()).await.unwrap();
        assert!(status != 200 || count["totalTokens"] == 9, "{count}");
    }
}

#[tokio::test]
async fn responses_stream_breaks_like_other_streams() {
    let provider = start("one").await;
    provider.script([Fault::CutAfter(3).once(), Fault::ErrorAfter(2).once(), Fault::NoFinish.once()]);
    let body = json!({"model": "sim", "input": "Hi", "stream": true});
    let mut reads = Vec::new();
    for _ in 0..3 {
        reads.push(soon(read(soon(post(&provider, "/responses", &body).send()).await.unwrap())).await);
    }
    let deltas = |at: usize| reads[at].events().iter().filter(|e| e["type"] == "response.output_text.delta").count();
    assert!(!reads[0].whole && deltas(0) == 3);
    assert_eq!(reads[1].events().last().unwrap()["type"], "error");
    assert!(reads[2].whole && reads[2].events().last().unwrap()["type"] == "response.output_item.done");
}
