//! The facts of one request: sent to the client in headers, and to operators in one log line, metrics and history when
//! the response has ended.

#[cfg(feature = "otlp")]
mod export;

use std::{fmt, sync::Arc, time::Duration};

use berry_tower::{
    attempt::{Attempt, ServedBy},
    backend::BackendId,
    body::{End, Guard, GuardedBody},
    error::{Exhausted, find},
    error_response::Cause,
    inspect::ModelSlot,
    progress::Progress,
    rate_limit::LimitKind,
    render::Refusal,
    select::RoutedModel,
    spend::LimitReached,
};
use bytes::Bytes;
use http::{Extensions, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::time::Instant;

use super::{
    identity::RequestIdentity,
    panic::{PanicMessage, internal_error},
};
#[cfg(feature = "observability")]
use crate::observability::history::FinishedRequest;
use crate::{
    http::{connection::ConnectionState, error_shape::ErrorShape},
    observability::{
        Observability,
        metrics::{RequestMetrics, RouteMetrics},
        otlp::{Otlp, RequestTrace},
        outcome::RequestOutcome,
    },
    state::Snapshot,
};

/// The target of the access line, which filters such as `RUST_LOG` name.
pub(super) const TARGET: &str = "berry_server::access";

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const BACKEND: HeaderName = HeaderName::from_static("x-berry-backend");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-berry-attempts");
const DROPPED: HeaderName = HeaderName::from_static("x-berry-dropped");

/// The most bytes of a client's text (path, method, model) in a log line.
const MAX_TEXT_BYTES: usize = 256;

/// A client's text, cut to [`MAX_TEXT_BYTES`]. The log's formatter escapes unsafe characters.
struct Cut<'a>(&'a str);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= MAX_TEXT_BYTES {
            return f.write_str(self.0);
        }
        let end = (0..=MAX_TEXT_BYTES).rev().find(|end| self.0.is_char_boundary(*end)).unwrap_or_default();
        write!(f, "{}…", &self.0[..end])
    }
}

/// What the records of one service have in common.
#[derive(Clone, Debug)]
pub(super) struct RecordContext {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) observability: Observability,
    pub(super) endpoint: Option<Arc<ModelEndpoint>>,
    /// The shape of the layer's own error responses.
    pub(super) errors: ErrorShape,
}

/// The facts of an endpoint that need no look-up per request.
#[derive(Debug)]
pub(super) struct ModelEndpoint {
    pub(super) path: Arc<str>,
    pub(super) route: RouteMetrics,
}

/// The facts of one request.
#[derive(Debug)]
pub(crate) struct AccessRecord {
    id: HeaderValue,
    method: Method,
    path: Arc<str>,
    errors: ErrorShape,
    /// Whether the request asks for a model's answer.
    is_model_request: bool,
    started: Instant,
    status: Option<StatusCode>,
    identity: RequestIdentity,
    model_slot: ModelSlot,
    served_by: Option<ServedBy>,
    served_model: Option<RoutedModel>,
    attempts: u32,
    progress: Option<Progress>,
    /// The optional fields that were left out of the upstream request.
    dropped: Option<HeaderValue>,
    is_emitted: bool,
    connection: Option<ConnectionState>,
    snapshot: Arc<Snapshot>,
    observability: Observability,
    metrics: RequestMetrics,
    /// The request's trace, if traces are exported.
    trace: Option<RequestTrace>,
}

impl AccessRecord {
    pub(super) fn new<R>(id: HeaderValue, request: &mut Request<R>, context: &RecordContext) -> Self {
        let RecordContext { snapshot, observability, endpoint, errors } = context;
        let started = Instant::now();
        let route = endpoint.as_ref().map(|endpoint| &endpoint.route);
        let path = || Cut(request.uri().path()).to_string().into();
        Self {
            id,
            method: request.method().clone(),
            path: endpoint.as_ref().map_or_else(path, |endpoint| endpoint.path.clone()),
            errors: *errors,
            is_model_request: endpoint.is_some(),
            started,
            status: None,
            identity: RequestIdentity::default(),
            model_slot: ModelSlot::default(),
            served_by: None,
            served_model: None,
            attempts: 0,
            progress: None,
            dropped: None,
            is_emitted: false,
            connection: request.extensions_mut().remove(),
            snapshot: snapshot.clone(),
            observability: observability.clone(),
            metrics: observability.metrics.start(request, route, started),
            trace: Otlp::start(&snapshot.config.telemetry, request.headers()),
        }
    }

    pub(super) const fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// Puts the slots into the request that the layers behind fill in.
    pub(super) fn insert_slots(&self, extensions: &mut Extensions) {
        extensions.insert(self.identity.clone());
        if let Some(trace) = &self.trace {
            trace.insert_into(extensions);
        }
        if self.is_model_request {
            extensions.insert(self.model_slot.clone());
        }
    }

    /// Logs a panic and returns the client's error.
    pub(super) fn log_panic(&self, PanicMessage(panic): &PanicMessage) -> Refusal {
        tracing::error!(request_id = self.id.to_str().unwrap_or_default(), panic, "a request panicked");
        internal_error()
    }

    /// Adds the gateway's headers to the response and follows its body to the end.
    pub(super) fn instrument<B>(mut self: Box<Self>, mut response: Response<B>) -> Response<GuardedBody<B, Box<Self>>>
    where
        B: http_body::Body<Data = Bytes>,
    {
        self.record_response(&mut response);
        response.map(|body| GuardedBody::new(body, self))
    }

    /// Reads the facts of the response from its extensions and adds the gateway's headers.
    fn record_response<B>(&mut self, response: &mut Response<B>) {
        self.metrics.record_head();
        self.status = Some(response.status());
        let extensions = response.extensions_mut();
        self.served_by = extensions.remove();
        self.served_model = extensions.remove();
        self.progress = extensions.remove();
        if let Some(limit) = extensions.remove::<LimitKind>() {
            self.observability.metrics.rate_limited(limit);
        }
        if let Some(limit) = extensions.remove::<LimitReached>() {
            self.observability.metrics.limit_reached(&limit);
        }
        self.attempts = extensions.get::<Attempt>().map_or(0, Attempt::number);
        if let Some(failed) = extensions.get::<Cause>().and_then(|cause| find::<Exhausted>(&*cause.0)) {
            self.attempts = failed.attempts;
            self.served_by = failed.backend.clone().map(ServedBy);
        }
        let headers = response.headers_mut();
        self.dropped = headers.get(DROPPED).cloned();
        if let Some(fields) = self.dropped.as_ref().and_then(|fields| fields.to_str().ok()) {
            self.observability.metrics.dropped_fields(fields);
        }
        headers.insert(REQUEST_ID, self.id.clone());
        if self.errors == ErrorShape::Anthropic {
            // The name of the header in Anthropic's API.
            headers.insert(HeaderName::from_static("request-id"), self.id.clone());
        }
        if let Some(ServedBy(backend)) = &self.served_by
            && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(
                [backend.provider.as_bytes(), b":", backend.model.as_bytes()].concat(),
            ))
        {
            headers.insert(BACKEND, value);
        }
        if self.attempts > 0 {
            // The usual number needs no formatting.
            let is_first = self.attempts == 1;
            headers.insert(ATTEMPTS, if is_first { HeaderValue::from_static("1") } else { self.attempts.into() });
        }
        if self.progress.as_ref().is_some_and(Progress::is_stream) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        }
    }

    /// Reads which backend finished a stream that another one had begun, or whose head was sent
    /// before a backend had answered.
    fn record_continuation(&mut self) {
        let Some(progress) = &self.progress else { return };
        self.attempts = progress.attempts().map_or(self.attempts, |attempts| attempts.max(self.attempts));
        let Some(continuation) = progress.continued_by() else { return };
        self.served_by = Some(ServedBy(continuation.backend.clone()));
        let catalog = self.snapshot.catalog.load();
        let requested = self.model_slot.get().and_then(|model| catalog.find(model));
        let served = requested.and_then(|requested| match continuation.fallback_index.checked_sub(1) {
            None => Some(requested),
            Some(fallback) => catalog.find(requested.fallbacks().get(fallback as usize)?),
        });
        if let Some(model) = served {
            self.served_model = Some(RoutedModel::new(model.clone()));
        }
    }

    /// Returns the public name of the requested model, if the catalogue has it.
    fn requested_model(&self) -> Option<Arc<str>> {
        let requested = self.model_slot.get()?;
        match &self.served_model {
            // The usual case needs no look-up.
            Some(routed) if &**routed.model().name() == requested => Some(routed.model().name().clone()),
            _ => self.snapshot.catalog.load().find(requested).map(|model| model.name().clone()),
        }
    }

    /// Writes the log line, metrics and history; only the first call has an effect.
    fn emit(&mut self, outcome: RequestOutcome) {
        if std::mem::replace(&mut self.is_emitted, true) {
            return;
        }
        if let Some(connection) = &self.connection {
            if self.identity.caller().is_some() {
                connection.trust();
            }
            connection.end();
        }
        self.record_continuation();
        let now = Instant::now();
        self.metrics.record_end(self.status, now);
        let requested = self.requested_model();
        if outcome == RequestOutcome::Cancelled && self.is_model_request {
            self.observability.metrics.cancelled(requested.as_deref());
        }
        #[cfg(feature = "observability")]
        self.add_to_history(outcome, now);
        #[cfg(feature = "otlp")]
        self.export_trace(outcome, requested.as_ref(), now);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let usage = self.progress.as_ref().and_then(Progress::usage);
        let first_output = self.progress.as_ref().and_then(Progress::first_output);
        // A name that the catalogue does not have is the client's text, which may hold a secret.
        let model = requested.as_deref();
        let served_model = self.served_model.as_ref().map(RoutedModel::model);
        let backend = self.served_by.as_ref().map(|ServedBy(backend)| backend);
        tracing::info!(
            target: TARGET,
            request_id = self.id.to_str().unwrap_or_default(),
            method = display(Cut(self.method.as_str())),
            path = &*self.path,
            user = self.identity.caller().map(|caller| &*caller.id),
            key = self.identity.caller().and_then(|caller| caller.key_id()),
            model = model.map(|model| display(Cut(model))),
            served_model = served_model.map(|model| &**model.name()),
            provider = backend.map(|backend| &*backend.provider),
            backend = backend.map(|backend| display(BackendName(backend))),
            strategy = served_model.map(|model| model.strategy().name()),
            attempts = self.attempts,
            status = self.status.map(|status| status.as_u16()),
            outcome = outcome.name(),
            latency_ms = millis(now - self.started),
            ttft_ms = first_output.map(|at| millis(at.saturating_duration_since(self.started))),
            input_tokens = usage.map(|usage| usage.input),
            output_tokens = usage.map(|usage| usage.output),
            cached_tokens = usage.map(|usage| usage.cached),
            dropped = self.dropped.as_ref().and_then(|dropped| dropped.to_str().ok()),
            "request finished"
        );
    }
}

/// A backend as `provider:model`, as the header `x-berry-backend` writes it.
struct BackendName<'a>(&'a BackendId);

impl fmt::Display for BackendName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.provider, self.0.model)
    }
}

#[cfg(feature = "observability")]
impl AccessRecord {
    /// Adds a model request to the dashboard's history.
    fn add_to_history(&self, outcome: RequestOutcome, now: Instant) {
        if !self.is_model_request {
            return;
        }
        let progress = self.progress.as_ref();
        let since = progress.and_then(Progress::first_output).unwrap_or(self.started);
        let output_tokens = progress.and_then(Progress::usage).map_or(0, |usage| usage.output);
        let finished = FinishedRequest {
            outcome,
            latency: now - self.started,
            output_tokens,
            output_time: now.saturating_duration_since(since),
        };
        self.observability.history.series.record(finished, now);
    }
}

impl Guard for AccessRecord {
    fn ended(&mut self, end: End<'_>) {
        let status = self.status.unwrap_or_default();
        // A response to HEAD has no body to read to its end.
        let is_complete = matches!(end, End::Complete) || self.method == Method::HEAD;
        self.emit(match end {
            _ if is_complete && status.is_server_error() => RequestOutcome::Failed,
            _ if is_complete && !status.is_success() => RequestOutcome::Refused,
            _ if is_complete => RequestOutcome::Complete,
            // A client may leave once it has the error event of an interrupted stream.
            End::Failed(_) => RequestOutcome::Interrupted,
            _ if self.progress.as_ref().is_some_and(Progress::is_interrupted) => RequestOutcome::Interrupted,
            End::Complete | End::Dropped => RequestOutcome::Cancelled,
        });
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        // Without an earlier call the client left before there was a response.
        self.emit(RequestOutcome::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_client_text_at_a_character() {
        assert_eq!(Cut("gpt-4o").to_string(), "gpt-4o");
        let long = format!("{}üü", "x".repeat(MAX_TEXT_BYTES - 1));
        assert_eq!(Cut(&long).to_string(), format!("{}…", "x".repeat(MAX_TEXT_BYTES - 1)));
    }
}
