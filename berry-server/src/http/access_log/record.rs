//! What there is to tell of a request: to its client in headers, to the operators in one log line,
//! metrics and history when its answer has ended.

use std::{sync::Arc, time::Duration};

use berry_tower::{
    attempt::{Attempt, ServedBy},
    body::{End, Guard, GuardedBody},
    error::{Exhausted, find},
    error_response::Cause,
    progress::Progress,
    rate_limit::LimitKind,
    render::Refusal,
    select::RoutedModel,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::time::Instant;

use super::{
    AccessLayer, REQUEST_ID, Who,
    panic::{Panicked, mistake},
};
#[cfg(feature = "observability")]
use crate::observability::history::{Finished, How};
use crate::{app::Snapshot, http::connection::Serving, http::routes::MESSAGES, observability::metrics::Measured};

/// The target of the access line, which filters such as `RUST_LOG` name.
const TARGET: &str = "berry_server::access";

const BACKEND: HeaderName = HeaderName::from_static("x-berry-backend");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-berry-attempts");

/// What is said of a request whose client went away before the end.
const CANCELLED: &str = "cancelled";

/// A path as it is logged: whatever a client sends, a line stays a line.
fn shortened(path: &str) -> Arc<str> {
    const LONGEST: usize = 256;
    if path.len() <= LONGEST {
        path.into()
    } else {
        path.chars().take(LONGEST).chain(['…']).collect::<String>().into()
    }
}

/// What there is to tell of a request.
#[derive(Debug)]
pub(crate) struct Story {
    id: HeaderValue,
    method: Method,
    path: Arc<str>,
    /// Whether it asks for a model's answer.
    for_a_model: bool,
    started: Instant,
    status: Option<StatusCode>,
    user: Who,
    served: Option<ServedBy>,
    model: Option<RoutedModel>,
    attempts: u32,
    progress: Option<Progress>,
    told: bool,
    connection: Option<Serving>,
    snapshot: Arc<Snapshot>,
    measured: Measured,
}

impl Story {
    pub(super) fn new<R>(id: HeaderValue, request: &mut Request<R>, layer: &AccessLayer) -> Self {
        let AccessLayer { snapshot, endpoint, .. } = layer;
        let started = Instant::now();
        let route = endpoint.as_ref().map(|known| &known.route);
        Self {
            id,
            method: request.method().clone(),
            path: endpoint.as_ref().map_or_else(|| shortened(request.uri().path()), |known| known.path.clone()),
            for_a_model: endpoint.is_some(),
            started,
            status: None,
            user: Who::default(),
            served: None,
            model: None,
            attempts: 0,
            progress: None,
            told: false,
            connection: request.extensions_mut().remove(),
            snapshot: snapshot.clone(),
            measured: Measured::new(&snapshot.shared.metrics, request, route, started),
        }
    }

    pub(super) const fn id(&self) -> &HeaderValue {
        &self.id
    }

    pub(super) const fn who(&self) -> &Who {
        &self.user
    }

    /// Logs a panic; gives what the client is told.
    pub(super) fn panicked(&self, Panicked(panic): &Panicked) -> Refusal {
        tracing::error!(request_id = self.id.to_str().unwrap_or_default(), panic, "a request panicked");
        mistake()
    }

    /// Goes on with the answer, to its end.
    pub(super) fn told_by<B>(mut self: Box<Self>, mut response: Response<B>) -> Response<GuardedBody<B, Box<Self>>>
    where
        B: http_body::Body<Data = Bytes>,
    {
        self.answered(&mut response);
        response.map(|body| GuardedBody::new(body, self))
    }

    /// Takes down where the answer came from, and tells the client.
    fn answered<B>(&mut self, response: &mut Response<B>) {
        self.measured.answered();
        self.status = Some(response.status());
        let extensions = response.extensions_mut();
        self.served = extensions.remove();
        self.model = extensions.remove();
        self.progress = extensions.remove();
        if let Some(limit) = extensions.remove::<LimitKind>() {
            self.snapshot.shared.metrics.rate_limited(limit);
        }
        self.attempts = extensions.get::<Attempt>().map_or(0, Attempt::number);
        if let Some(failed) = extensions.get::<Cause>().and_then(|cause| find::<Exhausted>(&*cause.0)) {
            self.attempts = failed.attempts;
            self.served = failed.backend.clone().map(ServedBy);
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, self.id.clone());
        if *self.path == *MESSAGES {
            // By its name in Anthropic's API.
            headers.insert(HeaderName::from_static("request-id"), self.id.clone());
        }
        if let Some(ServedBy(backend)) = &self.served
            && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(
                [backend.provider.as_bytes(), b":", backend.model.as_bytes()].concat(),
            ))
        {
            headers.insert(BACKEND, value);
        }
        if self.attempts > 0 {
            // Nearly always the first.
            let once = self.attempts == 1;
            headers.insert(ATTEMPTS, if once { HeaderValue::from_static("1") } else { self.attempts.into() });
        }
        if self.progress.as_ref().is_some_and(Progress::is_stream) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        }
    }

    /// The public name of the model that answers, or else of the one that was asked for.
    fn model_name(&self) -> Option<Arc<str>> {
        if let Some(RoutedModel(model)) = &self.model {
            return Some(model.name.clone());
        }
        let asked = self.user.model()?;
        self.snapshot.catalog.load().find(asked).map(|model| model.name.clone())
    }

    fn tell(&mut self, outcome: &'static str) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        if let Some(connection) = &self.connection {
            connection.end();
        }
        let now = Instant::now();
        self.measured.ended(self.status, now);
        if outcome == CANCELLED && self.for_a_model {
            self.snapshot.shared.metrics.cancelled(self.model_name().as_deref());
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let usage = self.progress.as_ref().and_then(Progress::usage);
        #[cfg(feature = "observability")]
        self.remember(outcome, now);
        let ttft = self.progress.as_ref().and_then(Progress::first_output).map(|at| millis(at - self.started));
        tracing::info!(
            target: TARGET,
            request_id = self.id.to_str().unwrap_or_default(),
            method = self.method.as_str(),
            path = &*self.path,
            user = self.user.caller().map(|user| &*user.id),
            model = self.model.as_ref().map(|model| &*model.0.name),
            strategy = self.model.as_ref().map(|model| model.0.strategy.name()),
            provider = self.served.as_ref().map(|served| &*served.0.provider),
            backend = self.served.as_ref().map(|served| &*served.0.model),
            attempts = self.attempts,
            status = self.status.map(|status| status.as_u16()),
            outcome,
            latency_ms = millis(now - self.started),
            ttft_ms = ttft,
            input_tokens = usage.map(|usage| usage.input),
            output_tokens = usage.map(|usage| usage.output),
            cached_tokens = usage.map(|usage| usage.cached),
            "request finished"
        );
    }
}

#[cfg(feature = "observability")]
impl Story {
    /// Keeps it for the dashboard, where it is a request for a model.
    fn remember(&self, outcome: &'static str, now: Instant) {
        if !self.for_a_model {
            return;
        }
        let progress = self.progress.as_ref();
        let since = progress.and_then(Progress::first_output).unwrap_or(self.started);
        let tokens = progress.and_then(Progress::usage).map_or(0, |usage| usage.output);
        let how = match outcome {
            "complete" => How::Complete,
            "refused" => How::Refused,
            "cancelled" => How::Cancelled,
            _ => How::Failed,
        };
        let output = (tokens, now - since);
        self.snapshot.shared.history.series.record(Finished { how, latency: now - self.started, output }, now);
    }
}

impl Guard for Story {
    fn ended(&mut self, end: End<'_>) {
        let status = self.status.unwrap_or_default();
        // Whoever asked for the head alone has had all of it.
        let complete = matches!(end, End::Complete) || self.method == Method::HEAD;
        self.tell(match end {
            _ if complete && status.is_server_error() => "failed",
            _ if complete && !status.is_success() => "refused",
            _ if complete => "complete",
            End::Failed(_) => "broken",
            End::Complete | End::Dropped => CANCELLED,
        });
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        // The client went away before there was an answer.
        self.tell(CANCELLED);
    }
}
