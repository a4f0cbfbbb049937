//! The response body of Early.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use serde_json::Value;
use tokio::time::{Instant, Sleep, sleep_until};

use super::EarlyLayer;
use crate::{
    attempt::Attempt,
    ending::Ending,
    error::{BoxError, Exhausted, find},
    error_response::refusal_for,
    failed_response::SentEvents,
    progress::{CommitPoint, Grammar, Progress},
    render::Refusal,
};

const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// The most bytes of a late error response that are read for the error event.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// The most frames of it that are read before other tasks run.
const MAX_FRAMES_PER_POLL: usize = 32;

type StopFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
type NextFrame = Option<Result<Frame<Bytes>, BoxError>>;

/// The response body of [`Early`](super::Early).
#[pin_project]
#[derive(Debug)]
pub struct EarlyBody<F, B> {
    #[pin]
    source: Source<F, B>,
    /// `None` for a body that is no stream and passes unchanged.
    watch: Option<Watch>,
    ending: Option<Ending>,
    /// What the client has of a Responses stream, which its end repeats.
    sent: Option<Box<SentEvents>>,
}

#[pin_project(project = SourceProj)]
enum Source<F, B> {
    /// The head was sent early, with this progress, and no backend has answered yet.
    Pending(Pin<Box<F>>, Progress),
    /// An error response came after the head. It is read so that the error event can quote it.
    Refused(#[pin] B, BytesMut, StatusCode, Progress),
    /// The response.
    Response(#[pin] B, Option<Progress>),
}

impl<F, B> fmt::Debug for Source<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending(..) => "Pending",
            Self::Refused(..) => "Refused",
            Self::Response(..) => "Response",
        })
    }
}

/// What an open stream waits for beside its upstream.
struct Watch {
    keep_alive: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    silent_since: Option<Instant>,
    stop: Option<StopFuture>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("keep_alive", &self.keep_alive).finish_non_exhaustive()
    }
}

impl Watch {
    fn new(layer: &EarlyLayer) -> Self {
        let stop = layer.stop.clone().map(|stop| -> StopFuture { Box::pin(stop.started()) });
        Self { keep_alive: layer.keep_alive, timer: None, silent_since: None, stop }
    }

    fn is_stopped(&mut self, cx: &mut Context<'_>) -> bool {
        let is_stopped = self.stop.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready());
        if is_stopped {
            self.stop = None;
        }
        is_stopped
    }

    /// Whether the client has received nothing for the interval of keep-alives.
    fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(interval) = self.keep_alive else { return false };
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        // An interval beyond the end of the clock never passes.
        let Some(due) = since.checked_add(interval) else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        // Letting the timer elapse is cheaper than setting it anew at every frame.
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= due {
                self.silent_since = None;
                return true;
            }
            timer.as_mut().reset(due);
        }
        false
    }
}

impl<F, B> EarlyBody<F, B> {
    /// Returns the body of a response that came before its head was due.
    pub(super) fn response(body: B, progress: Option<Progress>, layer: &EarlyLayer) -> Self {
        let watch = progress.is_some().then(|| Watch::new(layer));
        let sent = sent(progress.as_ref());
        Self { source: Source::Response(body, progress), watch, ending: None, sent }
    }

    /// Returns the response whose head is sent before a backend has answered.
    pub(super) fn early_response(call: Pin<Box<F>>, grammar: Grammar, layer: &EarlyLayer) -> Response<Self> {
        let progress = Progress::new(CommitPoint::Output, grammar);
        let source = Source::Pending(call, progress.clone());
        let sent = sent(Some(&progress));
        let mut response = Response::new(Self { source, watch: Some(Watch::new(layer)), ending: None, sent });
        for (name, value) in [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache"),
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response.extensions_mut().insert(progress);
        response
    }

    /// Ends the stream with an error event.
    fn end(self: Pin<&mut Self>, refusal: &Refusal, error: BoxError, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let this = self.project();
        match this.source.progress() {
            Some(progress) => {
                let ending = Ending::with_error_event(progress, refusal, error, this.sent.as_deref());
                this.ending.insert(ending).poll(cx)
            }
            None => Poll::Ready(Some(Err(error))),
        }
    }
}

/// An empty body, as tower-http's `Cors` and `Timeout` need for their own responses.
impl<F, B: Default> Default for EarlyBody<F, B> {
    fn default() -> Self {
        Self { source: Source::Response(B::default(), None), watch: None, ending: None, sent: None }
    }
}

impl<F, B> Source<F, B> {
    const fn progress(&self) -> Option<&Progress> {
        match self {
            Self::Pending(_, progress) | Self::Refused(.., progress) => Some(progress),
            Self::Response(_, progress) => progress.as_ref(),
        }
    }
}

impl<F, B, E> EarlyBody<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Returns the next frame of the response, after the stages before it.
    fn poll_source(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let mut frames = 0;
        loop {
            let mut source = self.as_mut().project().source;
            match source.as_mut().project() {
                SourceProj::Pending(call, progress) => match ready!(call.as_mut().poll(cx)) {
                    Ok(response) => {
                        let progress = progress.clone();
                        announce(&response, &progress);
                        let status = response.status();
                        let body = response.into_body();
                        source.set(if status.is_success() {
                            Source::Response(body, Some(progress))
                        } else {
                            Source::Refused(body, BytesMut::new(), status, progress)
                        });
                    }
                    Err(error) => {
                        let error = error.into();
                        if let Some(exhausted) = find::<Exhausted>(&*error) {
                            progress.set_attempts(exhausted.attempts);
                        }
                        return self.end(&refusal_for(&*error), error, cx);
                    }
                },
                SourceProj::Refused(body, read, status, _) => {
                    if frames == MAX_FRAMES_PER_POLL {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    frames += 1;
                    let frame = ready!(body.poll_frame(cx)).and_then(Result::ok);
                    let has_more = frame.is_some();
                    if let Some(data) = frame.and_then(|frame| frame.into_data().ok()) {
                        read.put(data.take(MAX_REFUSAL_BYTES - read.len()));
                    }
                    if !has_more || read.len() == MAX_REFUSAL_BYTES {
                        let refusal = refusal_in(*status, read);
                        return self.end(&refusal, "the provider refused the request".into(), cx);
                    }
                }
                SourceProj::Response(body, _) => {
                    let frame = ready!(body.poll_frame(cx));
                    let into_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
                    return Poll::Ready(frame.map(|frame| frame.map(|f| f.map_data(into_bytes)).map_err(Into::into)));
                }
            }
        }
    }
}

/// Returns an empty record of what a client has, for streams whose end repeats it.
fn sent(progress: Option<&Progress>) -> Option<Box<SentEvents>> {
    progress.filter(|progress| progress.grammar() == Grammar::Responses).map(|_| Box::default())
}

/// Records in the progress of an early head what its response is.
fn announce<B>(response: &Response<B>, progress: &Progress) {
    if let Some(attempt) = response.extensions().get::<Attempt>() {
        progress.set_continued_by(attempt);
    }
    if let Some(source) = response.extensions().get::<Progress>() {
        progress.follow(source.clone());
    }
}

/// Returns the refusal that an error response in OpenAI's shape describes.
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
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextFrame> {
        if let Some(ending) = self.as_mut().project().ending {
            return ending.poll(cx);
        }
        let next = self.as_mut().poll_source(cx);
        let this = self.as_mut().project();
        let Some(watch) = this.watch else { return next };
        if next.is_ready() {
            watch.silent_since = None;
            if let (Some(sent), Poll::Ready(Some(Ok(frame)))) = (this.sent, &next)
                && let Some(data) = frame.data_ref()
            {
                sent.record(data);
            }
            return next;
        }
        // A stream that has begun to end needs its flush, and no comment.
        if this.ending.is_some() {
            return next;
        }
        if watch.is_stopped(cx) {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the server is shutting down")
                .code("shutting_down");
            return self.end(&refusal, "the server is shutting down".into(), cx);
        }
        while watch.is_silent(cx) {
            if this.source.progress().is_none_or(Progress::between_events) {
                return Poll::Ready(Some(Ok(Frame::data(KEEP_ALIVE))));
            }
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ending.is_none() && matches!(&self.source, Source::Response(body, _) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Response(body, None) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}
