//! The outermost layer: request ids, the headers that tell where an answer came from, an answer for
//! a request that panicked, and one log line for each request when its answer has ended.

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
    render::{Refusal, Render},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Either;
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use uuid::Uuid;

pub(crate) use identity::Who;

use crate::{app::Snapshot, http::routes::Errors, observability::metrics::Known};
use panic::caught;
use record::Story;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
        request.extensions_mut().insert(story.who().clone());
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
        let response = this.errors.render(refusal, Some(story.id())).map(Body::from);
        Poll::Ready(Ok(story.told_by(response.map(Either::Right))))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::{app::App, http::routes::MESSAGES};

    /// What a client gets of a service that panics at its call, or later.
    async fn told(errors: Errors, later: bool) -> (HeaderMap, Value) {
        let app = App::of_one_model("");
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
