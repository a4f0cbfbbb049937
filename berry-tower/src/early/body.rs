//! A body that speaks when the upstream is silent.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use serde_json::Value;
use tokio::time::{Instant, Sleep, sleep_until};

use super::EarlyLayer;
use crate::{
    ending::Ending, error::BoxError, error_response::refusal_for, progress::Progress, render::Refusal, sse::Grammar,
};

const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

type Next = Option<Result<Frame<Bytes>, BoxError>>;

/// See the [module](super).
#[pin_project]
#[derive(Debug)]
pub struct EarlyBody<F, B> {
    #[pin]
    source: Source<F, B>,
    /// `None`: it is no stream, and passes as it is.
    open: Option<Open>,
    ending: Option<Ending>,
}

#[pin_project(project = SourceProj)]
enum Source<F, B> {
    /// The head has gone first; nobody has answered yet.
    Waiting(Pin<Box<F>>, Grammar),
    /// The answer came late, and it is an error: it is read, to be told as an event.
    Refused(#[pin] B, BytesMut, StatusCode, Grammar),
    /// The answer.
    Answered(#[pin] B, Option<Progress>),
}

impl<F, B> fmt::Debug for Source<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting(..) => "Waiting",
            Self::Refused(..) => "Refused",
            Self::Answered(..) => "Answered",
        })
    }
}

/// What an open stream waits for beside its upstream.
struct Open {
    keep_alive: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    silent_since: Option<Instant>,
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("keep_alive", &self.keep_alive).finish_non_exhaustive()
    }
}

impl Open {
    fn new(layer: &EarlyLayer) -> Self {
        let stop =
            layer.stop.clone().map(|stop| -> Pin<Box<dyn Future<Output = ()> + Send>> { Box::pin(stop.started()) });
        Self { keep_alive: layer.keep_alive, timer: None, silent_since: None, stop }
    }

    fn stopped(&mut self, cx: &mut Context<'_>) -> bool {
        let stopped = self.stop.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready());
        if stopped {
            self.stop = None;
        }
        stopped
    }

    /// Whether the client has heard nothing for long enough.
    fn silent(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(after) = self.keep_alive else { return false };
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(since + after)));
        // The timer is left to run out rather than set anew at every frame, which is dearer.
        while timer.as_mut().poll(cx).is_ready() {
            let due = since + after;
            if timer.deadline() >= due {
                self.silent_since = None;
                return true;
            }
            timer.as_mut().reset(due);
        }
        false
    }
}

/// The head that goes before any backend has answered.
pub(super) fn early_head<F, B>(body: EarlyBody<F, B>) -> Response<EarlyBody<F, B>> {
    let mut response = Response::new(body);
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl<F, B> EarlyBody<F, B> {
    /// An answer that came before its head had to go.
    pub(super) fn answered(body: B, progress: Option<Progress>, layer: &EarlyLayer) -> Self {
        let open = progress.is_some().then(|| Open::new(layer));
        Self { source: Source::Answered(body, progress), open, ending: None }
    }

    /// Nobody has answered yet.
    pub(super) fn waiting(call: Pin<Box<F>>, grammar: Grammar, layer: &EarlyLayer) -> Self {
        Self { source: Source::Waiting(call, grammar), open: Some(Open::new(layer)), ending: None }
    }

    fn end(self: Pin<&mut Self>, refusal: &Refusal, error: BoxError, cx: &mut Context<'_>) -> Poll<Next> {
        let this = self.project();
        let (grammar, between) = this.source.state();
        this.ending.insert(Ending::told(grammar, refusal, between, error)).poll(cx)
    }
}

impl<F, B> Source<F, B> {
    /// The grammar, and whether a comment may follow now.
    fn state(&self) -> (Grammar, bool) {
        match self {
            Self::Waiting(_, grammar) | Self::Refused(.., grammar) => (*grammar, true),
            Self::Answered(_, Some(progress)) => (progress.grammar(), progress.between_events()),
            Self::Answered(_, None) => (Grammar::Opaque, false),
        }
    }
}

impl<B: From<Bytes>, F> From<Bytes> for EarlyBody<F, B> {
    fn from(bytes: Bytes) -> Self {
        Self { source: Source::Answered(B::from(bytes), None), open: None, ending: None }
    }
}

impl<F, B, E> EarlyBody<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// What the source has to give, through the stages before the answer too.
    fn poll_source(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            let mut source = self.as_mut().project().source;
            match source.as_mut().project() {
                SourceProj::Waiting(call, grammar) => match ready!(call.as_mut().poll(cx)) {
                    Ok(response) if response.status().is_success() => {
                        let progress = response.extensions().get::<Progress>().cloned();
                        source.set(Source::Answered(response.into_body(), progress));
                    }
                    Ok(response) => {
                        let (status, grammar) = (response.status(), *grammar);
                        source.set(Source::Refused(response.into_body(), BytesMut::new(), status, grammar));
                    }
                    Err(error) => {
                        let error = error.into();
                        return self.end(&refusal_for(&*error), error, cx);
                    }
                },
                SourceProj::Refused(body, read, status, _) => match ready!(body.poll_frame(cx)) {
                    Some(Ok(frame)) => read.extend(frame.into_data().ok()),
                    _ => {
                        let refusal = refusal_in(*status, read);
                        return self.end(&refusal, "the provider refused the request".into(), cx);
                    }
                },
                SourceProj::Answered(body, _) => {
                    return body.poll_frame(cx).map(|next| next.map(|frame| frame.map_err(Into::into)));
                }
            }
        }
    }
}

/// The refusal that an error answer in OpenAI's shape tells of.
fn refusal_in(status: StatusCode, body: &[u8]) -> Refusal {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| value["error"][name].as_str().map(ToOwned::to_owned);
    let message = text("message").unwrap_or_else(|| format!("the provider answered {}", status.as_u16()));
    let mut refusal = Refusal::new(status, text("type").unwrap_or_else(|| "server_error".into()), message);
    refusal.code = text("code").map(Into::into);
    refusal.param = text("param").map(Into::into);
    refusal
}

impl<F, B, E> Body for EarlyBody<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        if let Some(ending) = self.as_mut().project().ending {
            return ending.poll(cx);
        }
        let next = self.as_mut().poll_source(cx);
        let this = self.as_mut().project();
        let Some(open) = this.open else { return next };
        if next.is_ready() {
            open.silent_since = None;
            return next;
        }
        // What has just begun to end needs its flush, and no comment.
        if this.ending.is_some() {
            return next;
        }
        if open.stopped(cx) {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the gateway is shutting down")
                .code("shutting_down");
            return self.end(&refusal, "the gateway is shutting down".into(), cx);
        }
        while open.silent(cx) {
            if matches!(&*this.source, Source::Answered(_, Some(p)) if !p.between_events()) {
                continue;
            }
            return Poll::Ready(Some(Ok(Frame::data(KEEP_ALIVE))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ending.is_none() && matches!(&self.source, Source::Answered(body, _) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Answered(body, None) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}
