//! Bodies pass unchanged in both directions, except for the model name.

use berry_simulated::Config;
use berry_tests::{Ask, Gateway, soon};
use serde_json::Value;

/// Starts a gateway over a provider that does not validate requests against a schema.
async fn lax() -> Gateway {
    let provider = Config { tokens: Some(4), lax: true, ..Config::named("a") };
    Gateway::builder().provider_as(provider).start().await
}

/// Asserts that the provider receives `body` unchanged except for the model name. `body` contains the
/// model name `"pool"` once.
async fn assert_forwarded_unchanged(body: &[u8]) {
    let gateway = lax().await;
    let reply = gateway.ask(&Ask::post("/v1/chat/completions", body)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen = &gateway.providers[0].calls()[0];
    let expected = String::from_utf8_lossy(body).replacen("\"pool\"", "\"sim\"", 1);
    assert_eq!(String::from_utf8_lossy(&seen.body), expected);
    assert_eq!(seen.header("content-length"), expected.len().to_string());
}

#[tokio::test]
async fn keeps_order_and_white_space_of_a_body() {
    let messages = r#""messages":[{"role":"user","content":"hi"}]"#;
    for body in [
        format!(r#"{{"model":"pool",{messages}}}"#),
        format!("\r\n\t {{ {messages} ,\n\"unknown\" : {{\"b\":1,\"a\":[ ]}}, \"model\"\t:\r\n\"pool\"  }} \n"),
        format!(r#"{{{messages},"temperature":1.0,"top_p":1e0,"seed":12345678901234567890,"x":-0.0,"model":"pool"}}"#),
        format!(r#"{{"user":"\u0041é\ud83d\ude00😀\/\"\\","metadata":{{"model":"inner"}},"model":"pool",{messages}}}"#),
        format!(r#"{{"model":"pool",{messages},"mode":"other","a":{{"dup":1,"dup":2}},"stream":false}}"#),
        format!(r#"{{"model":"pool",{messages},"stream":null,"nested":[[[[[[]]]]]],"none":null}}"#),
    ] {
        soon(assert_forwarded_unchanged(body.as_bytes())).await;
    }
}

#[tokio::test]
async fn replaces_an_escaped_model_name() {
    let gateway = lax().await;
    let body = r#"{"mod\u0065l" : "p\u006fol", "messages": [{"role":"user","content":"hi"}]}"#;
    let reply = gateway.ask(&Ask::post("/v1/chat/completions", body)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen = &gateway.providers[0].calls()[0];
    assert_eq!(seen.body, body.replace("p\\u006fol", "sim").as_bytes());
}

#[tokio::test]
async fn plain_response_passes_byte_for_byte() {
    let gateway = lax().await;
    for path in ["chat/completions", "completions", "embeddings", "responses", "moderations", "images/generations"] {
        let body = |model: &str| {
            format!(r#"{{"model":"{model}","input":"hi","prompt":"hi","messages":[{{"role":"user","content":"hi"}}]}}"#)
        };
        let ask = Ask::post(&format!("/v1/{path}"), body("pool"));
        let reply = gateway.ask(&ask).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let direct = ask_provider(&gateway, path, &body("sim")).await;
        assert_eq!(reply.text(), direct, "{path}");
        assert_eq!(gateway.providers[0].calls()[0].path, format!("/v1/{path}"));
        gateway.providers[0].clear();
    }
}

#[tokio::test]
async fn stream_passes_byte_for_byte() {
    let gateway = lax().await;
    let body = |model: &str| {
        format!(
            r#"{{"model":"{model}","stream":true,"stream_options":{{"include_usage":true}},"messages":[{{"role":"user","content":"hi"}}]}}"#
        )
    };
    let reply = gateway.ask(&Ask::post("/v1/chat/completions", body("pool"))).await;
    assert_eq!(reply.text(), ask_provider(&gateway, "chat/completions", &body("sim")).await);
    assert!(reply.header("content-type").starts_with("text/event-stream"));
    assert_eq!(reply.header("cache-control"), "no-cache");
    assert_eq!(reply.header("x-accel-buffering"), "no");
    assert!(reply.is_good_chat());
}

async fn ask_provider(gateway: &Gateway, path: &str, body: &str) -> String {
    let provider = &gateway.providers[0];
    let ask = Ask::post(&format!("/v1/{path}"), body).token(provider.key());
    let mut connection = berry_tests::Connection::open(provider.addr()).await.unwrap();
    soon(connection.ask(&ask)).await.unwrap().text().to_owned()
}

#[tokio::test]
async fn usage_is_requested_and_hidden_from_other_clients() {
    let gateway = lax().await;
    let reply = gateway.stream().await;
    assert!(reply.is_good_chat());
    assert_eq!(gateway.providers[0].calls()[0].json()["stream_options"]["include_usage"], true);
    let is_extra = |event: &Value| event["choices"].as_array().is_some_and(Vec::is_empty);
    assert!(!reply.events().iter().any(is_extra), "{}", reply.text());

    let body = r#"{"model":"pool","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    let reply = gateway.ask(&Ask::post("/v1/chat/completions", body)).await;
    let extra = reply.events().into_iter().find(is_extra).expect("the requested usage event");
    assert!(extra["usage"]["total_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{extra}");
}

#[tokio::test]
async fn keeps_existing_stream_options() {
    for (given, sent) in [
        (r#"{"include_usage" : false , "x":1}"#, r#"{"include_usage":true,"x":1}"#),
        ("{}", r#"{"include_usage":true}"#),
        (r#"{"include_obfuscation":false}"#, r#"{"include_usage":true,"include_obfuscation":false}"#),
        ("null", r#"{"include_usage":true}"#),
    ] {
        let gateway = lax().await;
        let body = format!(r#"{{"stream":true,"stream_options":{given},"model":"pool","messages":[]}}"#);
        let reply = gateway.ask(&Ask::post("/v1/chat/completions", body)).await;
        assert!(reply.is_good_chat(), "{given}: {reply:?}");
        let options = gateway.providers[0].calls()[0].json()["stream_options"].clone();
        assert_eq!(options, serde_json::from_str::<Value>(sent).unwrap(), "{given}");
    }
}

#[tokio::test]
async fn retries_without_rejected_stream_options() {
    use berry_simulated::Fault;
    let gateway = lax().await;
    gateway.providers[0].set(Fault::RefuseStreamOptions);
    for _ in 0..3 {
        let reply = gateway.stream().await;
        assert!(reply.is_good_chat(), "{reply:?}");
        assert_eq!(reply.header("x-berry-attempts"), "1");
    }
    assert_eq!(gateway.calls(0), 4, "the provider's rejection is remembered");
}
