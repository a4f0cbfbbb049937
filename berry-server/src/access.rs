//! The outermost layer: request ids, the headers that tell where an answer came from, an answer for
//! a request that panicked, and one log line for each request when its answer has ended.

mod panics;
mod who;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use berry_tower::{
    attempt::{Attempt, ServedBy},
    body::{End, Guard, GuardedBody},
    error::{BoxError, Exhausted, find},
    error_response::Cause,
    progress::Progress,
    rate_limit::Limited,
    render::{Refusal, Render},
    select::For,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Either;
use pin_project::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use uuid::Uuid;

pub(crate) use who::Who;

#[cfg(feature = "observability")]
use crate::history::{Finished, How};
use crate::{
    app::Snapshot,
    connection::Serving,
    metrics::{Known, Measured},
    routes::{Errors, MESSAGES},
};
use panics::{Panicked, caught, mistake};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const BACKEND: HeaderName = HeaderName::from_static("x-berry-backend");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-berry-attempts");

/// What is said of a request whose client went away before the end.
const CANCELLED: &str = "cancelled";

/// The longest id that is taken over from a client.
const LONGEST_ID: usize = 128;
/// The most headers that a request may have, and their longest sum.
const MOST_HEADERS: usize = 128;
const MOST_HEADER_BYTES: usize = 48 * 1024;

/// Adds [`Access`] to a service.
#[derive(Clone, Debug)]
pub(crate) struct AccessLayer {
    snapshot: Arc<Snapshot>,
    endpoint: Option<Arc<KnownEndpoint>>,
    /// The shape of its own refusals.
    errors: Errors,
}

impl AccessLayer {
    pub(crate) fn new(snapshot: Arc<Snapshot>, errors: Errors) -> Self {
        Self { snapshot, endpoint: None, errors }
    }

    /// In front of one endpoint that is asked for models.
    pub(crate) fn of(self, path: &str) -> Self {
        let route = self.snapshot.shared.metrics.route(path);
        Self { endpoint: Some(Arc::new(KnownEndpoint { path: path.into(), route })), ..self }
    }
}

/// What need not be found out for each request.
#[derive(Debug)]
struct KnownEndpoint {
    path: Arc<str>,
    route: Known,
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { inner, layer: self.clone() }
    }
}

/// Names every request, and tells of it when it is over.
#[derive(Clone, Debug)]
pub(crate) struct Access<S> {
    inner: S,
    layer: AccessLayer,
}

/// An answer's body, or that of a refusal of the layer's own, with its story.
pub(crate) type AccessBody<B> = GuardedBody<Either<B, Body>, Box<Story>>;

impl<S, R, B> Service<Request<R>> for Access<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<AccessBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let id = request_id(request.headers());
        let errors = self.layer.errors;
        let story = Box::new(Story::new(id.clone(), &mut request, &self.layer));
        if too_many_headers(request.headers()) {
            return ResponseFuture { stage: Stage::Refused(Some(headers_too_large())), story: Some(story), errors };
        }
        request.headers_mut().insert(REQUEST_ID, id);
        request.extensions_mut().insert(story.user.clone());
        let stage = match caught(|| self.inner.call(request)) {
            Ok(call) => Stage::Called(call),
            Err(panic) => Stage::Refused(Some(story.panicked(&panic))),
        };
        ResponseFuture { stage, story: Some(story), errors }
    }
}

/// The client's own id where it is fit to be repeated, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fit =
        |id: &&HeaderValue| (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    headers.get(REQUEST_ID).filter(fit).cloned().unwrap_or_else(|| {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = Uuid::new_v4().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("unknown"))
    })
}

fn too_many_headers(headers: &HeaderMap) -> bool {
    let bytes = || headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    headers.len() > MOST_HEADERS || bytes() > MOST_HEADER_BYTES
}

fn headers_too_large() -> Refusal {
    let message = "the request's headers are more, or longer, than this gateway takes";
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Refusal::new(status, "invalid_request_error", message).code("headers_too_large")
}

/// The future of [`Access`].
#[pin_project]
#[derive(Debug)]
pub(crate) struct ResponseFuture<F> {
    #[pin]
    stage: Stage<F>,
    story: Option<Box<Story>>,
    errors: Errors,
}

#[pin_project(project = StageProj)]
#[derive(Debug)]
enum Stage<F> {
    Called(#[pin] F),
    /// By this layer itself.
    Refused(Option<Refusal>),
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<AccessBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let refusal = match this.stage.project() {
            StageProj::Called(call) => {
                // Handed out this way, since what is caught around is moved at every poll.
                let mut answered = None;
                let poll = || {
                    if let Poll::Ready(answer) = call.poll(cx) {
                        answered = Some(answer);
                    }
                };
                match caught(poll) {
                    Ok(()) => {
                        let Some(answer) = answered else { return Poll::Pending };
                        let Some(story) = this.story.take() else { return Poll::Pending };
                        return Poll::Ready(answer.map(|answer| story.told_by(answer.map(Either::Left))));
                    }
                    Err(panic) => this.story.as_ref().map(|story| story.panicked(&panic)),
                }
            }
            StageProj::Refused(refusal) => refusal.take(),
        };
        let (Some(refusal), Some(story)) = (refusal, this.story.take()) else { return Poll::Pending };
        let response = this.errors.render(refusal, Some(&story.id)).map(Body::from);
        Poll::Ready(Ok(story.told_by(response.map(Either::Right))))
    }
}

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
    model: Option<For>,
    attempts: u32,
    progress: Option<Progress>,
    told: bool,
    connection: Option<Serving>,
    snapshot: Arc<Snapshot>,
    measured: Measured,
}

impl Story {
    fn new<R>(id: HeaderValue, request: &mut Request<R>, layer: &AccessLayer) -> Self {
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

    /// Logs a panic; gives what the client is told.
    fn panicked(&self, Panicked(panic): &Panicked) -> Refusal {
        tracing::error!(request_id = self.id.to_str().unwrap_or_default(), panic, "a request panicked");
        mistake()
    }

    /// Goes on with the answer, to its end.
    fn told_by<B>(mut self: Box<Self>, mut response: Response<B>) -> Response<GuardedBody<B, Box<Self>>>
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
        if let Some(limit) = extensions.remove::<Limited>() {
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
        if let Some(For(model)) = &self.model {
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::{app::App, config};

    const FILE: &str = r#"
        [users.me]
        token = "token-of-mine-0123456789"
        [providers.p]
        base_url = "http://127.0.0.1:9"
        api_key = ""
        models = ["m"]
        [models.m]
        name = "m"
        [[models.m.backends]]
        provider = "p"
        model = "m"
        probe = "none"
    "#;

    /// What a client gets of a service that panics at its call, or later.
    async fn told(errors: Errors, later: bool) -> (HeaderMap, Value) {
        let app = App::new(config::parse(FILE, &|_| None).unwrap()).unwrap();
        let inner = service_fn(move |_: Request<Body>| {
            assert!(later, "at once");
            async move {
                tokio::task::yield_now().await;
                assert!(!later, "later");
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        });
        let request = Request::post(MESSAGES).header(REQUEST_ID, "mine").body(Body::empty()).unwrap();
        let response =
            AccessLayer::new(app.snapshot(), errors).of(MESSAGES).layer(inner).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        let (head, body) = response.into_parts();
        (head.headers, serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap())
    }

    #[tokio::test]
    async fn whoever_panics_the_client_is_told_in_the_shape_of_its_api() {
        for later in [false, true] {
            let (headers, body) = told(Errors::OpenAi, later).await;
            assert_eq!(
                (&headers[REQUEST_ID], &body["error"]["code"]),
                (&"mine".parse().unwrap(), &json!("internal_error"))
            );
            let (headers, body) = told(Errors::Anthropic, later).await;
            assert_eq!((&headers["request-id"], &body["request_id"]), (&"mine".parse().unwrap(), &json!("mine")));
            assert_eq!(body["error"]["type"], json!("api_error"), "{body}");
        }
    }
}
