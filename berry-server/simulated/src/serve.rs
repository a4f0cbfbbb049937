//! Handles a request: reads it, selects the behaviour, and responds.

use super::body::{Answer, ConnectionEnded, Plan};
use super::fault::{Behavior, Fault, Scope};
use super::layout::{Pace, lay_out};
use super::link::Link;
use super::model_request::{Kind, ModelRequest, Route, Target};
use super::record::{End, Entry};
use super::refusal::Refusal;
use super::shape::Shape;
use super::shared::Shared;
use super::valid_response::ValidResponse;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The maximum size of a request body.
const MAX_REQUEST: usize = 64 << 20;
const JSON: &str = "application/json";
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Please wait</title></head>\
    <body><h1>Checking your browser</h1></body></html>\n";

/// A response that is ready to send: status, content type and body.
struct Outgoing {
    status: u16,
    content_type: &'static str,
    retry_after: Option<u64>,
    plan: Plan,
}

impl Outgoing {
    fn ok(content_type: &'static str, plan: Plan) -> Self {
        Self { status: 200, content_type, retry_after: None, plan }
    }
}

/// Handles a request. An error makes hyper close the connection.
pub(super) async fn serve(
    shared: Arc<Shared>,
    link: Arc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, ConnectionEnded> {
    let (head, body) = request.into_parts();
    let mut entry = Entry::begin(&shared.record, &link, &head);
    let body = match Limited::new(body, MAX_REQUEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Err(ConnectionEnded),
    };
    entry.arrived(head.method == http::Method::POST, &body);
    let wire = shared.wire;
    let out = match wire.admit(&head, &shared.config.key).and_then(|()| wire.route(&head)) {
        Err(refusal) => Ok(refused(&shared, &refusal, None)),
        Ok(Route::Call(place)) => call(&shared, &place, &body).await,
        Ok(list) => models(&shared, list).await,
    };
    match out {
        Ok(out) => {
            entry.status(out.status);
            Ok(respond(&shared, out, entry))
        }
        Err(ConnectionEnded) => {
            link.reset();
            entry.end(End::Reset);
            Err(ConnectionEnded)
        }
    }
}

fn respond(shared: &Shared, out: Outgoing, entry: Entry) -> Response<Answer> {
    let number = entry.number();
    let mut response = Response::new(Answer::new(out.plan, entry));
    *response.status_mut() = StatusCode::from_u16(out.status).unwrap_or_default();
    let headers = response.headers_mut();
    *headers = shared.headers.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(out.content_type));
    if let Ok(id) = HeaderValue::try_from(format!("req_{}_{number}", shared.config.name)) {
        headers.insert(shared.wire.id_header(), id);
    }
    if out.content_type.starts_with("text/event-stream") {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    if let Some(seconds) = out.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn refused(shared: &Shared, refusal: &Refusal, retry_after: Option<u64>) -> Outgoing {
    let (status, body) = shared.refusal(refusal);
    Outgoing { status, content_type: JSON, retry_after, plan: Plan::plain(body) }
}

async fn models(shared: &Shared, route: Route) -> Result<Outgoing, ConnectionEnded> {
    let behavior = shared.behavior(Scope::Lists, None);
    if let Some(out) = apply_head_faults(shared, &behavior, None, None).await? {
        return Ok(out);
    }
    let wire = shared.wire;
    let body = match route {
        Route::One(model) if shared.model(&model).is_none() => {
            return Ok(refused(shared, &Refusal::unknown_model(&model), None));
        }
        Route::One(model) => wire.one(&shared.voice, &model),
        _ => wire.list(&shared.voice, &shared.config.models),
    };
    let pace = Pace { first: Duration::ZERO, each: Duration::ZERO };
    let plan = lay_out(&ValidResponse::json(body), &behavior, pace, wire, Kind::Chat);
    Ok(Outgoing::ok(JSON, plan))
}

async fn call(shared: &Shared, place: &Target, body: &Bytes) -> Result<Outgoing, ConnectionEnded> {
    let known = shared.cache.known(place, body, || shared.read(place, body));
    let behavior = shared.behavior(Scope::Answers, Some(&known));
    let ask = known.ask.as_ref();
    if let Some(out) = apply_head_faults(shared, &behavior, Some(place.kind), ask.ok()).await? {
        return Ok(out);
    }
    let ask = match ask {
        Ok(ask) => ask,
        Err(refusal) => return Ok(refused(shared, refusal, None)),
    };
    let (config, wire) = (&shared.config, shared.wire);
    if place.kind == Kind::Speech && behavior.has(&Fault::ErrorFirst) {
        return Ok(Outgoing::ok(JSON, Plan::plain(wire.refusal(&Refusal::broken()).1)));
    }
    let shape = Shape::of(ask, &behavior);
    let dress = |answer| match shared.quirks.filter(|_| place.kind == Kind::Chat) {
        Some(quirks) => quirks.dress(answer),
        None => answer,
    };
    let with_history = match shared.responses.with_history(ask, config.lax, &shared.voice) {
        Ok(whole) => whole,
        Err(refusal) => return Ok(refused(shared, &refusal, None)),
    };
    let good = match &with_history {
        Some(ask) => dress(wire.answer(ask, shape, &shared.voice, known.hash)),
        None => known.answer(shape, || dress(wire.answer(ask, shape, &shared.voice, known.hash))),
    };
    shared.responses.keep(with_history.as_ref().unwrap_or(ask), shape, &shared.voice, known.hash);
    let pace = Pace { first: config.first_token, each: behavior.per_token.unwrap_or(config.per_token) };
    if !good.is_stream {
        let tokens = shared.voice.token_count(shape);
        wait(pace.first + pace.each * u32::try_from(tokens).unwrap_or(u32::MAX)).await;
    }
    let plan = lay_out(&good, &behavior, pace, wire, place.kind);
    Ok(Outgoing::ok(good.content_type, plan))
}

async fn wait(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// Applies the faults that delay or replace a response. An error means a reset.
async fn apply_head_faults(
    shared: &Shared,
    behavior: &Behavior,
    kind: Option<Kind>,
    ask: Option<&ModelRequest>,
) -> Result<Option<Outgoing>, ConnectionEnded> {
    let wire = shared.wire;
    let says = |field| ask.is_some_and(|ask| !field_of(&ask.body, wire.field(field)).is_null());
    for fault in &behavior.faults {
        let refusal = match fault {
            Fault::LateHead(time) => {
                sleep(*time).await;
                continue;
            }
            Fault::Silent => pending().await,
            Fault::Reset => return Err(ConnectionEnded),
            Fault::Html => return Ok(Some(Outgoing::ok("text/html; charset=utf-8", Plan::plain(PAGE)))),
            Fault::Empty => {
                let stream = ask.is_some_and(|ask| ask.stream);
                let content_type = if stream { "text/event-stream" } else { JSON };
                return Ok(Some(Outgoing::ok(content_type, Plan::plain(""))));
            }
            Fault::Status(status) => Refusal::of_status(*status),
            Fault::Refuse(refusal) => refusal.clone(),
            Fault::ContextLength => Refusal::context_length(),
            Fault::ContentPolicy if wire.blocks_in_answers() => continue,
            Fault::ContentPolicy => Refusal::content_policy(),
            Fault::BadKey => Refusal::bad_key(),
            Fault::Quota => Refusal::quota(),
            Fault::Overloaded => Refusal::overloaded(),
            Fault::ChatOnly if kind == Some(Kind::Responses) => {
                Refusal::invalid("Invalid URL (POST /v1/responses)").with_status(404)
            }
            Fault::ToolsNeedResponses if kind == Some(Kind::Chat) && ask.is_some_and(reasons_with_tools) => {
                Refusal::tools_need_responses(&ask.map(|ask| ask.model.clone()).unwrap_or_default())
            }
            Fault::RefuseStreamOptions if says("stream_options") => Refusal::unsupported("stream_options", ""),
            Fault::RefuseMaxTokens if says("max_tokens") => {
                Refusal::unsupported(wire.field("max_tokens"), " Use 'max_completion_tokens' instead.")
            }
            Fault::RefuseBothSamplings if says("temperature") && says("top_p") => {
                let advice = format!(" Use it without '{}'.", wire.field("temperature"));
                Refusal::unsupported(wire.field("top_p"), &advice)
            }
            Fault::RefuseSampling if says("temperature") => Refusal::unsupported(wire.field("temperature"), ""),
            Fault::RefuseSampling if says("top_p") => Refusal::unsupported(wire.field("top_p"), ""),
            _ => continue,
        };
        return Ok(Some(refused(shared, &refusal, behavior.retry_after)));
    }
    Ok(None)
}

/// Returns whether a chat request has function tools and does not disable reasoning.
fn reasons_with_tools(ask: &ModelRequest) -> bool {
    let mut tools = ask.body["tools"].as_array().into_iter().flatten();
    ask.body["reasoning_effort"] != "none" && tools.any(|tool| tool["type"] == "function")
}

/// Returns the value at a dotted path, or null.
fn field_of<'a>(body: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(body, |value, key| &value[key])
}
