//! Encodes the spans of finished requests: a SERVER span for the request, and a CLIENT span for each attempt.

use std::{fmt::Write, sync::Arc};

use berry_tower::{
    backend::{BackendId, Model},
    progress::Usage,
};
use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use super::{
    attributes::Attributes,
    clock::Clock,
    conventions::{self as names, berry, event},
    protobuf::Message,
    request_trace::{AttemptRecord, RequestTrace},
    resource,
};
use crate::{
    config::{Telemetry, build::Caller},
    observability::outcome::RequestOutcome,
};

const SERVER: u64 = 2;
const CLIENT: u64 = 3;
/// The status code of a span that failed.
const ERROR: u64 = 2;
/// The trace flag of a sampled span.
const SAMPLED: u32 = 1;

/// A request that has ended, with everything that its spans say.
#[derive(Debug)]
pub(crate) struct FinishedRequest {
    pub(crate) trace: RequestTrace,
    pub(crate) id: HeaderValue,
    pub(crate) method: Method,
    pub(crate) path: Arc<str>,
    /// Whether the path is an endpoint of model requests.
    pub(crate) is_model_request: bool,
    pub(crate) is_stream: bool,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    pub(crate) first_output: Option<Instant>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) outcome: RequestOutcome,
    pub(crate) caller: Option<Arc<Caller>>,
    pub(crate) requested_model: Option<Arc<str>>,
    pub(crate) served_model: Option<Arc<Model>>,
    /// The backend that answered, or that of the last attempt.
    pub(crate) served_by: Option<BackendId>,
    pub(crate) attempts: u32,
    pub(crate) usage: Option<Usage>,
    pub(crate) dropped: Option<HeaderValue>,
}

/// Encodes an `ExportTraceServiceRequest`.
pub(super) fn encode<'a>(
    requests: impl Iterator<Item = &'a FinishedRequest>,
    telemetry: &Telemetry,
    instance: &str,
    clock: &Clock,
) -> Vec<u8> {
    let mut buffer = Vec::new();
    Message::new(&mut buffer).message(1, |resource_spans| {
        resource::write(resource_spans, telemetry, instance);
        resource_spans.message(2, |scope_spans| {
            resource::write_scope(scope_spans);
            for request in requests {
                scope_spans.message(2, |span| server_span(span, request, clock));
                for attempt in request.trace.attempts() {
                    scope_spans.message(2, |span| client_span(span, request, attempt, clock));
                }
            }
        });
        resource_spans.string(3, names::SCHEMA_URL);
    });
    buffer
}

fn server_span(span: &mut Message<'_>, request: &FinishedRequest, clock: &Clock) {
    let context = request.trace.context();
    span.bytes(1, &context.trace_id().to_be_bytes());
    span.bytes(2, &context.span_id().to_be_bytes());
    if let Some(parent) = request.trace.parent() {
        span.bytes(4, &parent.to_be_bytes());
    }
    span.string(5, &joined(request.method.as_str(), &request.path));
    span.uint(6, SERVER);
    span.fixed64(7, clock.nanos(request.started));
    span.fixed64(8, clock.nanos(request.ended));
    let mut attributes = Attributes(span, 9);
    attributes.string(names::HTTP_REQUEST_METHOD, request.method.as_str());
    attributes.string(names::URL_PATH, &request.path);
    attributes.string(names::URL_SCHEME, "http");
    attributes.string(berry::REQUEST_ID, request.id.to_str().unwrap_or_default());
    attributes.string(berry::OUTCOME, request.outcome.name());
    if let Some(status) = request.status {
        attributes.int(names::HTTP_RESPONSE_STATUS_CODE, status.as_u16().into());
    }
    if let Some(caller) = &request.caller {
        attributes.string(names::ENDUSER_ID, &caller.id);
    }
    if request.is_model_request {
        attributes.string(names::HTTP_ROUTE, &request.path);
        attributes.string(names::OPERATION_NAME, names::operation(&request.path));
        attributes.bool(names::REQUEST_STREAM, request.is_stream);
        attributes.int(berry::ATTEMPTS, request.attempts.into());
    }
    if let Some(model) = &request.requested_model {
        attributes.string(names::REQUEST_MODEL, model);
    }
    if let Some(model) = &request.served_model {
        attributes.string(berry::SERVED_MODEL, model.name());
        attributes.string(berry::STRATEGY, model.strategy().name());
    }
    if let Some(backend) = &request.served_by {
        attributes.string(names::RESPONSE_MODEL, &backend.model);
        attributes.string(berry::PROVIDER, &backend.provider);
    }
    if let Some(at) = request.first_output.filter(|_| request.is_stream) {
        attributes.double(names::TIME_TO_FIRST_CHUNK, (at - request.started).as_secs_f64());
    }
    if let Some(fields) = request.dropped.as_ref().and_then(|fields| fields.to_str().ok()) {
        attributes.string(berry::DROPPED_FIELDS, fields);
    }
    usage(&mut attributes, request.usage);
    let error = error_type(request);
    if let Some(error) = &error {
        attributes.string(names::ERROR_TYPE, error);
    }
    if let Some(at) = request.first_output.filter(|_| request.is_stream) {
        write_event(span, event::FIRST_TOKEN, clock.nanos(at), |_| {});
    }
    for attempt in request.trace.attempts() {
        attempt_event(span, request, attempt, clock);
    }
    if error.is_some() {
        span.message(15, |status| status.uint(3, ERROR));
    }
    span.fixed32(16, u32::from(context.is_sampled()) * SAMPLED);
}

/// Writes what a further attempt is for the request: a stream resumed, another backend, or a retry on the same one.
fn attempt_event(span: &mut Message<'_>, request: &FinishedRequest, attempt: &AttemptRecord, clock: &Clock) {
    let Some(previous) = attempt.previous else { return };
    let before = request.trace.attempts().find(|before| before.number + 1 == attempt.number);
    let is_same = before.is_some_and(|before| before.backend.id() == attempt.backend.id());
    let name = match (attempt.resumes, is_same) {
        (true, _) => event::RESUMED,
        (false, true) => event::RETRY,
        (false, false) => event::FAILOVER,
    };
    let at = clock.nanos(attempt.ended - attempt.elapsed);
    write_event(span, name, at, |attributes| {
        attributes.int(berry::ATTEMPT, attempt.number.into());
        attributes.string(berry::BACKEND, &attempt.backend.id().to_string());
        attributes.string(names::ERROR_TYPE, previous.name());
    });
}

/// Returns why the request counts as failed, if it does: an error of the client is none of the server's.
fn error_type(request: &FinishedRequest) -> Option<String> {
    match request.outcome {
        RequestOutcome::Complete | RequestOutcome::Refused | RequestOutcome::Cancelled => None,
        RequestOutcome::Failed => request.status.map(|status| status.as_str().to_owned()),
        outcome => Some(outcome.name().to_owned()),
    }
}

fn client_span(span: &mut Message<'_>, request: &FinishedRequest, attempt: &AttemptRecord, clock: &Clock) {
    let (server, id) = (request.trace.context(), attempt.backend.id());
    let context = server.of_attempt(attempt.number);
    let operation = names::operation(&request.path);
    let started = attempt.ended - attempt.elapsed;
    span.bytes(1, &context.trace_id().to_be_bytes());
    span.bytes(2, &context.span_id().to_be_bytes());
    span.bytes(4, &server.span_id().to_be_bytes());
    span.string(5, &joined(operation, &id.model));
    span.uint(6, CLIENT);
    span.fixed64(7, clock.nanos(started));
    span.fixed64(8, clock.nanos(attempt.ended));
    let (host, port) = attempt.backend.provider().address();
    let mut attributes = Attributes(span, 9);
    attributes.string(names::OPERATION_NAME, operation);
    attributes.string(names::PROVIDER_NAME, names::provider_name(host).unwrap_or(&id.provider));
    attributes.string(names::REQUEST_MODEL, &id.model);
    attributes.bool(names::REQUEST_STREAM, request.is_stream);
    attributes.string(names::SERVER_ADDRESS, host);
    attributes.int(names::SERVER_PORT, port.into());
    attributes.string(berry::PROVIDER, &id.provider);
    attributes.string(berry::SERVED_MODEL, &attempt.model);
    attributes.int(berry::ATTEMPT, attempt.number.into());
    if let Some(status) = attempt.status {
        attributes.int(names::HTTP_RESPONSE_STATUS_CODE, status.as_u16().into());
    }
    if let Some(after) = attempt.first_token_after {
        attributes.double(names::TIME_TO_FIRST_CHUNK, after.as_secs_f64());
    }
    usage(&mut attributes, attempt.usage);
    if attempt.class.is_error() {
        attributes.string(names::ERROR_TYPE, attempt.class.name());
    }
    if let Some(reason) = &attempt.reason {
        attributes.string(berry::REASON, reason);
    }
    if let Some(after) = attempt.first_token_after {
        write_event(span, event::FIRST_TOKEN, clock.nanos(started + after), |_| {});
    }
    if let Some(state) = attempt.breaker.filter(|state| state.index() != 0) {
        write_event(span, event::BREAKER, clock.nanos(attempt.ended), |attributes| {
            attributes.string(berry::BREAKER, state.name());
            attributes.string(berry::BACKEND, &id.to_string());
        });
    }
    if attempt.class.is_error() {
        span.message(15, |status| status.uint(3, ERROR));
    }
    span.fixed32(16, u32::from(context.is_sampled()) * SAMPLED);
}

fn usage(attributes: &mut Attributes<'_, '_>, usage: Option<Usage>) {
    let Some(usage) = usage else { return };
    let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    attributes.int(names::INPUT_TOKENS, int(usage.input));
    attributes.int(names::OUTPUT_TOKENS, int(usage.output));
    for (name, tokens) in [
        (names::CACHE_READ_TOKENS, usage.cached),
        (names::CACHE_CREATION_TOKENS, usage.cache_write),
        (names::REASONING_TOKENS, usage.reasoning),
    ] {
        if tokens > 0 {
            attributes.int(name, int(tokens));
        }
    }
}

fn joined(first: &str, second: &str) -> String {
    let mut name = String::with_capacity(first.len() + 1 + second.len());
    // Writing to a string cannot fail.
    let _ = write!(name, "{first} {second}");
    name
}

fn write_event(span: &mut Message<'_>, name: &str, at: u64, write: impl FnOnce(&mut Attributes<'_, '_>)) {
    span.message(11, |event| {
        event.fixed64(1, at);
        event.string(2, name);
        write(&mut Attributes(event, 3));
    });
}
