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
use eventsource_stream::{Event, EventStream, EventStreamError, Eventsource};
use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::upstream_error;
use crate::{
    backend::Provider,
    body::ByteLease,
    dialect::ResponseTranslator,
    endpoint::Endpoint,
    error::{BoxError, Failure},
    json::count_values,
    offload::{Offloaded, is_large, offload},
    progress::Usage,
};

/// The longest event that is read, in bytes.
const MAX_EVENT: usize = 8 << 20;
/// The longest plain response that is read, in bytes.
const MAX_PLAIN: usize = 64 << 20;

/// The most JSON values of a plain response or of an event.
const MAX_VALUES: usize = 500_000;
/// The memory that a tree takes for each JSON value, in bytes, apart from the texts in it.
const VALUE_BYTES: usize = 100;
/// The bytes of one response that are held without counting against the budget.
const UNCOUNTED: usize = 16 << 10;

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
    /// What is held of it counts against `lease`.
    pub(super) fn plain(
        body: B,
        translator: ResponseTranslator,
        provider: Arc<Provider>,
        lease: Option<ByteLease>,
    ) -> Self {
        let (work, translating) = (Some(Work { translator, provider, lease }), None);
        Self::Plain(Box::pin(Plain { body, read: BytesMut::new(), work, translating, over: false }))
    }

    /// Translates a stream. What is held of it counts against `lease`.
    pub(super) fn stream(body: B, translator: ResponseTranslator, lease: Option<ByteLease>) -> Self {
        let received = Arc::new(Received::default());
        let line = BytesMut::new();
        let events = Frames { body, received: received.clone(), mark: 0, line, lease, over: false }.eventsource();
        let (translator, translating) = (Some(translator), None);
        Self::Stream(Box::pin(Events { events, received, seen: 0, translator, translating, end: None, over: false }))
    }

    /// Whether the upstream has sent a byte, though nothing may have been translated yet.
    pub(super) fn any_byte_received(&self) -> bool {
        match self {
            Self::Untouched(_) => false,
            Self::Plain(plain) => !plain.read.is_empty(),
            Self::Stream(events) => events.received.frames.load(Relaxed) > 0,
        }
    }

    /// Returns the tokens that the upstream has told until now, where the translated stream may tell them
    /// only at its end.
    pub(super) fn usage(&self) -> Option<Usage> {
        match self {
            Self::Stream(events) => events.translator.as_ref()?.usage(),
            Self::Untouched(_) | Self::Plain(_) => None,
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
    /// `None` once the response is being translated.
    work: Option<Work>,
    /// The translation of a large response, on another thread.
    translating: Option<Offloaded<Result<Bytes, Failure>>>,
    over: bool,
}

/// What the translation of a plain response needs.
struct Work {
    translator: ResponseTranslator,
    provider: Arc<Provider>,
    lease: Option<ByteLease>,
}

impl Work {
    /// Counts the bytes that were read, and those of a tree of so many values.
    fn hold(&mut self, read: usize, values: usize) -> Result<(), Failure> {
        let bytes = read.saturating_add(values.saturating_mul(VALUE_BYTES));
        let has_room = bytes <= UNCOUNTED || self.lease.as_mut().is_none_or(|lease| lease.try_resize(bytes));
        if has_room { Ok(()) } else { Err(over_budget()) }
    }

    fn translate(mut self, read: &[u8]) -> Result<Bytes, Failure> {
        let values = count_values(read);
        if values > MAX_VALUES {
            return Err(Failure::InvalidResponse("a response of too many values"));
        }
        self.hold(read.len(), values)?;
        let invalid = |read, what| invalid_response(read, what, &self.provider);
        match self.translator.translate_response(read) {
            Ok(response) => Ok(response.into()),
            Err(malformed) => Err(invalid(read, malformed.description())),
        }
    }
}

fn over_budget() -> Failure {
    Failure::LocalResource("the bytes that are held of requests and responses reach their limit".into())
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
        if let Some(translating) = this.translating {
            let translated = ready!(translating.as_mut().poll(cx));
            *this.over = true;
            return Poll::Ready(Some(translated.map(Frame::data).map_err(Into::into)));
        }
        let result = match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => {
                let bytes = frame.into_data().unwrap_or_default();
                let length = this.read.len() + bytes.len();
                let held = match this.work {
                    _ if length > MAX_PLAIN => Err(Failure::InvalidResponse("a response of over 64 MiB")),
                    Some(work) => work.hold(length, 0),
                    None => Ok(()),
                };
                *this.over = held.is_err();
                this.read.extend_from_slice(if *this.over { &[] } else { &bytes });
                held.map(|()| Bytes::new()).map_err(Into::into)
            }
            Some(Err(error)) => Err(error.into()),
            None => {
                let (read, Some(work)) = (this.read.split().freeze(), this.work.take()) else {
                    return Poll::Ready(None);
                };
                if is_large(read.len()) {
                    *this.translating = Some(offload(move || work.translate(&read)));
                    Ok(Bytes::new())
                } else {
                    *this.over = true;
                    work.translate(&read).map_err(Into::into)
                }
            }
        };
        Poll::Ready(Some(result.map(Frame::data)))
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
    /// `None` while it is used on another thread.
    translator: Option<ResponseTranslator>,
    /// The translation of a large event, on another thread.
    translating: Option<Offloaded<(ResponseTranslator, Bytes)>>,
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
        if let Some(translating) = this.translating {
            let (translator, frame) = ready!(translating.as_mut().poll(cx));
            (*this.translator, *this.translating) = (Some(translator), None);
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
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
                let Some(mut translator) = this.translator.take() else { return Poll::Ready(None) };
                if is_large(event.data.len()) {
                    *this.translating = Some(offload(move || {
                        let frame = translated_event(&mut translator, &event);
                        (translator, frame)
                    }));
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
                }
                let frame = translated_event(&mut translator, &event);
                *this.translator = Some(translator);
                return Poll::Ready(Some(Ok(Frame::data(frame))));
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
        if let Some(translator) = self.project().translator {
            translator.translate_end(is_clean, &mut out);
        }
        out.into()
    }
}

fn translated_event(translator: &mut ResponseTranslator, event: &Event) -> Bytes {
    if event.data.len() > UNCOUNTED && count_values(event.data.as_bytes()) > MAX_VALUES {
        return MALFORMED;
    }
    let name = if event.event == "message" { "" } else { &*event.event };
    let mut out = Vec::new();
    let read = translator.translate_event(name, &event.data, &mut out);
    if read.is_ok() { out.into() } else { MALFORMED }
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
    /// Counts the bytes of an incomplete event.
    lease: Option<ByteLease>,
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
        // The line and the event that it belongs to.
        let held = if pending > UNCOUNTED { 2 * pending } else { 0 };
        let has_room = this.lease.as_mut().is_none_or(|lease| lease.try_resize(held));
        Poll::Ready(Some(if pending > MAX_EVENT {
            Err(Failure::InvalidResponse("an event of over 8 MiB").into())
        } else if !has_room {
            Err(over_budget().into())
        } else {
            without_mark(bytes, this.mark).map(|bytes| whole_lines(this.line, bytes)).map_err(Into::into)
        }))
    }
}
