//! Reasoning in conversations of several turns with tools: what Claude and Gemini have signed comes back to them
//! through every front, and no backend refuses what another one has said.

use std::collections::BTreeMap;

use berry_simulated::{Behavior, Config, Dialect, Fault, Provider};
use berry_tests::{Ask, Builder, Gateway, Reply};
use serde_json::{Value, json};

/// A way to hold the conversation: the caller's format, plain or streamed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Front {
    Chat,
    Messages,
    Responses,
}

/// A backend: its name, its format, and what it refuses.
type Kind = (&'static str, Dialect, Option<Fault>);

const PLACEHOLDER: &str = "skip_thought_signature_validator";

fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
}

impl Front {
    const ALL: [Self; 3] = [Self::Chat, Self::Messages, Self::Responses];

    fn request(self, history: &[Value], stream: bool) -> Ask {
        let (path, mut body) = match self {
            Self::Chat => (
                "/v1/chat/completions",
                json!({
                    "messages": history, "reasoning_effort": "low",
                    "tools": [{"type": "function", "function": {"name": "weather", "parameters": schema()}}],
                }),
            ),
            Self::Messages => (
                "/v1/messages",
                json!({
                    "messages": history, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 1024},
                    "tools": [{"name": "weather", "input_schema": schema()}],
                }),
            ),
            Self::Responses => (
                "/v1/responses",
                json!({
                    "input": history, "store": false, "reasoning": {"effort": "low", "summary": "auto"},
                    "include": ["reasoning.encrypted_content"],
                    "tools": [{"type": "function", "name": "weather", "parameters": schema(), "strict": false}],
                }),
            ),
        };
        body["model"] = "pool".into();
        body["stream"] = stream.into();
        Ask::post(path, body.to_string())
    }

    /// Returns what a client adds to the history for an answer, and the id of the call in it.
    fn said(self, reply: &Reply, stream: bool) -> (Vec<Value>, Option<String>) {
        match self {
            Self::Chat => {
                let message = if stream { joined_chunks(&reply.events()) } else { message(reply) };
                let id = message["tool_calls"][0]["id"].as_str().map(str::to_owned);
                (vec![message], id)
            }
            Self::Messages => {
                let content = if stream { joined_blocks(&reply.events()) } else { reply.json()["content"].clone() };
                let call = content.as_array().and_then(|all| all.iter().find(|it| it["type"] == "tool_use"));
                let id = call.and_then(|call| call["id"].as_str()).map(str::to_owned);
                (vec![json!({"role": "assistant", "content": content})], id)
            }
            Self::Responses => {
                let last = || reply.events().last().expect("a stream has events")["response"].clone();
                let response = if stream { last() } else { reply.json() };
                let output = response["output"].as_array().cloned().unwrap_or_default();
                let id = output.iter().find_map(|item| item["call_id"].as_str()).map(str::to_owned);
                (output, id)
            }
        }
    }

    fn result(self, id: &str) -> Value {
        match self {
            Self::Chat => json!({"role": "tool", "tool_call_id": id, "content": "Sunny."}),
            Self::Messages => {
                json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "Sunny."}]})
            }
            Self::Responses => json!({"type": "function_call_output", "call_id": id, "output": "Sunny."}),
        }
    }
}

fn message(reply: &Reply) -> Value {
    reply.json()["choices"][0]["message"].clone()
}

fn append(to: &mut Value, more: &Value) {
    if let Some(more) = more.as_str() {
        *to = format!("{}{more}", to.as_str().unwrap_or_default()).into();
    }
}

/// Joins the chunks of a chat as clients do.
fn joined_chunks(events: &[Value]) -> Value {
    let mut message = json!({"role": "assistant", "content": null});
    for delta in events.iter().filter_map(|event| event["choices"][0].get("delta")) {
        for name in ["content", "reasoning_content"].into_iter().filter(|name| delta[*name].is_string()) {
            append(&mut message[name], &delta[name]);
        }
        if let Some(extra) = delta.get("extra_content") {
            message["extra_content"] = extra.clone();
        }
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(piece["index"].as_u64().unwrap_or_default()).unwrap();
            let calls = message.as_object_mut().unwrap().entry("tool_calls").or_insert(json!([]));
            match calls.as_array_mut().unwrap() {
                calls if calls.len() == index => calls.push(piece.clone()),
                calls => append(&mut calls[index]["function"]["arguments"], &piece["function"]["arguments"]),
            }
        }
    }
    for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
        call.as_object_mut().unwrap().remove("index");
    }
    message
}

/// Joins the events of Messages as clients do.
fn joined_blocks(events: &[Value]) -> Value {
    let mut blocks: Vec<Value> = Vec::new();
    for event in events {
        match event["type"].as_str() {
            Some("content_block_start") => blocks.push(event["content_block"].clone()),
            Some("content_block_delta") => {
                let (block, delta) = (blocks.last_mut().unwrap(), &event["delta"]);
                for (from, to) in
                    [("text", "text"), ("thinking", "thinking"), ("signature", "signature"), ("partial_json", "json")]
                {
                    if delta.get(from).is_some() {
                        append(&mut block[to], &delta[from]);
                    }
                }
            }
            _ => {}
        }
    }
    for block in &mut blocks {
        if let Some(input) = block.as_object_mut().unwrap().remove("json") {
            block["input"] = serde_json::from_str(input.as_str().unwrap()).unwrap();
        }
    }
    blocks.into()
}

/// A provider whose model thinks and calls its tool before it answers.
fn thinking(name: &str, dialect: Dialect, fault: Option<Fault>) -> Config {
    let behavior = fault.map_or_else(Behavior::healthy, Behavior::from).reasoning().tools(1);
    Config { dialect, behavior, tokens: Some(4), ..Config::named(name) }
}

fn with_backends(kinds: &[Kind]) -> Builder {
    kinds.iter().fold(Gateway::builder().strategy("round_robin"), |builder, (name, dialect, fault)| {
        let builder = builder.provider_as(thinking(name, *dialect, fault.clone()));
        builder.with(&format!("backend_type = \"{}\"", dialect.backend_type()))
    })
}

/// Returns the signatures of its own that a provider found in the last request, if it was asked.
fn signatures(provider: &Provider) -> Vec<String> {
    let Some(call) = provider.calls().into_iter().next_back() else { return Vec::new() };
    let mut found = Vec::new();
    collect(&call.json(), &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str().filter(|_| matches!(name.as_str(), "signature" | "thoughtSignature")) {
                    Some(signature) if signature != PLACEHOLDER => found.push(signature.to_owned()),
                    _ => collect(value, found),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// Holds five turns with a tool each, and checks that no backend refused anything but what teaches its format, and that
/// a signing backend got all that it had signed before, and nothing else.
async fn holds_five_turns(gateway: &Gateway, kinds: &[Kind], front: Front, stream: bool) {
    // A signature of a chat does not say which backend made it. One that refuses it is asked again without any.
    let dialects = kinds.iter().map(|kind| kind.1);
    let is_bound = front != Front::Chat || dialects.filter(|dialect| *dialect == Dialect::Gemini).count() < 2;
    let what = format!("{front:?}, stream: {stream}");
    let mut history = Vec::new();
    let mut answered: BTreeMap<String, usize> = BTreeMap::new();
    for turn in 0..5 {
        history.push(json!({"role": "user", "content": format!("Turn {turn}: how is it in Rome?")}));
        for expects_call in [true, false] {
            let reply = gateway.ask(&front.request(&history, stream)).await;
            assert_eq!(reply.status, 200, "{what}, turn {turn}: {reply:?}");
            let name = reply.header("x-berry-backend").split(':').next().unwrap_or_default().to_owned();
            let at = kinds.iter().position(|kind| kind.0 == name).expect("a backend of the table");
            let before = answered.get(&name).copied().unwrap_or_default();
            if is_bound && matches!(kinds[at].1, Dialect::Claude | Dialect::Gemini) {
                let found = signatures(&gateway.providers[at]);
                assert_eq!(found.len(), before, "{what}, turn {turn}, {name}: {found:?}");
            }
            let (said, call) = front.said(&reply, stream);
            assert_eq!(call.is_some(), expects_call, "{what}, turn {turn}: {said:?}");
            // Gemini's signature of a text has no place in Messages, and is not required.
            let is_kept = expects_call || kinds[at].1 != Dialect::Gemini || front != Front::Messages;
            *answered.entry(name).or_default() += usize::from(is_kept);
            history.extend(said);
            history.extend(call.map(|id| front.result(&id)));
        }
    }
    assert_eq!(answered.len(), kinds.len(), "{what}: {answered:?}");
    for provider in gateway.providers.iter().filter(|_| is_bound) {
        let refused = |status: u16| (400..500).contains(&status);
        let calls = provider.calls();
        let refused = calls.iter().filter(|call| call.ended.and_then(|it| it.status).is_some_and(refused));
        let refused: Vec<_> = refused.map(|call| (&call.path, call.ended)).collect();
        assert!(refused.len() <= 1, "{what}: {refused:?}");
        let lesson = ["/v1/responses", "/v1/chat/completions"];
        assert!(refused.iter().all(|(path, _)| lesson.contains(&path.as_str())), "{what}: {refused:?}");
    }
}

async fn at_every_front(kinds: &[Kind]) {
    for front in Front::ALL {
        for stream in [false, true] {
            let gateway = with_backends(kinds).start().await;
            holds_five_turns(&gateway, kinds, front, stream).await;
        }
    }
}

#[tokio::test]
async fn signatures_survive_a_pool_of_every_format() {
    at_every_front(&[
        ("claude", Dialect::Claude, None),
        ("chat", Dialect::OpenAi, Some(Fault::ChatOnly)),
        ("gemini", Dialect::Gemini, None),
        ("responses", Dialect::OpenAi, Some(Fault::ToolsNeedResponses)),
    ])
    .await;
}

#[tokio::test]
async fn signatures_of_one_account_are_not_sent_to_another() {
    at_every_front(&[
        ("gemini", Dialect::Gemini, None),
        ("claude", Dialect::Claude, None),
        ("other-gemini", Dialect::Gemini, None),
    ])
    .await;
}

/// A client that changes its history, as one does that shortens it, or a second account of the same vendor: what was signed
/// is refused, and the request is sent again without it.
#[tokio::test]
async fn a_refused_signature_costs_the_caller_nothing() {
    for (dialect, front) in
        [Dialect::Claude, Dialect::Gemini].into_iter().flat_map(|it| Front::ALL.map(|front| (it, front)))
    {
        let gateway = with_backends(&[("only", dialect, None)]).start().await;
        let mut history = vec![json!({"role": "user", "content": "How is it in Rome?"})];
        let (said, call) = front.said(&gateway.ask(&front.request(&history, false)).await, false);
        history.extend(said);
        history.push(front.result(&call.expect("a call")));
        // Another account of the vendor.
        let other = Config { key: "sk-simulated-other".to_owned(), ..thinking("only", dialect, None) };
        history[0]["content"] = "And in Paris?".into();
        let other =
            Gateway::builder().provider_as(other).with(&format!("backend_type = \"{}\"", dialect.backend_type()));
        for gateway in [gateway, other.start().await] {
            let reply = gateway.ask(&front.request(&history, true)).await;
            assert_eq!((reply.status.as_u16(), reply.whole), (200, true), "{dialect:?}, {front:?}: {reply:?}");
            assert_eq!(reply.header("x-berry-attempts"), "1");
        }
    }
}

#[tokio::test]
async fn signatures_survive_a_lone_backend() {
    for dialect in [Dialect::Claude, Dialect::Gemini] {
        at_every_front(&[("only", dialect, None)]).await;
    }
}
