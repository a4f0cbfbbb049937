//! OpenAI's wire format.

mod chat;
mod completions;
mod other;
mod responses;

use super::body::Role;
use super::dialect::{Ask, Kind, Route, Shape, event, quoted};
use super::layout::Good;
use super::refusal::Refusal;
use super::words::Voice;
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::{Value, json};

const PREFIX: &str = "/v1/";

pub(super) fn authorized(headers: &HeaderMap, key: &str) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let token = values
        .next()
        .and_then(|value| value.as_bytes().split_at_checked("Bearer ".len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    token.is_some_and(|(_, token)| token == key.as_bytes()) && values.next().is_none()
}

pub(super) fn route(method: &Method, path: &str) -> Result<Route, Refusal> {
    let unknown = || Refusal::invalid(format!("Invalid URL ({method} {path})")).with_status(404);
    let endpoint = path.strip_prefix(PREFIX).ok_or_else(unknown)?;
    let (wanted, route) = match endpoint {
        "models" => (Method::GET, Route::List),
        "chat/completions" => (Method::POST, Route::Call(Kind::Chat)),
        "completions" => (Method::POST, Route::Call(Kind::Completions)),
        "responses" => (Method::POST, Route::Call(Kind::Responses)),
        "embeddings" => (Method::POST, Route::Call(Kind::Embeddings)),
        "moderations" => (Method::POST, Route::Call(Kind::Moderations)),
        "images/generations" => (Method::POST, Route::Call(Kind::Images)),
        "audio/speech" => (Method::POST, Route::Call(Kind::Speech)),
        other => match other.strip_prefix("models/") {
            Some(model) => (Method::GET, Route::One(model.to_owned())),
            None => return Err(unknown()),
        },
    };
    if *method != wanted {
        let message = format!("Not allowed to {method} on {path}");
        return Err(Refusal::invalid(message).with_status(405).code("method_not_supported"));
    }
    Ok(route)
}

pub(super) fn read(kind: Kind, body: &[u8]) -> Result<Ask, Refusal> {
    let body: Value = serde_json::from_slice(body)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| Refusal::invalid("We could not parse the JSON body of your request."))?;
    let model = body
        .get("model")
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::invalid("You must provide a model parameter.").param("model"))?;
    let streams = matches!(kind, Kind::Chat | Kind::Completions | Kind::Responses);
    Ok(Ask {
        kind,
        model: model.to_owned(),
        stream: streams && body.get("stream").and_then(Value::as_bool) == Some(true),
        body,
    })
}

fn model(voice: &Voice, id: &str) -> String {
    let (id, owner) = (quoted(id), quoted(&voice.name));
    let created = voice.created;
    format!(r#"{{"id":{id},"object":"model","created":{created},"owned_by":{owner}}}"#)
}

pub(super) fn list(voice: &Voice, models: &[String]) -> String {
    let models: Vec<_> = models.iter().map(|id| model(voice, id)).collect();
    format!(r#"{{"object":"list","data":[{}]}}"#, models.join(","))
}

pub(super) fn one(voice: &Voice, id: &str) -> String {
    model(voice, id)
}

pub(super) fn answer(ask: &Ask, shape: Shape, voice: &Voice, seed: u64) -> Good {
    match ask.kind {
        Kind::Chat => chat::answer(ask, shape, voice, seed),
        Kind::Completions => completions::answer(ask, shape, voice, seed),
        Kind::Responses => responses::answer(ask, shape, voice, seed),
        // These have no streams; a behaviour that swaps gets one from what fits no parser.
        kind if shape.stream => {
            let whole = other::answer(kind, ask, voice, seed);
            let data = whole.pieces.iter().flat_map(|p| p.data.clone()).collect::<Vec<u8>>();
            let data = String::from_utf8_lossy(&data).into_owned();
            Good::events(vec![event(Role::Token, data), done()])
        }
        kind => other::answer(kind, ask, voice, seed),
    }
}

pub(super) fn refusal(refusal: &Refusal) -> String {
    let message = quoted(&refusal.message);
    let kind = quoted(&refusal.kind);
    let param = refusal.param.as_deref().map_or("null".to_owned(), quoted);
    let code = refusal.code.as_deref().map_or("null".to_owned(), quoted);
    format!(r#"{{"error":{{"message":{message},"type":{kind},"param":{param},"code":{code}}}}}"#)
}

pub(super) fn error_event(kind: Kind, error: &Refusal) -> Bytes {
    if kind == Kind::Responses {
        let event = json!({
            "type": "error",
            "code": error.code.as_deref().unwrap_or(&error.kind),
            "message": error.message,
            "param": error.param,
            "sequence_number": 0,
        });
        return format!("event: error\ndata: {event}\n\n").into();
    }
    format!("data: {}\n\n", refusal(error)).into()
}

pub(super) fn malformed_event(kind: Kind) -> Bytes {
    Bytes::from_static(match kind {
        Kind::Responses => {
            b"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"del\n\n"
        }
        _ => b"data: {\"id\":\"chatcmpl-0\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\n\n",
    })
}

/// What ends a stream of chunks.
fn done() -> super::body::Piece {
    event(Role::Done, "[DONE]")
}

/// All the text in a message's `content`: a string, or parts with a `text` each.
fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|p| p.get("text")?.as_str());
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

/// The text of the last message with this role, among messages or input items.
fn last_of(messages: &Value, role: &str) -> String {
    let messages = messages.as_array().map_or(&[][..], Vec::as_slice);
    let of_role = |m: &&Value| m.get("role").and_then(Value::as_str) == Some(role);
    let last = messages.iter().rev().find(of_role);
    last.map_or(String::new(), |m| content_text(&m["content"]))
}

/// The words in all the messages, with a few more for each as their frame.
fn prompt_tokens(messages: &Value) -> usize {
    let messages = messages.as_array().map_or(&[][..], Vec::as_slice);
    let words = |m: &Value| super::words::count(&content_text(&m["content"])) + 4;
    messages.iter().map(words).sum::<usize>() + 3
}
