//! The outermost layer: request ids, the response headers that name the backend, an error response for a request that
//! panicked, and one log line for each request when its response body has ended.

mod identity;
mod panic;
mod record;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use berry_tower::{
    body::GuardedBody,
    error::BoxError,
    render::{Refusal, Render, RequestSummary},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Either;
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use uuid::Uuid;

pub(crate) use identity::RequestIdentity;

use super::error_shape::ErrorShape;
use crate::{observability::Observability, state::Snapshot};
use panic::catch_panic;
use record::{AccessRecord, ModelEndpoint, REQUEST_ID, RecordContext};

/// The longest request id, in bytes, that is accepted from a client.
const MAX_ID_BYTES: usize = 128;
/// The most headers that a request may have.
const MAX_HEADERS: usize = 128;
/// The most bytes that the names and values of a request's headers may have together.
const MAX_HEADER_BYTES: usize = 48 * 1024;

/// [`Layer`] that applies [`AccessLog`].
#[derive(Clone, Debug)]
pub(crate) struct AccessLogLayer(RecordContext);

impl AccessLogLayer {
    pub(crate) fn new(snapshot: Arc<Snapshot>, observability: Observability, errors: ErrorShape) -> Self {
        Self(RecordContext { snapshot, observability, endpoint: None, errors })
    }

    /// Sets the endpoint of model requests that the layer stands before.
    pub(crate) fn with_endpoint(self, path: &str) -> Self {
        let route = self.0.observability.metrics.route(path);
        let endpoint = Some(Arc::new(ModelEndpoint { path: path.into(), route }));
        Self(RecordContext { endpoint, ..self.0 })
    }
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> AccessLog<S> {
        AccessLog { inner, context: self.0.clone() }
    }
}

/// Gives every request an id and writes its log line when it is finished.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog<S> {
    inner: S,
    context: RecordContext,
}

/// The inner body or the layer's own, with the record that is written at its end.
pub(crate) type AccessLogBody<B> = GuardedBody<Either<B, Body>, Box<AccessRecord>>;

impl<S, R, B> Service<Request<R>> for AccessLog<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<AccessLogBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let id = request_id(request.headers());
        let errors = self.context.errors;
        let record = Box::new(AccessRecord::new(id.clone(), &mut request, &self.context));
        if has_too_many_headers(request.headers()) {
            return ResponseFuture { stage: Stage::Refused(Some(headers_too_large())), record: Some(record), errors };
        }
        request.headers_mut().insert(REQUEST_ID, id);
        record.insert_slots(request.extensions_mut());
        let stage = match catch_panic(|| self.inner.call(request)) {
            Ok(call) => Stage::Called(call),
            Err(panic) => Stage::Refused(Some(record.log_panic(&panic))),
        };
        ResponseFuture { stage, record: Some(record), errors }
    }
}

/// Returns the client's own id if it is short printable ASCII, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_valid =
        |id: &&HeaderValue| (1..=MAX_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    headers.get(REQUEST_ID).filter(is_valid).cloned().unwrap_or_else(|| {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = Uuid::new_v4().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("unknown"))
    })
}

fn has_too_many_headers(headers: &HeaderMap) -> bool {
    let bytes = || headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    headers.len() > MAX_HEADERS || bytes() > MAX_HEADER_BYTES
}

fn headers_too_large() -> Refusal {
    let message =
        format!("the request has more than {MAX_HEADERS} headers, or more than {MAX_HEADER_BYTES} bytes of them");
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Refusal::new(status, "invalid_request_error", message).code("headers_too_large")
}

/// The future of [`AccessLog`].
#[pin_project]
#[derive(Debug)]
pub(crate) struct ResponseFuture<F> {
    #[pin]
    stage: Stage<F>,
    record: Option<Box<AccessRecord>>,
    errors: ErrorShape,
}

#[pin_project(project = StageProj)]
#[derive(Debug)]
enum Stage<F> {
    Called(#[pin] F),
    /// Refused by this layer itself.
    Refused(Option<Refusal>),
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<AccessLogBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let refusal = match this.stage.project() {
            StageProj::Called(call) => {
                // The result leaves through a variable: a value returned from `catch_panic` is moved at every poll.
                let mut result = None;
                let poll = || {
                    if let Poll::Ready(response) = call.poll(cx) {
                        result = Some(response);
                    }
                };
                match catch_panic(poll) {
                    Ok(()) => {
                        let Some(result) = result else { return Poll::Pending };
                        let Some(record) = this.record.take() else { return Poll::Pending };
                        return Poll::Ready(result.map(|response| record.instrument(response.map(Either::Left))));
                    }
                    Err(panic) => this.record.as_ref().map(|record| record.log_panic(&panic)),
                }
            }
            StageProj::Refused(refusal) => refusal.take(),
        };
        let (Some(refusal), Some(record)) = (refusal, this.record.take()) else { return Poll::Pending };
        let summary = RequestSummary::default().with_request_id(Some(record.id().clone()));
        let response = this.errors.render(refusal, &summary).map(Body::from);
        Poll::Ready(Ok(record.instrument(response.map(Either::Right))))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// Returns the response to a request whose service panics in `call`, or later.
    async fn response_of_a_panic(errors: ErrorShape, later: bool) -> (HeaderMap, Value) {
        let snapshot = crate::state::tests::snapshot();
        let inner = service_fn(move |_: Request<Body>| {
            assert!(later, "at once");
            async move {
                tokio::task::yield_now().await;
                assert!(!later, "later");
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        });
        let request = Request::post("/v1/messages").header(REQUEST_ID, "mine").body(Body::empty()).unwrap();
        let layer = AccessLogLayer::new(snapshot, Observability::new(), errors).with_endpoint("/v1/messages");
        let response = layer.layer(inner).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        let (head, body) = response.into_parts();
        (head.headers, serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap())
    }

    /// The names of the access line's fields, of which each line has those with a value.
    #[derive(Clone, Default)]
    struct Schema(Arc<std::sync::OnceLock<Vec<&'static str>>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Schema {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            if event.metadata().target() == record::TARGET {
                let _ = self.0.set(event.metadata().fields().iter().map(|field| field.name()).collect());
            }
        }
    }

    #[tokio::test]
    async fn guide_lists_exactly_the_fields_of_the_access_line() {
        use tracing_subscriber::layer::SubscriberExt;
        let schema = Schema::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(schema.clone()));
        // Other tests of the process may have met the line's callsite without a subscriber, and
        // may end a subscriber of theirs between the rebuild and the line.
        for _ in 0..1_000 {
            tracing::callsite::rebuild_interest_cache();
            response_of_a_panic(ErrorShape::OpenAi, false).await;
            if schema.0.get().is_some() {
                break;
            }
        }
        drop(guard);
        let fields = schema.0.get().unwrap().iter().copied().filter(|name| *name != "message");
        let guide = include_str!("../../../docs/operations.md");
        let table = guide.split("| field | meaning |").nth(1).unwrap().split("\n\n").next().unwrap();
        let listed = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        assert_eq!(listed.collect::<Vec<_>>(), fields.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn answers_a_panic_in_the_shape_of_the_api() {
        for later in [false, true] {
            let (headers, body) = response_of_a_panic(ErrorShape::OpenAi, later).await;
            assert_eq!(
                (&headers[REQUEST_ID], &body["error"]["code"]),
                (&"mine".parse().unwrap(), &json!("internal_error"))
            );
            assert!(body["error"]["message"].as_str().unwrap().starts_with("internal error"), "{body}");
            let (headers, body) = response_of_a_panic(ErrorShape::Anthropic, later).await;
            assert_eq!((&headers["request-id"], &body["request_id"]), (&"mine".parse().unwrap(), &json!("mine")));
            assert_eq!(body["error"]["type"], json!("api_error"), "{body}");
        }
    }
}
