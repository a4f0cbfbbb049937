//! The bodies of requests and answers in the log, for those who ask for them.
//!
//! Nothing is kept or copied unless a setting says so and somebody listens at `debug`. A line holds
//! the beginning of a body, without the configuration's keys and tokens.

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

/// The longest beginning of a body that is logged, in bytes.
const LONGEST: usize = 16 * 1024;
/// How much more is looked at, so that a key which the end would cut is known as one.
const BEYOND: usize = 4 * 1024;

/// Logs bodies.
#[derive(Clone, Debug)]
pub(crate) struct BodyLogLayer {
    requests: bool,
    answers: bool,
    mask: Arc<Mask>,
}

impl BodyLogLayer {
    /// What the settings ask for; `None` is nothing.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let (requests, answers) = (config.settings.log_request_body, config.settings.log_response_body);
        (requests || answers).then(|| Self { requests, answers, mask: Arc::new(Mask::new(config)) })
    }
}

impl<S> Layer<S> for BodyLogLayer {
    type Service = BodyLog<S>;

    fn layer(&self, inner: S) -> BodyLog<S> {
        BodyLog { inner, what: self.clone() }
    }
}

/// Adds the log to a service's bodies.
#[derive(Clone, Debug)]
pub(crate) struct BodyLog<S> {
    inner: S,
    what: BodyLogLayer,
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
        let BodyLogLayer { requests, answers, mask } = &self.what;
        let on = tracing::enabled!(tracing::Level::DEBUG);
        let id = request.headers().get("x-request-id").cloned();
        let line = |what| Line { what, id: id.clone(), mask: mask.clone(), kept: Vec::new(), length: 0, text: true };
        let request = request.map(|inner| {
            if on && *requests {
                Either::Right(LoggedBody { inner, line: line("request body") })
            } else {
                Either::Left(inner)
            }
        });
        let answer = (on && *answers).then(|| line("response body"));
        ResponseFuture { call: self.inner.call(request), answer }
    }
}

/// The future of [`BodyLog`].
#[pin_project]
#[derive(Debug)]
pub(crate) struct ResponseFuture<F> {
    #[pin]
    call: F,
    answer: Option<Line>,
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Either<B, LoggedBody<B>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.call.poll(cx))?;
        Poll::Ready(Ok(match this.answer.take() {
            Some(mut line) => {
                line.text = is_text(response.headers());
                response.map(|inner| Either::Right(LoggedBody { inner, line }))
            }
            None => response.map(Either::Left),
        }))
    }
}

fn is_text(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    ["application/json", "text/"].iter().any(|text| media.starts_with(text))
}

/// A body whose beginning is kept for the log.
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

/// A line of the log in the making, written when the body is let go: at its end, or wherever its
/// reader has left it.
struct Line {
    what: &'static str,
    id: Option<HeaderValue>,
    mask: Arc<Mask>,
    kept: Vec<u8>,
    /// Of all that has passed.
    length: u64,
    /// Whether it is a text, rather than speech or an image.
    text: bool,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Line {
    fn read(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        let room = (LONGEST + BEYOND).saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn body(&self) -> String {
        if !self.text {
            return "(no text)".to_owned();
        }
        let mut text = self.mask.text(&String::from_utf8_lossy(&self.kept));
        let cut = self.length > self.kept.len() as u64;
        if cut || self.kept.len() > LONGEST {
            // What was masked made it shorter, and a key that the end has cut was not known as one.
            let whole = text.len().saturating_sub(if cut { self.mask.longest() } else { 0 });
            text.truncate((0..=LONGEST.min(whole)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default());
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
