//! OpenAI's wire format.

mod chat;
mod completions;
mod events;
mod messages;
mod other;
pub(super) mod responses;
mod rules;
mod tables;
mod turn;

use self::events::done;
pub(super) use self::events::{error, error_event, malformed_event, unknown_event};
use super::form;
use super::model_request::{Kind, ModelRequest, Route, Target};
use super::piece::{Role, event};
use super::refusal::Refusal;
use super::shape::Shape;
use super::valid_response::ValidResponse;
use super::wire::{Wire, header_map, quoted};
use super::words::Voice;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use serde_json::Value;

const PREFIX: &str = "/v1/";

/// OpenAI's wire format.
#[derive(Debug)]
pub(super) struct OpenAi;

impl Wire for OpenAi {
    fn base(&self) -> &'static str {
        "/v1"
    }

    fn headers(&self) -> HeaderMap {
        header_map(&[
            ("server", "simulated"),
            ("openai-organization", "org-simulated"),
            ("openai-version", "2020-10-01"),
            ("openai-processing-ms", "12"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("strict-transport-security", "max-age=31536000"),
            ("set-cookie", "__session=simulated; path=/; HttpOnly"),
            ("alt-svc", "h3=\":443\"; ma=86400"),
        ])
    }

    fn admit(&self, head: &Parts, key: &str) -> Result<(), Refusal> {
        let mut values = head.headers.get_all(header::AUTHORIZATION).iter();
        let token = values
            .next()
            .and_then(|value| value.as_bytes().split_at_checked("Bearer ".len()))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
        let fits = token.is_some_and(|(_, token)| token == key.as_bytes()) && values.next().is_none();
        if fits { Ok(()) } else { Err(Refusal::bad_key()) }
    }

    fn route(&self, head: &Parts) -> Result<Route, Refusal> {
        let (method, path) = (&head.method, head.uri.path());
        let unknown = || Refusal::invalid(format!("Invalid URL ({method} {path})")).with_status(404);
        let endpoint = path.strip_prefix(PREFIX).ok_or_else(unknown)?;
        let (wanted, route) = match (endpoint, endpoint.strip_prefix("models/")) {
            ("models", _) => (Method::GET, Route::List),
            (_, Some(model)) => (Method::GET, Route::One(model.to_owned())),
            _ => (Method::POST, Route::Call(kind(endpoint).ok_or_else(unknown)?.into())),
        };
        if *method != wanted {
            return Err(not_allowed(method, path));
        }
        Ok(route)
    }

    fn read(&self, place: &Target, body: &[u8]) -> Result<ModelRequest, Refusal> {
        read(place, body)
    }

    fn check(&self, ask: &ModelRequest) -> Result<(), Refusal> {
        match ask.kind {
            Kind::Chat => rules::check(&ask.body, &tables::CHAT),
            Kind::Responses | Kind::CountTokens => responses::rules::check(ask),
            _ => Ok(()),
        }
    }

    fn list(&self, voice: &Voice, models: &[String]) -> String {
        let models: Vec<_> = models.iter().map(|id| model(voice, id)).collect();
        format!(r#"{{"object":"list","data":[{}]}}"#, models.join(","))
    }

    fn one(&self, voice: &Voice, id: &str) -> String {
        model(voice, id)
    }

    fn answer(&self, ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse {
        answer(ask, shape, voice, seed)
    }

    fn refusal(&self, refusal: &Refusal) -> (u16, Bytes) {
        (refusal.status, error(refusal).into())
    }

    fn error_event(&self, kind: Kind, refusal: &Refusal) -> Bytes {
        error_event(kind, refusal)
    }

    fn malformed_event(&self, kind: Kind) -> Bytes {
        malformed_event(kind)
    }

    fn unknown_event(&self, kind: Kind) -> Bytes {
        unknown_event(kind)
    }
}

/// Returns the kind of request for a path below the version.
pub(super) fn kind(endpoint: &str) -> Option<Kind> {
    Some(match endpoint {
        "chat/completions" => Kind::Chat,
        "completions" => Kind::Completions,
        "responses" => Kind::Responses,
        "responses/input_tokens" => Kind::CountTokens,
        "embeddings" => Kind::Embeddings,
        "moderations" => Kind::Moderations,
        "images/generations" => Kind::Images,
        "images/edits" => Kind::ImageEdits,
        "images/variations" => Kind::ImageVariations,
        "audio/speech" => Kind::Speech,
        "audio/transcriptions" => Kind::Transcriptions,
        "audio/translations" => Kind::Translations,
        "rerank" => Kind::Rerank,
        _ => return None,
    })
}

pub(super) fn not_allowed(method: &Method, path: &str) -> Refusal {
    let message = format!("Not allowed to {method} on {path}");
    Refusal::invalid(message).with_status(405).code("method_not_supported")
}

/// Parses a body as a JSON object.
pub(super) fn object(body: &[u8]) -> Result<Value, Refusal> {
    let body = serde_json::from_slice(body).ok().filter(Value::is_object);
    body.ok_or_else(|| Refusal::invalid("We could not parse the JSON body of your request."))
}

pub(super) fn read(place: &Target, body: &[u8]) -> Result<ModelRequest, Refusal> {
    let body = if place.kind.takes_form() { form::read(body)? } else { object(body)? };
    let model = place.model.as_deref().or_else(|| body["model"].as_str());
    let model = model.ok_or_else(|| Refusal::invalid("You must provide a model parameter.").param("model"))?.to_owned();
    let streams = matches!(place.kind, Kind::Chat | Kind::Completions | Kind::Responses | Kind::Transcriptions);
    let stream = streams && (body["stream"] == Value::Bool(true) || body["stream"] == "true");
    Ok(ModelRequest { kind: place.kind, model, stream, body, betas: None })
}

fn model(voice: &Voice, id: &str) -> String {
    let (id, owner) = (quoted(id), quoted(&voice.name));
    let created = voice.created;
    format!(r#"{{"id":{id},"object":"model","created":{created},"owned_by":{owner}}}"#)
}

pub(super) fn answer(ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse {
    match ask.kind {
        Kind::Chat => chat::answer(ask, shape, voice, seed),
        Kind::Completions => completions::answer(ask, shape, voice, seed),
        Kind::Responses => responses::answer(ask, shape, voice, seed),
        Kind::CountTokens => responses::input_tokens(ask),
        Kind::Transcriptions if shape.stream => other::transcript_events(ask),
        // These endpoints have no streams, so the swap fault produces an event that no parser accepts.
        kind if shape.stream => {
            let whole = other::answer(kind, ask, voice, seed);
            let data = whole.pieces.iter().flat_map(|p| p.data.clone()).collect::<Vec<u8>>();
            let data = String::from_utf8_lossy(&data).into_owned();
            ValidResponse::events(vec![event(Role::Token, data), done()])
        }
        kind => other::answer(kind, ask, voice, seed),
    }
}
