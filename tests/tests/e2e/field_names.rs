//! Refusals of translated requests name the field as the caller knows it, and documents reach every format that has them.

use berry_simulated::{Behavior, Config, Dialect, Fault};
use berry_tests::{Ask, Gateway, Reply};
use serde_json::{Value, json};

/// The backends by format: OpenAI's two, Claude and Gemini.
async fn gateways() -> [(&'static str, Gateway); 4] {
    let chat = Config { behavior: Behavior::from(Fault::ChatOnly), ..Config::named("chat") };
    let responses = Gateway::builder().provider("responses").backend("openai_api = \"responses\"");
    let of = |name: &'static str, dialect: Dialect| {
        let builder = Gateway::builder().provider_as(Config { dialect, ..Config::named(name) });
        builder.with(&format!("backend_type = \"{}\"", dialect.backend_type()))
    };
    [
        ("chat", Gateway::builder().provider_as(chat).start().await),
        ("responses", responses.start().await),
        ("claude", of("claude", Dialect::Claude).start().await),
        ("gemini", of("gemini", Dialect::Gemini).start().await),
    ]
}

fn request(front: &str, members: Value) -> Ask {
    let mut body = match front {
        "/v1/messages" => json!({ "max_tokens": 100, "messages": [{ "role": "user", "content": "Hi" }] }),
        _ => json!({ "input": "Hi" }),
    };
    body["model"] = "pool".into();
    let Value::Object(members) = members else { panic!("no members") };
    body.as_object_mut().unwrap().extend(members);
    Ask::post(front, body.to_string())
}

async fn responses(gateway: &Gateway, members: Value) -> Reply {
    gateway.ask(&request("/v1/responses", members)).await
}

async fn messages(gateway: &Gateway, members: Value) -> Reply {
    gateway.ask(&request("/v1/messages", members)).await
}

#[tokio::test]
async fn a_refusal_names_the_callers_field() {
    let tools = json!([{ "type": "function", "name": "f", "parameters": { "type": "object" } }]);
    let unknown = json!({ "type": "function", "name": "g" });
    for (name, gateway) in gateways().await {
        for (members, param) in [
            (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
            (json!({ "reasoning": { "effort": "huge" } }), "reasoning.effort"),
            (json!({ "tools": tools, "tool_choice": unknown }), "tool_choice"),
            (json!({ "input": 5 }), "input"),
        ] {
            let reply = responses(&gateway, members.clone()).await;
            let error = reply.error();
            assert_eq!(reply.status, 400, "{name}, {members}: {reply:?}");
            let found = error["param"].as_str().unwrap_or_default();
            // Gemini names fields only in its words.
            let is_named = found.split(".name").next() == Some(param) || name == "gemini" && found.is_empty();
            assert!(is_named, "{name}, {members}: {error}");
        }
        if name == "chat" {
            let message = message_of(&messages(&gateway, json!({ "max_tokens": 0 })).await);
            assert!(message.starts_with("max_tokens: "), "{name}: {message}");
        }
    }
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_described_in_plain_words() {
    let [(_, chat), ..] = gateways().await;
    for (members, expected) in [
        (json!({ "input": 5 }), "input: it is a text or a list of items"),
        (json!({ "reasoning": { "effort": 3 } }), "reasoning.effort: invalid type: integer `3`, expected a string"),
    ] {
        assert_eq!(responses(&chat, members).await.error()["message"], expected);
    }
    let content = json!({ "messages": [{ "role": "user", "content": 5 }] });
    let message = message_of(&messages(&chat, content).await);
    assert_eq!(message, "messages[0].content: it is a text or a list of blocks");
}

fn message_of(reply: &Reply) -> String {
    text(reply, "/error/message")
}

fn text(reply: &Reply, pointer: &str) -> String {
    reply.json().pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The first request to a backend whose format is not known yet.
#[tokio::test]
async fn a_refused_address_is_no_answer_to_a_request_that_chat_completions_cannot_express() {
    for (member, code) in [("previous_response_id", "previous_response_not_found"), ("prompt", "unsupported_parameter")]
    {
        let [(_, chat), ..] = gateways().await;
        let reply = responses(&chat, json!({ member: "an id" })).await;
        let error = reply.error();
        assert_eq!((reply.status.as_u16(), &error["code"], &error["param"]), (400, &code.into(), &member.into()));
    }
}

#[tokio::test]
async fn a_text_file_reaches_every_backend() {
    let file = json!({ "type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8=" });
    for (name, gateway) in gateways().await {
        let reply = responses(&gateway, json!({ "input": [{ "role": "user", "content": [file] }] })).await;
        let said = text(&reply, "/output/0/content/0/text");
        assert!(said.contains("text/plain of 5 bytes"), "{name}: {reply:?}");
    }
    let zip = json!({ "type": "input_file", "filename": "a.zip", "file_data": "data:application/zip;base64,aGVsbG8=" });
    let (_, claude) = &gateways().await[2];
    let reply = responses(claude, json!({ "input": [{ "role": "user", "content": [zip] }] })).await;
    assert_eq!((reply.status.as_u16(), &reply.error()["param"]), (400, &"input[0].content[0].file_data".into()));
}

#[tokio::test]
async fn a_document_at_an_address_reaches_every_format_that_has_such() {
    let source = json!({ "type": "url", "url": "https://example.com/a.pdf" });
    let document = json!([{ "role": "user", "content": [{ "type": "document", "source": source }] }]);
    for (name, gateway) in gateways().await {
        let reply = messages(&gateway, json!({ "messages": document })).await;
        if name == "chat" {
            let message = message_of(&reply);
            assert!(message.starts_with("messages[0].content[0].source: "), "{message}");
        } else {
            assert!(text(&reply, "/content/0/text").contains("https://example.com/a.pdf"), "{name}: {reply:?}");
        }
    }
}
