//! A response body in the client's format, where the upstream's is another one.
//!
//! Each event of a stream is translated into one frame, which is scanned like those of any other
//! stream: the commit point, the checks at the end and the deadlines do not depend on a translation.
//! A plain response is translated when it is complete.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use eventsource_stream::{EventStream, EventStreamError, Eventsource};
use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::upstream_error;
use crate::{
    backend::Provider,
    dialect::ResponseTranslator,
    endpoint::Endpoint,
    error::{BoxError, Failure},
};

/// The longest event that is read, in bytes.
const MAX_EVENT: usize = 8 << 20;
/// The longest plain response that is read, in bytes.
const MAX_PLAIN: usize = 64 << 20;

/// An event that the scanner counts as malformed and leaves out.
const MALFORMED: Bytes = Bytes::from_static(b"data: malformed\n\n");

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// A body as it came, or translated.
#[pin_project(project = Proj)]
pub(super) enum Translated<B> {
    /// Both ends speak the same format.
    Untouched(#[pin] B),
    Plain(Pin<Box<Plain<B>>>),
    Stream(Pin<Box<Events<B>>>),
}

impl<B> fmt::Debug for Translated<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untouched(_) => "Untouched",
            Self::Plain(_) => "Plain",
            Self::Stream(_) => "Stream",
        })
    }
}

impl<B> Translated<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Translates a plain response of `provider`.
    pub(super) fn plain(body: B, translator: ResponseTranslator, provider: Arc<Provider>) -> Self {
        Self::Plain(Box::pin(Plain { body, read: BytesMut::new(), translator, provider, over: false }))
    }

    /// Translates a stream.
    pub(super) fn stream(body: B, translator: ResponseTranslator) -> Self {
        let received = Arc::new(Received::default());
        let events =
            Frames { body, received: received.clone(), mark: 0, line: BytesMut::new(), over: false }.eventsource();
        let seen = 0;
        Self::Stream(Box::pin(Events { events, received, seen, translator, end: None, over: false }))
    }

    /// Whether the upstream has sent a byte, though nothing may have been translated yet.
    pub(super) fn any_byte_received(&self) -> bool {
        match self {
            Self::Untouched(_) => false,
            Self::Plain(plain) => !plain.read.is_empty(),
            Self::Stream(events) => events.received.frames.load(Relaxed) > 0,
        }
    }

    /// Returns the frames that complete the response, if the upstream has sent all of it.
    pub(super) fn final_frames(self: Pin<&mut Self>) -> Bytes {
        match self.project() {
            Proj::Stream(events) => events.as_mut().finish(false),
            Proj::Untouched(_) | Proj::Plain(_) => Bytes::new(),
        }
    }
}

impl<B> Body for Translated<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match self.project() {
            Proj::Untouched(body) => body.poll_frame(cx).map_err(Into::into),
            Proj::Plain(plain) => plain.as_mut().poll(cx),
            Proj::Stream(events) => events.as_mut().poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Untouched(body) => body.is_end_stream(),
            Self::Plain(plain) => plain.over,
            Self::Stream(events) => events.over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Untouched(body) => body.size_hint(),
            Self::Plain(_) | Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A plain response that is read to its end.
#[pin_project]
pub(super) struct Plain<B> {
    #[pin]
    body: B,
    read: BytesMut,
    translator: ResponseTranslator,
    provider: Arc<Provider>,
    over: bool,
}

impl<B> Plain<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Until the response is complete each frame becomes an empty one, which shows that the upstream
    /// is alive.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => {
                let bytes = frame.into_data().unwrap_or_default();
                if this.read.len() + bytes.len() > MAX_PLAIN {
                    *this.over = true;
                    Err(Failure::InvalidResponse("a response of over 64 MiB").into())
                } else {
                    this.read.extend_from_slice(&bytes);
                    Ok(Frame::data(Bytes::new()))
                }
            }
            Some(Err(error)) => Err(error.into()),
            None => {
                *this.over = true;
                match this.translator.translate_response(this.read) {
                    Ok(response) => Ok(Frame::data(response.into())),
                    Err(malformed) => Err(invalid_response(this.read, malformed.description(), this.provider).into()),
                }
            }
        }))
    }
}

/// The failure of a body that is no response: an error that came with a 2xx, or anything else.
fn invalid_response(read: &[u8], what: &'static str, provider: &Provider) -> Failure {
    let error = upstream_error::parse(read, Endpoint::ChatCompletions, provider);
    let is_error = error.message.is_some() && serde_json::from_slice::<serde_json::Value>(read).is_ok();
    if is_error { Failure::ErrorEvent(Box::new(error)) } else { Failure::InvalidResponse(what) }
}

/// The events of a stream, each translated.
#[pin_project]
pub(super) struct Events<B> {
    #[pin]
    events: EventStream<Frames<B>>,
    received: Arc<Received>,
    /// The number of received frames that have been passed on.
    seen: usize,
    translator: ResponseTranslator,
    /// How the upstream ended, if that is still to be passed on.
    end: Option<Option<BoxError>>,
    over: bool,
}

impl<B> Events<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.as_mut().project();
        if let Some(end) = this.end.take() {
            *this.over = true;
            return Poll::Ready(end.map(Err));
        }
        if *this.over {
            return Poll::Ready(None);
        }
        let error = match this.events.poll_next(cx) {
            Poll::Ready(Some(Ok(event))) => {
                this.received.pending.store(0, Relaxed);
                *this.seen = this.received.frames.load(Relaxed);
                let name = if event.event == "message" { "" } else { &*event.event };
                let mut out = Vec::new();
                let read = this.translator.translate_event(name, &event.data, &mut out);
                let out = if read.is_ok() { out.into() } else { MALFORMED };
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
            Poll::Ready(Some(Err(error))) => Some(stream_error(error)),
            Poll::Ready(None) => None,
            Poll::Pending => {
                // A frame without a complete event shows that the upstream is alive.
                let received = this.received.frames.load(Relaxed);
                if std::mem::replace(this.seen, received) == received {
                    return Poll::Pending;
                }
                return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
            }
        };
        let final_frames = self.as_mut().finish(error.is_none());
        let this = self.project();
        if final_frames.is_empty() {
            *this.over = true;
            return Poll::Ready(error.map(Err));
        }
        *this.end = Some(error);
        Poll::Ready(Some(Ok(Frame::data(final_frames))))
    }

    /// Returns the end of the response, if it is complete.
    fn finish(self: Pin<&mut Self>, is_clean: bool) -> Bytes {
        let mut out = Vec::new();
        self.project().translator.translate_end(is_clean, &mut out);
        out.into()
    }
}

fn stream_error(error: EventStreamError<BoxError>) -> BoxError {
    match error {
        EventStreamError::Transport(error) => error,
        EventStreamError::Utf8(_) => Failure::InvalidResponse("a stream that is no UTF-8").into(),
        EventStreamError::Parser(_) => Failure::InvalidResponse("something that is no event stream").into(),
    }
}

/// What is known of the frames that were received.
#[derive(Debug, Default)]
struct Received {
    /// The number of frames.
    frames: AtomicUsize,
    /// The bytes since the last complete event.
    pending: AtomicUsize,
}

/// The byte order mark in UTF-8.
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A body as a stream of complete lines without a byte order mark. The parser would read an
/// incomplete line from its beginning each time, and takes the mark for one byte.
#[pin_project]
struct Frames<B> {
    #[pin]
    body: B,
    received: Arc<Received>,
    /// The bytes of the mark that have come.
    mark: usize,
    /// An incomplete line.
    line: BytesMut,
    over: bool,
}

/// Returns the complete lines of `line` and `bytes`, and keeps the rest in `line`.
fn whole_lines(line: &mut BytesMut, mut bytes: Bytes) -> Bytes {
    let Some(last) = memchr::memrchr2(b'\n', b'\r', &bytes) else {
        line.extend_from_slice(&bytes);
        return Bytes::new();
    };
    let rest = bytes.split_off(last + 1);
    let mut held = std::mem::replace(line, BytesMut::from(&*rest));
    if held.is_empty() {
        return bytes;
    }
    held.extend_from_slice(&bytes);
    held.freeze()
}

/// Removes the byte order mark from the first bytes of a stream.
fn without_mark(mut bytes: Bytes, mark: &mut usize) -> Result<Bytes, Failure> {
    while let Some(expected) = MARK.get(*mark)
        && let Some(first) = bytes.first()
    {
        match (first == expected, *mark) {
            (true, _) => {
                bytes.advance(1);
                *mark += 1;
            }
            (false, 0) => *mark = MARK.len(),
            (false, _) => return Err(Failure::InvalidResponse("a stream that is no UTF-8")),
        }
    }
    Ok(bytes)
}

impl<B> Stream for Frames<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        let bytes = match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => {
                *this.over = true;
                let last = this.line.split().freeze();
                return Poll::Ready((!last.is_empty()).then_some(Ok(last)));
            }
        };
        this.received.frames.fetch_add(1, Relaxed);
        let pending = this.received.pending.fetch_add(bytes.len(), Relaxed) + bytes.len();
        Poll::Ready(Some(if pending > MAX_EVENT {
            Err(Failure::InvalidResponse("an event of over 8 MiB").into())
        } else {
            without_mark(bytes, this.mark).map(|bytes| whole_lines(this.line, bytes)).map_err(Into::into)
        }))
    }
}
