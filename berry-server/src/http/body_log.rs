//! Logs the bodies of requests and responses.
//!
//! Nothing is kept or copied unless a setting asks for it and the level `debug` is enabled. A line holds the beginning of
//! a body, without the configuration's keys and tokens.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{config::Config, http::mask::Mask};

/// The most bytes of a body that are logged.
const MAX_LOGGED: usize = 16 * 1024;
/// The bytes that are read beyond that, so that a key at the cut is recognised.
const LOOKAHEAD: usize = 4 * 1024;

/// [`Layer`] that applies [`BodyLog`].
#[derive(Clone, Debug)]
pub(crate) struct BodyLogLayer {
    requests: bool,
    responses: bool,
    mask: Arc<Mask>,
}

impl BodyLogLayer {
    /// Returns the layer, or `None` if no setting asks for bodies.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let (requests, responses) = (config.settings.log_request_body, config.settings.log_response_body);
        (requests || responses).then(|| Self { requests, responses, mask: Arc::new(Mask::new(config)) })
    }
}

impl<S> Layer<S> for BodyLogLayer {
    type Service = BodyLog<S>;

    fn layer(&self, inner: S) -> BodyLog<S> {
        BodyLog { inner, layer: self.clone() }
    }
}

/// Logs the bodies of a service.
#[derive(Clone, Debug)]
pub(crate) struct BodyLog<S> {
    inner: S,
    layer: BodyLogLayer,
}

impl<S, R, B> Service<Request<R>> for BodyLog<S>
where
    S: Service<Request<Either<R, LoggedBody<R>>>, Response = Response<B>>,
{
    type Response = Response<Either<B, LoggedBody<B>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let BodyLogLayer { requests, responses, mask } = &self.layer;
        let is_enabled = tracing::enabled!(tracing::Level::DEBUG);
        let id = request.headers().get("x-request-id").cloned();
        let line = |what| Line { what, id: id.clone(), mask: mask.clone(), kept: Vec::new(), length: 0, is_text: true };
        let request = request.map(|inner| {
            if is_enabled && *requests {
                Either::Right(LoggedBody { inner, line: line("request body") })
            } else {
                Either::Left(inner)
            }
        });
        let response = (is_enabled && *responses).then(|| line("response body"));
        ResponseFuture { call: self.inner.call(request), response }
    }
}

/// The future of [`BodyLog`].
#[pin_project]
#[derive(Debug)]
pub(crate) struct ResponseFuture<F> {
    #[pin]
    call: F,
    response: Option<Line>,
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Either<B, LoggedBody<B>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.call.poll(cx))?;
        Poll::Ready(Ok(match this.response.take() {
            Some(mut line) => {
                line.is_text = has_text(response.headers());
                response.map(|inner| Either::Right(LoggedBody { inner, line }))
            }
            None => response.map(Either::Left),
        }))
    }
}

fn has_text(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    ["application/json", "text/"].iter().any(|text| media.starts_with(text))
}

/// A body whose beginning is logged.
#[pin_project]
#[derive(Debug)]
pub(crate) struct LoggedBody<B> {
    #[pin]
    inner: B,
    line: Line,
}

impl<B: Body<Data = Bytes>> Body for LoggedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            this.line.read(bytes);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The log line of a body, written when the body is dropped.
struct Line {
    what: &'static str,
    id: Option<HeaderValue>,
    mask: Arc<Mask>,
    kept: Vec<u8>,
    /// The number of bytes that have passed.
    length: u64,
    /// Whether the body is text.
    is_text: bool,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Line {
    fn read(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        let room = (MAX_LOGGED + LOOKAHEAD).saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn body(&self) -> String {
        if !self.is_text {
            return "(not text)".to_owned();
        }
        let mut text = self.mask.text(&String::from_utf8_lossy(&self.kept));
        let cut = self.length > self.kept.len() as u64;
        if cut || self.kept.len() > MAX_LOGGED {
            // Masking may have shortened the text, and a key at the cut was not recognised.
            let whole = text.len().saturating_sub(if cut { self.mask.longest() } else { 0 });
            text.truncate(
                (0..=MAX_LOGGED.min(whole)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default(),
            );
            text.push('…');
        }
        text
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let request_id = self.id.as_ref().and_then(|id| id.to_str().ok());
        tracing::debug!(request_id, bytes = self.length, body = self.body(), "{}", self.what);
    }
}
