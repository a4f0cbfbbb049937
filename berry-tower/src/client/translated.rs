//! An upstream's body in the caller's format, where that is another one.
//!
//! A stream is read event by event, and what an event means goes out in one frame, to be scanned
//! behind this like any other stream: the commit point, honest ends and deadlines need not know
//! that there was a translation. A plain answer is translated when it is whole.

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

/// The longest event that is read.
const MOST_EVENT: usize = 8 << 20;
/// The longest plain answer that is read.
const MOST_PLAIN: usize = 64 << 20;

/// What the scanner of the stream counts as malformed and leaves out.
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
    /// A plain answer of `provider`.
    pub(super) fn plain(body: B, translator: ResponseTranslator, provider: Arc<Provider>) -> Self {
        Self::Plain(Box::pin(Plain { body, read: BytesMut::new(), translator, provider, over: false }))
    }

    /// A stream.
    pub(super) fn stream(body: B, translator: ResponseTranslator) -> Self {
        let heard = Arc::new(Heard::default());
        let events = Frames { body, heard: heard.clone(), mark: 0, line: BytesMut::new(), over: false }.eventsource();
        let seen = 0;
        Self::Stream(Box::pin(Events { events, heard, seen, translator, end: None, over: false }))
    }

    /// Whether the upstream has sent something, though nothing may have come of it yet.
    pub(super) fn has_heard(&self) -> bool {
        match self {
            Self::Untouched(_) => false,
            Self::Plain(plain) => !plain.read.is_empty(),
            Self::Stream(events) => events.heard.frames.load(Relaxed) > 0,
        }
    }

    /// The upstream has fallen silent: what the caller is still owed if the answer is whole.
    pub(super) fn owed(self: Pin<&mut Self>) -> Bytes {
        match self.project() {
            Proj::Stream(events) => events.as_mut().conclude(false),
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

/// A plain answer that is read to its end.
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
    /// While the answer is not whole each frame of it is an empty one here: the upstream lives.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => {
                let bytes = frame.into_data().unwrap_or_default();
                if this.read.len() + bytes.len() > MOST_PLAIN {
                    *this.over = true;
                    Err(Failure::InvalidResponse("an answer of over 64 MiB").into())
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
                    Err(malformed) => Err(no_answer(this.read, malformed.description(), this.provider).into()),
                }
            }
        }))
    }
}

/// What a body is that is no answer: an error that came with a 2xx, or anything.
fn no_answer(read: &[u8], what: &'static str, provider: &Provider) -> Failure {
    let error = upstream_error::parse(read, Endpoint::ChatCompletions, provider);
    let told = error.message.is_some() && serde_json::from_slice::<serde_json::Value>(read).is_ok();
    if told { Failure::ErrorEvent(Box::new(error)) } else { Failure::InvalidResponse(what) }
}

/// The events of a stream, each one translated.
#[pin_project]
pub(super) struct Events<B> {
    #[pin]
    events: EventStream<Frames<B>>,
    heard: Arc<Heard>,
    /// How much of what was heard has been told.
    seen: usize,
    translator: ResponseTranslator,
    /// How the upstream has ended, when that is still to be told.
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
                this.heard.pending.store(0, Relaxed);
                *this.seen = this.heard.frames.load(Relaxed);
                let name = if event.event == "message" { "" } else { &*event.event };
                let mut out = Vec::new();
                let read = this.translator.translate_event(name, &event.data, &mut out);
                let out = if read.is_ok() { out.into() } else { MALFORMED };
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
            Poll::Ready(Some(Err(error))) => Some(broken(error)),
            Poll::Ready(None) => None,
            Poll::Pending => {
                // Something came that is no event yet, or never will be: the upstream lives.
                let heard = this.heard.frames.load(Relaxed);
                if std::mem::replace(this.seen, heard) == heard {
                    return Poll::Pending;
                }
                return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
            }
        };
        let owed = self.as_mut().conclude(error.is_none());
        let this = self.project();
        if owed.is_empty() {
            *this.over = true;
            return Poll::Ready(error.map(Err));
        }
        *this.end = Some(error);
        Poll::Ready(Some(Ok(Frame::data(owed))))
    }

    /// What makes the answer whole, if it is.
    fn conclude(self: Pin<&mut Self>, is_clean: bool) -> Bytes {
        let mut out = Vec::new();
        self.project().translator.translate_end(is_clean, &mut out);
        out.into()
    }
}

fn broken(error: EventStreamError<BoxError>) -> BoxError {
    match error {
        EventStreamError::Transport(error) => error,
        EventStreamError::Utf8(_) => Failure::InvalidResponse("a stream that is no UTF-8").into(),
        EventStreamError::Parser(_) => Failure::InvalidResponse("something that is no event stream").into(),
    }
}

/// What the frames tell beside their bytes.
#[derive(Debug, Default)]
struct Heard {
    /// How many have come.
    frames: AtomicUsize,
    /// How many bytes have come since the last whole event.
    pending: AtomicUsize,
}

/// The byte order mark in UTF-8.
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A body as a stream of its bytes, in whole lines, since the parser reads a line that is not whole
/// from its beginning each time; and without a byte order mark, which it takes for one byte.
#[pin_project]
struct Frames<B> {
    #[pin]
    body: B,
    heard: Arc<Heard>,
    /// How much of the mark has come.
    mark: usize,
    /// A line that lacks its end.
    line: BytesMut,
    over: bool,
}

/// What there is of whole lines, with `bytes` behind what was held; the rest is held.
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

/// Takes what is left of the mark off the stream's first bytes.
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
        this.heard.frames.fetch_add(1, Relaxed);
        let pending = this.heard.pending.fetch_add(bytes.len(), Relaxed) + bytes.len();
        Poll::Ready(Some(if pending > MOST_EVENT {
            Err(Failure::InvalidResponse("an event of over 8 MiB").into())
        } else {
            without_mark(bytes, this.mark).map(|bytes| whole_lines(this.line, bytes)).map_err(Into::into)
        }))
    }
}
