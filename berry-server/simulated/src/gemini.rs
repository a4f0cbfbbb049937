//! Google's wire format: `generateContent` and `streamGenerateContent`.

mod answer;
mod rules;
mod signatures;
mod tables;
mod turn;

use super::model_request::{Kind, ModelRequest, Route, Target};
use super::openai;
use super::refusal::Refusal;
use super::shape::Shape;
use super::valid_response::ValidResponse;
use super::wire::{Wire, brings, header_map};
use super::words::Voice;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::form_urlencoded;

const KEY: &str = "x-goog-api-key";

/// Google's wire format.
#[derive(Debug)]
pub(super) struct Gemini;

impl Wire for Gemini {
    fn base(&self) -> &'static str {
        "/v1beta"
    }

    fn id_header(&self) -> HeaderName {
        HeaderName::from_static("x-gemini-service-trace")
    }

    fn headers(&self) -> HeaderMap {
        header_map(&[
            ("server", "simulated"),
            ("server-timing", "gfet4t7; dur=12"),
            ("x-content-type-options", "nosniff"),
            ("alt-svc", "h3=\":443\"; ma=2592000"),
        ])
    }

    fn admit(&self, head: &Parts, key: &str) -> Result<(), Refusal> {
        let has_key = |query: &str| form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "key");
        if head.uri.query().is_some_and(has_key) {
            return Err(Refusal::invalid("The key must not be in the URL: send 'x-goog-api-key'.").param("key"));
        }
        if !head.headers.contains_key(KEY) {
            let message = "Method doesn't allow unregistered callers: send 'x-goog-api-key'.";
            return Err(Refusal::invalid(message).with_status(403));
        }
        if brings(&head.headers, KEY, key) { Ok(()) } else { Err(Refusal::bad_key()) }
    }

    fn route(&self, head: &Parts) -> Result<Route, Refusal> {
        let (method, path) = (&head.method, head.uri.path());
        let not_found = || Refusal::invalid(format!("Not found: {method} {path}")).with_status(404);
        let rest = path.strip_prefix("/v1beta/models").ok_or_else(not_found)?;
        let (wanted, route) = match (rest, rest.strip_prefix('/')) {
            ("", _) => (Method::GET, Route::List),
            (_, None) => return Err(not_found()),
            (_, Some(rest)) => match rest.rsplit_once(':') {
                None => (Method::GET, Route::One(decoded(rest))),
                Some((model, verb)) => {
                    if verb == "countTokens" {
                        let place = Target { model: Some(decoded(model)), ..Kind::CountTokens.into() };
                        return if *method == Method::POST { Ok(Route::Call(place)) } else { Err(not_found()) };
                    }
                    let stream = stream(verb, head.uri.query()).ok_or_else(not_found)??;
                    let place = Target { model: Some(decoded(model)), stream: Some(stream), ..Kind::Generate.into() };
                    (Method::POST, Route::Call(place))
                }
            },
        };
        // Google also responds with 404 in this case.
        if *method == wanted { Ok(route) } else { Err(not_found()) }
    }

    fn read(&self, place: &Target, body: &[u8]) -> Result<ModelRequest, Refusal> {
        let body = openai::object(body)
            .map_err(|_| Refusal::invalid("Invalid JSON payload received. Expected an object of JSON."))?;
        let model = place.model.clone().unwrap_or_default();
        Ok(ModelRequest { kind: place.kind, model, stream: place.stream == Some(true), body, betas: None })
    }

    fn check(&self, ask: &ModelRequest) -> Result<(), Refusal> {
        if ask.kind == Kind::CountTokens { rules::check_count(&ask.body, &ask.model) } else { rules::check(&ask.body) }
    }

    fn check_account(&self, ask: &ModelRequest, account: u64) -> Result<(), Refusal> {
        if ask.kind == Kind::CountTokens { Ok(()) } else { signatures::check(&ask.body, account) }
    }

    fn field(&self, name: &'static str) -> &'static str {
        match name {
            "max_tokens" => "generationConfig.maxOutputTokens",
            "temperature" => "generationConfig.temperature",
            "top_p" => "generationConfig.topP",
            other => other,
        }
    }

    fn list(&self, _: &Voice, models: &[String]) -> String {
        let models: Vec<_> = models.iter().map(|model| one(model)).collect();
        json!({"models": models}).to_string()
    }

    fn one(&self, _: &Voice, model: &str) -> String {
        one(model).to_string()
    }

    fn answer(&self, ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse {
        if ask.kind == Kind::CountTokens {
            let tokens = turn::turn(ask.body.get("generateContentRequest").unwrap_or(&ask.body)).prompt;
            let details = json!([{"modality": "TEXT", "tokenCount": tokens}]);
            return ValidResponse::json(json!({"totalTokens": tokens, "promptTokensDetails": details}).to_string());
        }
        answer::answer(ask, shape, voice, seed)
    }

    fn blocks_in_answers(&self) -> bool {
        true
    }

    fn refusal(&self, refusal: &Refusal) -> (u16, Bytes) {
        let (status, error) = error(refusal);
        (status, format!("{error:#}").into())
    }

    fn error_event(&self, _: Kind, refusal: &Refusal) -> Bytes {
        let (_, error) = error(refusal);
        format!("data: {error}\n\n").into()
    }

    fn malformed_event(&self, _: Kind) -> Bytes {
        Bytes::from_static(b"data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"lo\n\n")
    }

    fn unknown_event(&self, _: Kind) -> Bytes {
        Bytes::from_static(b"data: {\"novelty\": {}}\n\n")
    }
}

fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Returns whether the verb requests a stream; `None` for an unknown verb. A stream without `alt=sse`,
/// which would be a JSON array, is rejected.
fn stream(verb: &str, query: Option<&str>) -> Option<Result<bool, Refusal>> {
    let query = query.unwrap_or_default();
    let is_sse = form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "alt" && value == "sse");
    match verb {
        "generateContent" => Some(Ok(false)),
        "streamGenerateContent" if is_sse => Some(Ok(true)),
        "streamGenerateContent" => Some(Err(Refusal::invalid("Streams are sent with 'alt=sse' alone.").param("alt"))),
        _ => None,
    }
}

fn one(model: &str) -> Value {
    json!({
        "name": format!("models/{model}"),
        "version": "001",
        "displayName": format!("Simulated {model}"),
        "description": "A simulated model.",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "maxTemperature": 2,
    })
}

/// Returns the status and the error document. OpenAI's codes become Google's messages.
fn error(refusal: &Refusal) -> (u16, Value) {
    let kind = |name: &str| format!("type.googleapis.com/google.rpc.{name}");
    let message = refusal.message.as_ref();
    let (status, message, details) = match refusal.code.as_deref() {
        Some("invalid_api_key") => (
            400,
            "API key not valid. Please pass a valid API key.",
            json!([{
                "@type": kind("ErrorInfo"),
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }]),
        ),
        Some("context_length_exceeded") => (
            400,
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            Value::Null,
        ),
        Some("insufficient_quota") => (
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            json!([{"@type": kind("QuotaFailure"), "violations": [{"quotaId": "GenerateRequestsPerDay", "quotaValue": "50"}]}]),
        ),
        Some("server_is_overloaded") => (503, "The model is overloaded. Please try again later.", Value::Null),
        Some("rate_limit_exceeded") => (429, "Resource has been exhausted (e.g. check quota).", Value::Null),
        _ => match &refusal.param {
            Some(field) => (
                refusal.status,
                message,
                json!([{"@type": kind("BadRequest"), "fieldViolations": [{"field": field, "description": message}]}]),
            ),
            None => (refusal.status, message, Value::Null),
        },
    };
    let mut error = json!({"error": {"code": status, "message": message, "status": name(status)}});
    if !details.is_null() {
        error["error"]["details"] = details;
    }
    (status, error)
}

fn name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}
