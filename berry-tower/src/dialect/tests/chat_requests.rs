//! Chat requests as applications send them, all of which Anthropic's format has words for.

use proptest::{collection::vec, option, prelude::*, sample::subsequence};
use serde_json::{Map, Value, json};

/// One step of a conversation.
#[derive(Clone, Debug)]
enum Step {
    System(&'static str, Value),
    User(Value),
    Assistant(Value, Option<Value>, Vec<Call>),
}

#[derive(Clone, Debug)]
struct Call {
    name: &'static str,
    arguments: Value,
    result: Value,
    failed: bool,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z]{1,8}( [a-z]{1,8}){0,3}",
        1 => "[a-z]{1,4}[ \n]{1,3}",
        1 => "(?s).{0,8}",
        1 => Just(String::new()),
        1 => "[ \n\t]{1,3}",
    ]
}

fn marked(mut value: Value, mark: bool) -> Value {
    if mark {
        value["cache_control"] = json!({"type": "ephemeral"});
    }
    value
}

fn part(text_only: bool) -> impl Strategy<Value = Value> {
    let other = if text_only { 0 } else { 1 };
    let part = prop_oneof![
        4 => text().prop_map(|text| json!({"type": "text", "text": text})),
        other => "[A-Za-z0-9+/]{4,8}".prop_map(|data| {
            json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}"), "detail": "auto"}})
        }),
        other => "[a-z]{1,8}".prop_map(|name| {
            json!({"type": "image_url", "image_url": {"url": format!("https://example.com/{name}.png")}})
        }),
        other => ("[A-Za-z0-9+/]{4,8}", option::of("[a-z]{1,8}")).prop_map(|(data, name)| {
            json!({"type": "file", "file": {"file_data": format!("data:application/pdf;base64,{data}"), "filename": name}})
        }),
    ];
    (part, prop::bool::weighted(0.2)).prop_map(|(part, mark)| marked(part, mark))
}

fn content(text_only: bool) -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => text().prop_map(Value::from),
        1 => vec(part(text_only), 0..4).prop_map(Value::from),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let name = prop_oneof![Just("weather"), Just("time")];
    let arguments = vec(("[a-z]{1,4}", any::<i16>()), 0..3).prop_map(|members| {
        members.into_iter().map(|(name, value)| (name, value.into())).collect::<Map<_, _>>().into()
    });
    (name, arguments, content(true), any::<bool>()).prop_map(|(name, arguments, result, failed)| Call {
        name,
        arguments,
        result,
        failed,
    })
}

fn thoughts() -> impl Strategy<Value = Value> {
    let thought = prop_oneof![
        ("[a-z]{1,8}", "[A-Za-z0-9]{1,8}")
            .prop_map(|(text, proof)| json!({"type": "thinking", "thinking": text, "signature": proof})),
        "[A-Za-z0-9]{1,8}".prop_map(|data| json!({"type": "redacted_thinking", "data": data})),
    ];
    vec(thought, 1..3).prop_map(Value::from)
}

fn step() -> impl Strategy<Value = Step> {
    let role = prop_oneof![Just("system"), Just("developer")];
    prop_oneof![
        1 => (role, content(true)).prop_map(|(role, content)| Step::System(role, content)),
        3 => content(false).prop_map(Step::User),
        3 => (prop_oneof![3 => content(true), 1 => Just(Value::Null)], option::weighted(0.3, thoughts()), vec(call(), 0..3))
            .prop_map(|(content, thoughts, calls)| Step::Assistant(content, thoughts, calls)),
    ]
}

/// The steps as messages, with ids as OpenAI gives them.
fn messages(steps: Vec<Step>) -> Vec<Value> {
    let mut messages = Vec::new();
    for (i, step) in steps.into_iter().enumerate() {
        match step {
            Step::System(role, content) => messages.push(json!({"role": role, "content": content})),
            Step::User(content) => messages.push(marked(json!({"role": "user", "content": content}), i % 5 == 4)),
            Step::Assistant(content, thoughts, calls) => {
                let mut message = json!({"role": "assistant", "content": content});
                if let Some(thoughts) = thoughts {
                    message["reasoning_content"] = "hm".into();
                    message["extra_content"] = json!({"anthropic": thoughts});
                }
                let (mut said, mut results) = (Vec::new(), Vec::new());
                for (j, call) in calls.into_iter().enumerate() {
                    let id = format!("call_{i}_{j}");
                    let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
                    said.push(json!({"id": id, "type": "function", "function": function}));
                    let result =
                        json!({"role": "tool", "tool_call_id": id, "content": call.result, "is_error": call.failed});
                    results.push(marked(result, i % 7 == 6));
                }
                if !said.is_empty() {
                    message["tool_calls"] = said.into();
                }
                messages.push(message);
                results.reverse();
                messages.extend(results);
            }
        }
    }
    messages
}

/// A tool, its schema with an order of its own.
fn tool(name: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"place": {"type": "string"}, "day": {"type": "string"}}});
    json!({"type": "function", "cache_control": {"type": "ephemeral"},
           "function": {"name": name, "description": format!("Tells the {name}."), "parameters": schema}})
}

/// The members beside the conversation, by groups that may be together.
fn options() -> impl Strategy<Value = Map<String, Value>> {
    let choice = prop_oneof![
        Just(json!(null)),
        Just(json!("auto")),
        Just(json!("none")),
        Just(json!("required")),
        Just(json!({"type": "function", "function": {"name": "weather"}})),
    ];
    let with_tools = (choice, any::<Option<bool>>()).prop_map(|(choice, parallel)| {
        json!({"tools": [tool("weather"), tool("time")], "tool_choice": choice, "parallel_tool_calls": parallel})
    });
    let schema = json!({"type": "object", "properties": {"b": {}, "a": {}}, "additionalProperties": false});
    let strict = json!({"name": "answer", "schema": schema, "strict": true});
    let tools = prop_oneof![Just(json!({})), with_tools];
    let format = prop_oneof![
        3 => Just(json!({})),
        1 => Just(json!({"response_format": {"type": "text"}})),
        1 => Just(json!({"response_format": {"type": "json_object"}})),
        1 => Just(json!({"response_format": {"type": "json_schema", "json_schema": strict}})),
    ];
    let effort = prop_oneof![Just("none"), Just("minimal"), Just("low"), Just("medium"), Just("high")];
    let thinking = prop_oneof![
        2 => Just(json!({})),
        2 => effort.prop_map(|effort| json!({"reasoning_effort": effort})),
        1 => Just(json!({"thinking": {"type": "enabled", "budget_tokens": 2000}})),
        1 => Just(json!({"thinking": {"type": "adaptive"}})),
    ];
    let limit = prop_oneof![Just(1), Just(1024), Just(1025), Just(5000), Just(30000)];
    let rest = subsequence(
        vec![
            ("temperature", json!(1.7)),
            ("temperature", json!(0.5)),
            ("top_p", json!(0.3)),
            ("top_k", json!(7)),
            ("stop", json!("END")),
            ("stop", json!(["END", "###"])),
            ("user", json!("someone")),
            ("seed", json!(7)),
            ("n", json!(1)),
            ("logprobs", json!(false)),
            ("presence_penalty", json!(0)),
            ("store", json!(true)),
            ("metadata", json!({"a": "b"})),
            ("modalities", json!(["text"])),
            ("service_tier", json!("auto")),
        ],
        0..8,
    );
    (tools, format, thinking, option::of(limit), any::<bool>(), rest).prop_map(
        |(tools, format, thinking, limit, newer, rest)| {
            let mut all: Map<String, Value> = rest.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            for group in [tools, format, thinking] {
                all.extend(group.as_object().unwrap().clone());
            }
            if let Some(thinking) = all.get("thinking").cloned() {
                all.remove("top_k");
                let limit = limit.filter(|limit| thinking["type"] != "enabled" || *limit > 2000);
                all.extend(limit.map(|limit| ("max_tokens".to_owned(), limit.into())));
            } else if let Some(limit) = limit {
                all.insert(if newer { "max_completion_tokens" } else { "max_tokens" }.to_owned(), limit.into());
            }
            all
        },
    )
}

/// A chat request.
pub(crate) fn request() -> impl Strategy<Value = Value> {
    (vec(step(), 0..7), options()).prop_map(|(steps, mut request)| {
        request.insert("model".to_owned(), "any".into());
        request.insert("messages".to_owned(), messages(steps).into());
        Value::Object(request)
    })
}
