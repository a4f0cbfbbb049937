//! Responses of all dialects.

use super::{ALL, PNG, PNG_BYTES, calls, finish, fold, plain, question, set, stream, text};
use crate::Dialect;
use serde_json::{Value, json};

/// Returns a request with two tools.
fn with_tools(dialect: Dialect) -> Value {
    let weather = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city", "days"]});
    let clock = json!({"type": "object", "properties": {}});
    let mut body = question(dialect);
    body["tools"] = match dialect {
        Dialect::Claude => {
            json!([{"name": "weather", "input_schema": weather}, {"name": "clock", "input_schema": clock}])
        }
        Dialect::Gemini => json!([{"functionDeclarations": [
            {"name": "weather", "description": "w", "parametersJsonSchema": weather},
            {"name": "clock", "description": "c", "parametersJsonSchema": clock},
        ]}]),
        _ => json!([
            {"type": "function", "function": {"name": "weather", "parameters": weather}},
            {"type": "function", "function": {"name": "clock", "parameters": clock}},
        ]),
    };
    body
}

/// Returns the parts of a plain response that a stream also has, without ids, which depend on the request.
fn comparable(dialect: Dialect, mut answer: Value) -> Value {
    if matches!(dialect, Dialect::OpenAi | Dialect::Azure) {
        answer = json!({"choices": answer["choices"], "usage": answer["usage"]});
        for choice in answer["choices"].as_array_mut().unwrap() {
            let message = choice["message"].as_object_mut().unwrap();
            message.retain(|name, value| name != "annotations" && !value.is_null() && value != "");
            choice.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "index" | "logprobs"));
        }
    }
    without_ids(&mut answer);
    answer
}

fn without_ids(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !matches!(name.as_str(), "id" | "responseId" | "thoughtSignature"));
            fields.values_mut().for_each(without_ids);
        }
        Value::Array(all) => all.iter_mut().for_each(without_ids),
        _ => {}
    }
}

#[tokio::test]
async fn stream_folds_into_the_plain_response() {
    let tokens =
        ["", "-think", "-tools", "-tools2-talk-think", "-tools3", "-refuse", "-filter", "-cached3", "-t0", "-pings"];
    for dialect in ALL {
        for token in tokens {
            let model = format!("sim{token}");
            let mut body = if token.contains("tools") { with_tools(dialect) } else { question(dialect) };
            let plain = plain(dialect, &model, &body).await;
            if matches!(dialect, Dialect::OpenAi | Dialect::Azure) {
                body["stream_options"] = json!({"include_usage": true});
            }
            let read = stream(dialect, &model, &body).await;
            assert!(read.whole);
            let folded = fold(dialect, &read.events());
            assert_eq!(comparable(dialect, folded), comparable(dialect, plain), "{dialect:?} {model}");
        }
    }
}

#[tokio::test]
async fn calls_several_tools_with_valid_inputs() {
    for dialect in ALL {
        let answer = plain(dialect, "sim-tools3-talk", &with_tools(dialect)).await;
        let weather = ("weather".to_owned(), json!({"city": "How are you?", "days": 1}));
        let expected = [weather.clone(), ("clock".to_owned(), json!({})), weather];
        assert_eq!(calls(dialect, &answer), expected, "{dialect:?}");
        assert_eq!(text(dialect, &answer), "I will look it up.");
        assert_eq!(calls(dialect, &plain(dialect, "sim", &with_tools(dialect)).await), []);
    }
}

#[tokio::test]
async fn respects_the_tool_choice() {
    let forced = [
        (Dialect::OpenAi, "/tool_choice", json!({"type": "function", "function": {"name": "clock"}})),
        (Dialect::Claude, "/tool_choice", json!({"type": "tool", "name": "clock"})),
        (
            Dialect::Gemini,
            "/toolConfig",
            json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["clock"]}}),
        ),
    ];
    for (dialect, pointer, value) in forced {
        let mut body = with_tools(dialect);
        set(&mut body, pointer, value);
        assert_eq!(calls(dialect, &plain(dialect, "sim", &body).await), [("clock".to_owned(), json!({}))]);
    }
    let none = [
        (Dialect::OpenAi, "/tool_choice", json!("none")),
        (Dialect::Claude, "/tool_choice", json!({"type": "none"})),
        (Dialect::Gemini, "/toolConfig", json!({"functionCallingConfig": {"mode": "NONE"}})),
    ];
    for (dialect, pointer, value) in none {
        let mut body = with_tools(dialect);
        set(&mut body, pointer, value);
        assert_eq!(calls(dialect, &plain(dialect, "sim-tools", &body).await), []);
    }
    let single = [
        (Dialect::OpenAi, "/parallel_tool_calls", json!(false)),
        (Dialect::Claude, "/tool_choice", json!({"type": "any", "disable_parallel_tool_use": true})),
    ];
    for (dialect, pointer, value) in single {
        let mut body = with_tools(dialect);
        set(&mut body, pointer, value);
        assert_eq!(calls(dialect, &plain(dialect, "sim-tools2", &body).await).len(), 1);
    }
}

/// Adds the first response and the tool result to the request.
fn with_result(dialect: Dialect, mut body: Value, answer: &Value) -> Value {
    let (turns, assistant, result) = match dialect {
        Dialect::Claude => {
            let id = &answer["content"].as_array().unwrap().last().unwrap()["id"];
            let result = json!([{"type": "tool_result", "tool_use_id": id, "content": "Sunny."}]);
            let assistant = json!({"role": "assistant", "content": answer["content"]});
            ("messages", assistant, json!({"role": "user", "content": result}))
        }
        Dialect::Gemini => {
            let response = json!({"functionResponse": {"name": "weather", "response": {"output": "Sunny."}}});
            ("contents", answer["candidates"][0]["content"].clone(), json!({"role": "user", "parts": [response]}))
        }
        _ => {
            let message = answer["choices"][0]["message"].clone();
            let id = message["tool_calls"][0]["id"].clone();
            ("messages", message, json!({"role": "tool", "tool_call_id": id, "content": "Sunny."}))
        }
    };
    body[turns].as_array_mut().unwrap().extend([assistant, result]);
    body
}

#[tokio::test]
async fn quotes_the_tool_result() {
    for dialect in ALL {
        for model in ["sim-tools", "sim-tools-think-talk"] {
            let body = with_tools(dialect);
            let first = plain(dialect, model, &body).await;
            let second = plain(dialect, model, &with_result(dialect, body, &first)).await;
            assert_eq!(calls(dialect, &second), []);
            let text = text(dialect, &second);
            assert!(text.starts_with("You said: “How are you?”. The tool said: “Sunny.”."), "{dialect:?}: {text}");
        }
    }
}

#[tokio::test]
async fn describes_images_and_files() {
    let url = format!("data:image/png;base64,{PNG}");
    let bodies = [
        (
            Dialect::OpenAi,
            json!({"messages": [{"role": "user", "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
            ]}]}),
        ),
        (
            Dialect::Claude,
            json!({"max_tokens": 50, "messages": [{"role": "user", "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            ]}]}),
        ),
        (
            Dialect::Gemini,
            json!({"contents": [{"parts": [
                {"text": "What is it?"},
                {"inlineData": {"mimeType": "image/png", "data": PNG}},
                {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a.png"}},
            ]}]}),
        ),
    ];
    for (dialect, body) in bodies {
        let text = text(dialect, &plain(dialect, "sim", &body).await);
        let seen =
            format!("“What is it?”. I see image/png of {PNG_BYTES} bytes. I see what is at https://example.com/a.png.");
        assert!(text.contains(&seen), "{dialect:?}: {text}");
    }
    let pdf = json!({"max_tokens": 50, "messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}, "title": "A"},
        {"type": "text", "text": "Read it.", "cache_control": {"type": "ephemeral"}},
    ]}]});
    let text = text(Dialect::Claude, &plain(Dialect::Claude, "sim", &pdf).await);
    assert!(text.contains("I see application/pdf of 5 bytes."), "{text}");
}

#[tokio::test]
async fn json_mode_returns_valid_json() {
    let schema = json!({"type": "object", "properties": {"sum": {"type": "integer"}, "why": {"type": "string"}}, "required": ["sum", "why"], "additionalProperties": false});
    let fits = json!({"sum": 1, "why": "How are you?"});
    let modes = [
        (
            Dialect::OpenAi,
            "/response_format",
            json!({"type": "json_schema", "json_schema": {"name": "sum", "schema": schema, "strict": true}}),
        ),
        (Dialect::Claude, "/output_config", json!({"format": {"type": "json_schema", "schema": schema}})),
        (
            Dialect::Gemini,
            "/generationConfig",
            json!({"responseMimeType": "application/json", "responseJsonSchema": schema}),
        ),
    ];
    for (dialect, pointer, value) in modes {
        let mut body = question(dialect);
        set(&mut body, pointer, value);
        let whole = plain(dialect, "sim", &body).await;
        assert_eq!(serde_json::from_str::<Value>(&text(dialect, &whole)).unwrap(), fits, "{dialect:?}");
        let folded = fold(dialect, &stream(dialect, "sim", &body).await.events());
        assert_eq!(text(dialect, &folded), text(dialect, &whole));
    }
    let body =
        json!({"messages": [{"role": "user", "content": "As JSON."}], "response_format": {"type": "json_object"}});
    let answer = text(Dialect::OpenAi, &plain(Dialect::OpenAi, "sim", &body).await);
    assert_eq!(answer, r#"{"answer":"As JSON."}"#);
}

#[tokio::test]
async fn every_finish_reason_has_its_name() {
    // The finish reasons by dialect: normal end, limit, stop sequence, call, refusal, filter.
    let names = |dialect| match dialect {
        Dialect::Claude => ["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "refusal"],
        Dialect::Gemini => ["STOP", "MAX_TOKENS", "STOP", "STOP", "SAFETY", "SAFETY"],
        _ => ["stop", "length", "stop", "tool_calls", "stop", "content_filter"],
    };
    for dialect in ALL {
        let (limit, stops) = match dialect {
            Dialect::Claude => ("/max_tokens", "/stop_sequences"),
            Dialect::Gemini => ("/generationConfig/maxOutputTokens", "/generationConfig/stopSequences"),
            _ => ("/max_completion_tokens", "/stop"),
        };
        let with = |pointer: &str, value: Value| {
            let mut body = question(dialect);
            if dialect == Dialect::Gemini {
                body["generationConfig"] = json!({});
            }
            set(&mut body, pointer, value);
            body
        };
        let [end, length, sequence, call, declined, filtered] = names(dialect);
        let asked = [
            ("sim", question(dialect), end),
            ("sim", with(limit, json!(2)), length),
            ("sim", with(stops, json!(["answer"])), sequence),
            ("sim-tools", with_tools(dialect), call),
            ("sim-refuse", question(dialect), declined),
            ("sim-filter", question(dialect), filtered),
        ];
        for (model, body, expected) in asked {
            let answer = plain(dialect, model, &body).await;
            assert_eq!(finish(dialect, &answer), expected, "{dialect:?} {model} {answer}");
        }
        let answer = plain(dialect, "sim", &with(stops, json!(["answer"]))).await;
        assert_eq!(text(dialect, &answer), "You said: “How are you?”. This ", "{dialect:?}");
        let answer = plain(dialect, "sim", &with(limit, json!(2))).await;
        assert_eq!(text(dialect, &answer), "You said: “How are you?”. This");
    }
    let declined = plain(Dialect::OpenAi, "sim-refuse", &question(Dialect::OpenAi)).await;
    let message = &declined["choices"][0]["message"];
    assert!(message["content"].is_null() && message["refusal"].is_string());
    let answer = plain(Dialect::Gemini, "sim-refuse", &question(Dialect::Gemini)).await;
    assert!(answer["candidates"][0].get("content").is_none());
}

#[tokio::test]
async fn usage_follows_the_dialect() {
    let usage = async |dialect, model| {
        let answer = plain(dialect, model, &question(dialect)).await;
        answer.get("usage").or_else(|| answer.get("usageMetadata")).unwrap().clone()
    };
    let model = "sim-think-cached3";
    let openai = usage(Dialect::OpenAi, model).await;
    assert_eq!(openai["prompt_tokens_details"]["cached_tokens"], 3);
    assert_eq!(openai["completion_tokens_details"]["reasoning_tokens"], 3);
    let prompt = openai["prompt_tokens"].as_u64().unwrap();
    assert_eq!(openai["completion_tokens"], 12 + 3);
    let claude = usage(Dialect::Claude, model).await;
    assert_eq!(claude["input_tokens"].as_u64().unwrap() + 3, prompt);
    assert_eq!((&claude["cache_read_input_tokens"], &claude["output_tokens"]), (&json!(3), &json!(12 + 3)));
    let gemini = usage(Dialect::Gemini, model).await;
    assert_eq!(gemini["promptTokenCount"], prompt);
    assert_eq!((&gemini["cachedContentTokenCount"], &gemini["thoughtsTokenCount"]), (&json!(3), &json!(3)));
    assert_eq!((&gemini["candidatesTokenCount"], &gemini["totalTokenCount"]), (&json!(12), &json!(prompt + 15)));
    assert!(usage(Dialect::Gemini, "sim").await.get("thoughtsTokenCount").is_none());
}

#[tokio::test]
async fn continues_a_prefix() {
    for dialect in ALL {
        let whole = text(dialect, &plain(dialect, "sim", &question(dialect)).await);
        let (given, rest) = whole.split_at(whole.find(" answer").unwrap());
        let mut body = question(dialect);
        match dialect {
            Dialect::Gemini => set(&mut body, "/contents/-", json!({"role": "model", "parts": [{"text": given}]})),
            _ => set(&mut body, "/messages/-", json!({"role": "assistant", "content": given})),
        }
        assert_eq!(text(dialect, &plain(dialect, "sim", &body).await), rest, "{dialect:?}");
    }
}
