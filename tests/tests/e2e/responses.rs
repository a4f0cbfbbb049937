//! Answers of `/v1/responses` over every backend type: their last item, their end, the model's name, and what is dropped.

use berry_simulated::{Behavior, Config, Dialect, Fault};
use berry_tests::{Ask, Builder, Gateway, Reply};
use serde_json::{Value, json};

/// The backend types, OpenAI's with Responses and without.
fn backends() -> [Config; 4] {
    let chat = Config { behavior: Behavior::from(Fault::ChatOnly), ..Config::named("chat") };
    let of = |name: &str, dialect: Dialect| Config { dialect, ..Config::named(name) };
    [chat, of("responses", Dialect::OpenAi), of("claude", Dialect::Claude), of("gemini", Dialect::Gemini)]
}

fn with(builder: Builder, config: Config) -> Builder {
    let kind = config.dialect.backend_type();
    builder.provider_as(Config { tokens: Some(4), ..config }).with(&format!("backend_type = \"{kind}\""))
}

async fn ask(gateway: &Gateway, stream: bool, members: Value) -> Reply {
    let mut body = json!({ "model": "pool", "input": "Hi", "stream": stream });
    let Value::Object(members) = members else { panic!("no members") };
    body.as_object_mut().expect("an object").extend(members);
    let reply = gateway.ask(&Ask::post("/v1/responses", body.to_string())).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply
}

/// The response of a plain reply, or the last one of a stream.
fn response(reply: &Reply, stream: bool) -> Value {
    if !stream {
        return reply.json();
    }
    let mut events = reply.events();
    events.retain(|event| event.get("response").is_some());
    events.pop().expect("a stream has events")["response"].take()
}

/// Many callers take the last item for the message, as OpenAI's answers have it.
#[tokio::test]
async fn the_message_is_the_last_item() {
    for config in backends() {
        let (name, gateway) = (config.name.clone(), with(Gateway::builder(), config).start().await);
        for stream in [false, true] {
            let reasoning = json!({ "reasoning": { "effort": "low", "summary": "auto" } });
            let answer = response(&ask(&gateway, stream, reasoning).await, stream);
            let items = answer["output"].as_array().expect("an output");
            assert_eq!(items.last().expect("an item")["type"], "message", "{name}, stream: {stream}: {items:?}");
        }
    }
}

/// Gemini wants the signature of a text back, and those callers get it who send back what is encrypted.
#[tokio::test]
async fn a_signature_of_a_text_follows_it_where_encrypted_reasoning_is_included() {
    let [.., gemini] = backends();
    let gateway = with(Gateway::builder(), gemini).start().await;
    for stream in [false, true] {
        let members = json!({ "reasoning": { "effort": "low" }, "include": ["reasoning.encrypted_content"] });
        let answer = response(&ask(&gateway, stream, members).await, stream);
        let items = answer["output"].as_array().expect("an output");
        let [.., message, signature] = &items[..] else { panic!("{items:?}") };
        assert_eq!((&message["type"], &signature["type"]), (&"message".into(), &"reasoning".into()), "{items:?}");
        assert!(signature["encrypted_content"].is_string() && signature["summary"] == json!([]), "{signature}");
    }
}

#[tokio::test]
async fn the_end_mark_is_left_out_where_the_configuration_says_so() {
    for is_wanted in [true, false] {
        for config in backends() {
            let tables = format!("[responses]\ndone_event = {is_wanted}");
            let gateway = with(Gateway::builder(), config).tables(&tables).start().await;
            let reply = ask(&gateway, true, json!({})).await;
            let events: Vec<_> = reply.data().into_iter().filter(|data| *data != "[DONE]").collect();
            assert_eq!(reply.data().len() - events.len(), usize::from(is_wanted), "{reply:?}");
            assert!(reply.whole && events.last().is_some_and(|event| event.contains("response.completed")));
        }
    }
}

#[tokio::test]
async fn every_event_names_the_public_model_where_it_is_wanted() {
    for config in backends() {
        let gateway = with(Gateway::builder(), config).pool("answer_model = \"public\"").start().await;
        assert_eq!(ask(&gateway, false, json!({})).await.json()["model"], "pool");
        let events = ask(&gateway, true, json!({})).await.events();
        let names: Vec<_> = events.iter().filter_map(|event| event.pointer("/response/model")).collect();
        assert!(names.len() >= 3 && names.iter().all(|name| *name == "pool"), "{names:?}");
    }
}

#[tokio::test]
async fn a_tool_of_openais_is_dropped_or_refused_as_the_model_says() {
    let tools = json!([{ "type": "web_search" }]);
    let body = json!({ "model": "pool", "input": "Hi", "tools": tools }).to_string();
    let [.., claude, gemini] = backends();
    for config in [claude.clone(), gemini] {
        let drops = with(Gateway::builder(), config.clone()).start().await;
        let reply = drops.ask(&Ask::post("/v1/responses", body.clone())).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-berry-dropped")), (200, "tools[web_search]"));
        let refuses = with(Gateway::builder(), config).pool("on_unsupported = \"refuse\"").start().await;
        let reply = refuses.ask(&Ask::post("/v1/responses", body.clone())).await;
        let error = reply.error();
        assert_eq!((reply.status.as_u16(), &error["param"]), (400, &"tools[web_search]".into()));
        assert!(error["message"].as_str().is_some_and(|text| text.contains("Extra inputs are not permitted")));
    }
    // A backend that has the tool is preferred.
    let [_, responses, ..] = backends();
    let both = with(with(Gateway::builder().strategy("round_robin"), claude), responses).start().await;
    for _ in 0..4 {
        let reply = both.ask(&Ask::post("/v1/responses", body.clone())).await;
        assert_eq!((reply.header("x-berry-backend"), reply.header("x-berry-dropped")), ("responses:sim", ""));
    }
}
