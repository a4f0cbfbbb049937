//! Azure's variant of OpenAI's wire format: deployment URLs, an API version in the query, and different
//! key headers and errors.

use super::model_request::{Kind, ModelRequest, Route, Target};
use super::openai::{self, OpenAi};
use super::piece::{Role, event};
use super::refusal::Refusal;
use super::shape::Shape;
use super::valid_response::ValidResponse;
use super::wire::{Wire, brings, header_map, quoted};
use super::words::Voice;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::form_urlencoded;

const FILTERS: &str = r#"{"hate":{"filtered":false,"severity":"safe"},"self_harm":{"filtered":false,"severity":"safe"},"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}"#;

/// Azure's variant of OpenAI's wire format.
#[derive(Debug)]
pub(super) struct Azure;

impl Wire for Azure {
    fn base(&self) -> &'static str {
        ""
    }

    fn id_header(&self) -> HeaderName {
        HeaderName::from_static("apim-request-id")
    }

    fn headers(&self) -> HeaderMap {
        header_map(&[
            ("server", "simulated"),
            ("x-ms-region", "Simulated"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-remaining-tokens", "99999"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ])
    }

    fn admit(&self, head: &Parts, key: &str) -> Result<(), Refusal> {
        if brings(&head.headers, "api-key", key) { Ok(()) } else { Err(Refusal::bad_key()) }
    }

    fn route(&self, head: &Parts) -> Result<Route, Refusal> {
        let (method, path) = (&head.method, head.uri.path());
        let query = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
        let versions: Vec<_> = query.filter(|(name, _)| name == "api-version").collect();
        match versions.as_slice() {
            // A path with a version needs none in the query.
            [] if path.starts_with("/openai/v1/") => {}
            [] => return Err(not_found()),
            [(_, version)] if is_version(version) || version == "preview" => {}
            _ => return Err(Refusal::invalid("API version not supported: see 'api-version'.").code("BadRequest")),
        }
        let rest = path.strip_prefix("/openai/").ok_or_else(not_found)?;
        let (wanted, route) = if rest == "models" {
            (Method::GET, Route::List)
        } else if let Some(model) = rest.strip_prefix("models/") {
            (Method::GET, Route::One(decoded(model)))
        } else if let Some(kind) = responses(rest) {
            (Method::POST, Route::Call(kind.into()))
        } else {
            let call = rest.strip_prefix("deployments/").and_then(|rest| rest.split_once('/'));
            let (deployment, endpoint) = call.ok_or_else(not_found)?;
            // Neither path has a deployment.
            let has =
                |kind: &Kind| !matches!(kind, Kind::Responses | Kind::CountTokens | Kind::Moderations | Kind::Rerank);
            let kind = openai::kind(endpoint).filter(has).ok_or_else(not_found)?;
            (Method::POST, Route::Call(Target { model: Some(decoded(deployment)), ..kind.into() }))
        };
        if *method != wanted {
            return Err(openai::not_allowed(method, path));
        }
        Ok(route)
    }

    fn read(&self, place: &Target, body: &[u8]) -> Result<ModelRequest, Refusal> {
        openai::read(place, body)
    }

    fn check(&self, ask: &ModelRequest) -> Result<(), Refusal> {
        // The deployment is the model, so the field may be absent.
        let mut body = ask.body.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.entry("model").or_insert_with(|| ask.model.as_str().into());
        }
        OpenAi.check(&ModelRequest { body, model: ask.model.clone(), betas: None, ..*ask })
    }

    fn list(&self, voice: &Voice, models: &[String]) -> String {
        let models: Vec<_> = models.iter().map(|id| self.one(voice, id)).collect();
        format!(r#"{{"data":[{}],"object":"list"}}"#, models.join(","))
    }

    fn one(&self, voice: &Voice, model: &str) -> String {
        json!({
            "id": model,
            "object": "model",
            "status": "succeeded",
            "created_at": voice.created,
            "updated_at": voice.created,
            "lifecycle_status": "generally-available",
            "capabilities": {"chat_completion": true, "completion": true, "embeddings": true, "fine_tune": false, "inference": true},
            "deprecation": {},
        })
        .to_string()
    }

    /// Adds the result of the content filters, as Azure does: in a separate first chunk, or in the plain response.
    fn answer(&self, ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse {
        let mut good = openai::answer(ask, shape, voice, seed);
        let found = format!(r#"[{{"prompt_index":0,"content_filter_results":{FILTERS}}}]"#);
        if ask.kind != Kind::Chat {
            return good;
        }
        if shape.stream {
            let first = event(
                Role::Preamble,
                format_args!(
                    r#"{{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":{found}}}"#
                ),
            );
            good.pieces = [first].into_iter().chain(good.pieces.iter().cloned()).collect();
        } else if let [piece] = good.pieces.as_ref() {
            let rest = String::from_utf8_lossy(&piece.data[1..]).into_owned();
            good = ValidResponse::json(format!(r#"{{"prompt_filter_results":{found},{rest}"#));
        }
        good
    }

    fn refusal(&self, refusal: &Refusal) -> (u16, Bytes) {
        (refusal.status, error(refusal).into())
    }

    fn error_event(&self, _: Kind, refusal: &Refusal) -> Bytes {
        format!("data: {}\n\n", error(refusal)).into()
    }

    fn malformed_event(&self, kind: Kind) -> Bytes {
        openai::malformed_event(kind)
    }

    fn unknown_event(&self, kind: Kind) -> Bytes {
        openai::unknown_event(kind)
    }
}

/// Returns the kind of a request for the Responses API, whose model is in the body.
fn responses(rest: &str) -> Option<Kind> {
    let kind = openai::kind(rest.strip_prefix("v1/").unwrap_or(rest));
    kind.filter(|kind| matches!(kind, Kind::Responses | Kind::CountTokens))
}

fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Returns whether a text is a version: a date, optionally of a preview.
fn is_version(version: &str) -> bool {
    let date = version.strip_suffix("-preview").unwrap_or(version);
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(date.split('-').collect::<Vec<_>>()[..], [y, m, d] if digits(y, 4) && digits(m, 2) && digits(d, 2))
}

fn not_found() -> Refusal {
    Refusal::invalid("Resource not found").with_status(404).code("404")
}

/// Returns the error body. Errors of Azure's gateway have a different shape than those of the model, which are OpenAI's.
fn error(refusal: &Refusal) -> String {
    let brief = |code: &str, message: &str| {
        let (code, message) = (quoted(code), quoted(message));
        format!(r#"{{"error":{{"code":{code},"message":{message}}}}}"#)
    };
    match refusal.code.as_deref() {
        Some("invalid_api_key") => brief("401", "Access denied: the subscription key or the endpoint is wrong."),
        Some("model_not_found") => brief("DeploymentNotFound", "There is no such API deployment for this resource."),
        Some("rate_limit_exceeded") => brief("429", "The requests have exceeded the deployment's call rate limit."),
        Some("content_policy_violation") => content_filter(refusal),
        Some(code @ ("404" | "BadRequest")) => brief(code, &refusal.message),
        _ => openai::error(refusal),
    }
}

fn content_filter(refusal: &Refusal) -> String {
    let mut found: Value = serde_json::from_str(FILTERS).unwrap_or_default();
    found["violence"] = json!({"filtered": true, "severity": "medium"});
    json!({"error": {
        "message": "The prompt triggered the content management policy, so the response was filtered.",
        "type": null,
        "param": "prompt",
        "code": "content_filter",
        "status": refusal.status,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": found},
    }})
    .to_string()
}
