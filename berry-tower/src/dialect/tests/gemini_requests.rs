//! Requests for Google: nothing that it can express is lost, and what is sent keeps its rules.

use crate::dialect::{
    gemini::{self, Mode, Request, Role},
    hub::{self, Content, Message, Part},
};
use proptest::{collection::vec, option::of, prelude::*, sample::select};
use serde_json::{Value, json};

/// What is said, whatever it is cut into.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    System(String),
    Text(hub::Role, String),
    /// A type and the data, or an address.
    Media(String, String),
    Call {
        id: String,
        name: String,
        input: Value,
        signature: Option<String>,
    },
    Result {
        id: String,
        is_error: bool,
        result: Value,
    },
}

/// A conversation that keeps OpenAI's rules, in OpenAI's format.
pub(crate) fn conversation() -> impl Strategy<Value = Vec<Value>> {
    let text = || "(?s).{0,5}";
    let part = prop_oneof![
        text().prop_map(|text| json!({"type": "text", "text": text})),
        "[A-Za-z0-9]{1,5}".prop_map(|data| {
            json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}})
        }),
        "[a-z]{1,4}".prop_map(|name| {
            json!({"type": "image_url", "image_url": {"url": format!("https://pictures/{name}.jpg?a=b.c")}})
        }),
        "[A-Za-z0-9]{1,5}".prop_map(|data| {
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": format!("data:application/pdf;base64,{data}")}})
        }),
    ];
    let content = prop_oneof![text().prop_map(Value::from), vec(part, 0..4).prop_map(Value::from)];
    let input = vec(("[a-z]{1,3}", text().prop_map(Value::from)), 0..3);
    let input = input.prop_map(|members| Value::Object(members.into_iter().collect()));
    let said = prop_oneof![text().prop_map(Value::from), input.clone().prop_map(|it| it.to_string().into())];
    let call = ("weather|time", input, said, any::<bool>(), of("[A-Za-z0-9+/=]{1,6}"));
    let turn = (content, text(), vec(call, 0..3));
    (vec("[a-z]{0,4}", 0..3), vec(turn, 1..5)).prop_map(|(system, turns)| {
        let mut messages: Vec<_> =
            system.into_iter().map(|text| json!({"role": "developer", "content": text})).collect();
        messages.push(json!({"role": "user", "content": "Begin."}));
        for (at, (asked, text, calls)) in turns.into_iter().enumerate() {
            messages.push(json!({"role": "user", "content": asked}));
            let mut answer = json!({"role": "assistant", "content": text});
            let mut results = Vec::new();
            let mut called = Vec::new();
            for (call_at, (name, input, said, is_error, signature)) in calls.into_iter().enumerate() {
                let id = format!("call_{at}_{call_at}");
                let mut call = json!({"id": id, "type": "function",
                    "function": {"name": name, "arguments": input.to_string()}});
                if let Some(signature) = signature {
                    call["extra_content"] = json!({"google": {"thought_signature": signature}});
                }
                called.push(call);
                results.push(json!({"role": "tool", "tool_call_id": id, "content": said, "is_error": is_error}));
            }
            if !called.is_empty() {
                answer["tool_calls"] = called.into();
            }
            messages.push(answer);
            messages.append(&mut results);
        }
        messages.push(json!({"role": "user", "content": "And?"}));
        messages
    })
}

fn result(text: &str, is_error: bool) -> Value {
    let object = serde_json::from_str(text).ok().filter(|value: &Value| value.is_object() && !is_error);
    object.unwrap_or_else(|| json!({if is_error { "error" } else { "result" }: text}))
}

fn part(role: hub::Role, part: &Part) -> Said {
    let media = |url: &str| match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((kind, data)) => Said::Media(kind.to_owned(), data.to_owned()),
        None => Said::Media("image/jpeg".to_owned(), url.to_owned()),
    };
    match part {
        Part::Text { text, .. } => Said::Text(role, text.clone()),
        Part::ImageUrl { image_url, .. } => media(&image_url.url),
        Part::File { file, .. } => media(file.file_data.as_deref().unwrap()),
        other => panic!("{other:?}"),
    }
}

/// What a chat request says.
fn asked(messages: &[Message]) -> Vec<Said> {
    let mut said = Vec::new();
    for message in messages {
        let content: Vec<_> = match message.content.as_ref().unwrap() {
            Content::Text(text) => vec![Said::Text(message.role, text.clone())],
            Content::Parts(parts) => parts.iter().map(|it| part(message.role, it)).collect(),
        };
        match (message.role, &content[..]) {
            (hub::Role::Developer, [Said::Text(_, text)]) => said.push(Said::System(text.clone())),
            (hub::Role::Tool, [Said::Text(_, text)]) => {
                let (id, is_error) = (message.tool_call_id.clone().unwrap(), message.is_error == Some(true));
                said.push(Said::Result { id, is_error, result: result(text, is_error) });
            }
            _ => said.extend(content),
        }
        for call in message.tool_calls.iter().flatten() {
            let google = call.extra_content.as_ref().and_then(|extra| extra.google.as_ref());
            said.push(Said::Call {
                id: call.id.clone(),
                name: call.function.name.clone(),
                input: serde_json::from_str(&call.function.arguments).unwrap(),
                signature: google.and_then(|google| google.thought_signature.clone()),
            });
        }
    }
    join(said)
}

/// The application's words together and first, texts of one speaker together, and none that is empty.
fn join(said: Vec<Said>) -> Vec<Said> {
    let is_system = |it: &Said| matches!(it, Said::System(_));
    let texts: Vec<_> = said
        .iter()
        .filter_map(|it| match it {
            Said::System(text) if !text.is_empty() => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let mut joined: Vec<Said> = (!texts.is_empty()).then(|| Said::System(texts.join("\n\n"))).into_iter().collect();
    for it in said.into_iter().filter(|it| !is_system(it)) {
        match (joined.last_mut(), it) {
            (_, Said::Text(_, text)) if text.is_empty() => {}
            (Some(Said::Text(role, text)), Said::Text(more_role, more)) if *role == more_role => text.push_str(&more),
            (_, it) => joined.push(it),
        }
    }
    joined
}

/// What a request for Google says.
fn sent(body: &Request) -> Vec<Said> {
    let mut said: Vec<_> = body
        .system_instruction
        .iter()
        .flat_map(|content| &content.parts)
        .map(|part| Said::System(part.text.clone().unwrap()))
        .collect();
    for content in &body.contents {
        let role = if content.role == Some(Role::User) { hub::Role::User } else { hub::Role::Assistant };
        for part in &content.parts {
            let part = part.clone();
            said.extend(part.text.map(|text| Said::Text(role, text)));
            said.extend(part.inline_data.map(|blob| Said::Media(blob.mime_type, blob.data)));
            said.extend(part.file_data.map(|file| Said::Media(file.mime_type.unwrap(), file.file_uri)));
            said.extend(part.function_call.map(|call| Said::Call {
                id: call.id.unwrap(),
                name: call.name,
                input: crate::dialect::value::Value::from(call.args.unwrap()).into(),
                signature: part.thought_signature.filter(|signature| signature != NO_SIGNATURE),
            }));
            said.extend(part.function_response.map(|response| Said::Result {
                id: response.id.unwrap(),
                is_error: response.response.contains_key("error"),
                result: crate::dialect::value::Value::from(response.response).into(),
            }));
        }
    }
    join(said)
}

/// What Google documents in place of a signature.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

fn rules(body: &Request) {
    assert!(body.contents.windows(2).all(|pair| pair[0].role != pair[1].role), "roles alternate");
    assert!(body.contents.first().is_some_and(|content| content.role == Some(Role::User)));
    let mut open: Vec<(String, String)> = Vec::new();
    for content in &body.contents {
        assert!(!content.parts.is_empty());
        let mut answered = 0;
        for part in &content.parts {
            let members = serde_json::to_value(part).unwrap();
            let members = members.as_object().unwrap().keys().filter(|name| *name != "thoughtSignature");
            assert_eq!(members.count(), 1, "{part:?}");
            assert!(part.text.as_ref().is_none_or(|text| !text.is_empty()));
            if let Some(response) = &part.function_response {
                assert_eq!(open.remove(0), (response.id.clone().unwrap(), response.name.clone()));
                answered += 1;
            }
        }
        assert!(open.is_empty() || answered > 0, "results follow their calls");
        let first = content.parts.iter().find(|part| part.function_call.is_some());
        assert!(first.is_none_or(|part| part.thought_signature.is_some()), "a turn's first call is signed");
        let calls = content.parts.iter().filter_map(|part| part.function_call.as_ref());
        open.extend(calls.map(|call| (call.id.clone().unwrap(), call.name.clone())));
    }
}

fn ask(request: &Value) -> Result<gemini::GeminiRequest, String> {
    let request = hub::Request::parse(request.to_string().as_bytes()).unwrap();
    gemini::GeminiRequest::from_hub(&request).map_err(|error| error.param)
}

/// Numbers that every parser reads alike.
fn quarters(range: std::ops::Range<i32>) -> impl Strategy<Value = f64> {
    range.prop_map(|quarters| f64::from(quarters) / 4.0)
}

proptest! {
    #[test]
    fn conversation_is_preserved(messages in conversation()) {
        let request = json!({"model": "m", "messages": messages});
        let read = hub::Request::parse(request.to_string().as_bytes()).unwrap();
        let request = gemini::GeminiRequest::from_hub(&read).unwrap();
        let body: Request = serde_json::from_slice(&super::body_of(&request, "m", crate::dialect::Sampling::All, false)).unwrap();
        prop_assert_eq!(&body, request.request());
        rules(&body);
        prop_assert_eq!(sent(&body), asked(&read.messages));
    }

    #[test]
    fn generation_settings_are_preserved(
        numbers in (of(1u64..9999), of(0u64..9999), of(0u64..20), of(1u64..8), of(any::<i32>())),
        chances in (of(quarters(0..9)), of(quarters(0..5)), of(quarters(-8..9)), of(quarters(-8..9))),
        stop in of(vec("[a-z]{1,3}", 1..5)),
        effort in of(select(&[("none", 0), ("low", 1024), ("medium", 4096), ("high", 16384)][..])),
        tools in (vec("[a-z]{1,4}", 0..3), select(&["auto", "none", "required", "named"][..])),
    ) {
        let ((max, older_max, top_k, n, seed), (temperature, top_p, presence, frequency)) = (numbers, chances);
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}],
            "max_completion_tokens": max, "max_tokens": older_max, "top_k": top_k, "n": n, "seed": seed,
            "temperature": temperature, "top_p": top_p, "presence_penalty": presence,
            "frequency_penalty": frequency, "stop": stop, "reasoning_effort": effort.map(|(name, _)| name),
            "user": "u", "metadata": {"a": "b"}, "logit_bias": {"1": 2}, "store": true, "service_tier": "flex"});
        let (names, choice) = tools;
        let functions = names.iter().map(|name| json!({"type": "function", "function": {"name": name}}));
        request["tools"] = functions.collect();
        request["tool_choice"] = match (choice, names.first()) {
            ("named", Some(name)) => json!({"type": "function", "function": {"name": name}}),
            ("named", None) => Value::Null,
            (mode, _) => mode.into(),
        };
        let body = ask(&request).unwrap().request().clone();
        let config = body.generation_config.unwrap_or_default();
        prop_assert_eq!(config.max_output_tokens, max.or(older_max));
        prop_assert_eq!((config.temperature, config.top_p, config.top_k), (temperature, top_p, top_k));
        prop_assert_eq!((config.presence_penalty, config.frequency_penalty), (presence, frequency));
        prop_assert_eq!(config.seed, seed);
        prop_assert_eq!(u64::from(config.candidate_count.unwrap_or(1)), n.unwrap_or(1));
        prop_assert_eq!(config.stop_sequences, stop.unwrap_or_default());
        prop_assert_eq!(config.thinking_config.and_then(|it| it.thinking_budget), effort.map(|(_, budget)| budget));
        let declared = body.tools.iter().flat_map(|tool| &tool.function_declarations).map(|it| it.name.clone());
        prop_assert_eq!(declared.collect::<Vec<_>>(), names.clone());
        let called = body.tool_config.map(|config| config.function_calling_config);
        let wanted = match (choice, names.first()) {
            (_, None) => None,
            ("auto", _) => Some((Mode::Auto, Vec::new())),
            ("none", _) => Some((Mode::None, Vec::new())),
            ("required", _) => Some((Mode::Any, Vec::new())),
            (_, Some(name)) => Some((Mode::Any, vec![name.clone()])),
        };
        prop_assert_eq!(called.map(|it| (it.mode, it.allowed_function_names)), wanted);
    }

    /// A member that nobody knows is named wherever it stands, unless it says nothing or stands in an assistant turn
    /// or a content part, which clients echo.
    #[test]
    fn nothing_is_dropped_silently(place in 0usize..6, value in select(vec![json!(null), json!([]), json!(1), json!("a")])) {
        let mut request = json!({"model": "m", "stream_options": {}, "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]}, {"role": "assistant", "content": "Oh"}],
            "tools": [{"type": "function", "function": {"name": "f"}}]});
        let places = [("", "glow"), ("/messages/1", "messages[1].glow"),
            ("/messages/0/content/0", "messages[0].content[0].glow"), ("/tools/0", "tools[0].glow"),
            ("/tools/0/function", "tools[0].function.glow"), ("/stream_options", "stream_options.glow")];
        let (pointer, param) = places[place];
        let says = matches!(value, Value::Number(_) | Value::String(_)) && !pointer.starts_with("/messages");
        request.pointer_mut(pointer).unwrap()["glow"] = value;
        prop_assert_eq!(ask(&request).err(), says.then(|| param.to_owned()));
    }
}
