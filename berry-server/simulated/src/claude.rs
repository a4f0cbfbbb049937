//! Anthropic's wire format: Messages.

mod answer;
mod rules;
mod signatures;
mod tables;
mod turn;

use self::rules::invalid;
use super::model_request::{Kind, ModelRequest, Route, Target};
use super::openai;
use super::refusal::Refusal;
use super::shape::Shape;
use super::valid_response::ValidResponse;
use super::wire::{Wire, brings, header_map, quoted};
use super::words::Voice;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use jiff::Timestamp;
use serde_json::{Value, json};

const VERSION: &str = "anthropic-version";
const BETA: &str = "anthropic-beta";
const VERSIONS: [&str; 2] = ["2023-06-01", "2023-01-01"];

/// Anthropic's wire format.
#[derive(Debug)]
pub(super) struct Claude;

impl Wire for Claude {
    fn base(&self) -> &'static str {
        "/v1"
    }

    fn id_header(&self) -> HeaderName {
        HeaderName::from_static("request-id")
    }

    fn headers(&self) -> HeaderMap {
        header_map(&[
            ("server", "simulated"),
            ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ])
    }

    fn admit(&self, head: &Parts, key: &str) -> Result<(), Refusal> {
        if !brings(&head.headers, "x-api-key", key) {
            return Err(Refusal::bad_key());
        }
        match VERSIONS.iter().any(|version| brings(&head.headers, VERSION, version)) {
            true => Ok(()),
            false if head.headers.contains_key(VERSION) => Err(invalid(VERSION, "is not a valid version")),
            false => Err(invalid(VERSION, "header is required")),
        }
    }

    fn route(&self, head: &Parts) -> Result<Route, Refusal> {
        let (method, path) = (&head.method, head.uri.path());
        let not_found = || Refusal::new(404, "not_found_error", "Not found");
        let betas = head.headers.get(BETA).and_then(|betas| betas.to_str().ok()).map(str::to_owned);
        let call = |kind: Kind| Route::Call(Target { betas: betas.clone(), ..kind.into() });
        let (wanted, route) = match path.strip_prefix("/v1/").ok_or_else(not_found)? {
            "messages/count_tokens" => (Method::POST, call(Kind::CountTokens)),
            "messages" => (Method::POST, call(Kind::Messages)),
            "models" => (Method::GET, Route::List),
            other => (Method::GET, Route::One(other.strip_prefix("models/").ok_or_else(not_found)?.to_owned())),
        };
        if *method != wanted {
            return Err(Refusal::new(405, "invalid_request_error", "Method Not Allowed"));
        }
        Ok(route)
    }

    fn read(&self, place: &Target, body: &[u8]) -> Result<ModelRequest, Refusal> {
        let body = openai::object(body).map_err(|_| Refusal::invalid("The request body is not valid JSON"))?;
        let model = body["model"].as_str().ok_or_else(|| invalid("model", "Field required"))?.to_owned();
        let stream = place.kind == Kind::Messages && body["stream"] == Value::Bool(true);
        Ok(ModelRequest { kind: place.kind, model, stream, body, betas: place.betas.clone() })
    }

    fn check(&self, ask: &ModelRequest) -> Result<(), Refusal> {
        rules::check(ask)
    }

    fn check_account(&self, ask: &ModelRequest, account: u64) -> Result<(), Refusal> {
        rules::check_signatures(ask, account)
    }

    fn list(&self, voice: &Voice, models: &[String]) -> String {
        let data: Vec<_> = models.iter().map(|model| one(voice, model)).collect();
        json!({"data": data, "has_more": false, "first_id": models.first(), "last_id": models.last()}).to_string()
    }

    fn one(&self, voice: &Voice, model: &str) -> String {
        one(voice, model).to_string()
    }

    fn answer(&self, ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse {
        if ask.kind == Kind::CountTokens {
            let tokens = turn::turn(&ask.body).prompt;
            return ValidResponse::json(json!({ "input_tokens": tokens }).to_string());
        }
        answer::answer(ask, shape, voice, seed)
    }

    fn refusal(&self, refusal: &Refusal) -> (u16, Bytes) {
        let (status, error) = error(refusal);
        (status, format!(r#"{{"type":"error","error":{error},"request_id":null}}"#).into())
    }

    fn error_event(&self, _: Kind, refusal: &Refusal) -> Bytes {
        let (_, error) = error(refusal);
        format!("event: error\ndata: {{\"type\":\"error\",\"error\":{error},\"request_id\":null}}\n\n").into()
    }

    fn malformed_event(&self, _: Kind) -> Bytes {
        Bytes::from_static(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"del\n\n")
    }

    fn unknown_event(&self, _: Kind) -> Bytes {
        Bytes::from_static(
            b"event: content_novelty\ndata: {\"type\":\"content_novelty\",\"index\":0,\"novelty\":{}}\n\n",
        )
    }

    fn ping(&self) -> Bytes {
        answer::ping()
    }
}

fn one(voice: &Voice, model: &str) -> Value {
    let created = i64::try_from(voice.created).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    json!({
        "type": "model",
        "id": model,
        "display_name": format!("Simulated {model}"),
        "created_at": created.unwrap_or_default().to_string(),
    })
}

/// Returns the status and the error object. OpenAI's codes become Anthropic's messages.
fn error(refusal: &Refusal) -> (u16, String) {
    let (status, message) = match refusal.code.as_deref() {
        Some("invalid_api_key") => (401, "invalid x-api-key"),
        Some("context_length_exceeded") => (400, "prompt is too long: 210000 tokens > 200000 maximum"),
        Some("content_policy_violation") => (400, "Output blocked by content filtering policy"),
        Some("insufficient_quota") => (402, "The credit balance is too low to access the API."),
        Some("server_is_overloaded") => (529, "Overloaded"),
        Some("rate_limit_exceeded") => (429, "This request would exceed the rate limit of requests per minute."),
        _ => (refusal.status, &*refusal.message),
    };
    let kind = match status {
        400 | 405..=407 | 409..=412 | 414..=428 => "invalid_request_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    // A custom type is kept.
    let openais = ["invalid_request_error", "server_error", "requests", "timeout", "insufficient_quota"];
    let kind = if openais.contains(&&*refusal.kind) { kind } else { &*refusal.kind };
    (status, format!(r#"{{"type":{},"message":{}}}"#, quoted(kind), quoted(message)))
}
