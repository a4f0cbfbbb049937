//! The bodies of Drain: a request body that is returned when it is dropped unread, and a response
//! body that waits for it to be read.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use super::Bounds;
use crate::body::is_at_end;

/// The request body of [`Drain`](super::Drain). What is left of it when it is dropped is read and
/// discarded.
#[pin_project(PinnedDrop)]
pub struct RequestBody<B>(#[pin] RequestKind<B>);

#[pin_project(project = RequestKindProj)]
enum RequestKind<B> {
    /// The body need not be read to its end.
    Plain(#[pin] B),
    /// The body is sent back when it is dropped.
    Returned {
        /// Boxed, since it moves when it is returned; `None` after its end.
        body: Option<Pin<Box<B>>>,
        /// The client sends nothing before the body is first polled.
        awaits_continue: bool,
        sender: Option<oneshot::Sender<Pin<Box<B>>>>,
    },
}

impl<B> RequestBody<B> {
    pub(super) const fn plain(body: B) -> Self {
        Self(RequestKind::Plain(body))
    }

    pub(super) fn returned(body: B, awaits_continue: bool, sender: oneshot::Sender<Pin<Box<B>>>) -> Self {
        Self(RequestKind::Returned { body: Some(Box::pin(body)), awaits_continue, sender: Some(sender) })
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().0.project() {
            RequestKindProj::Plain(body) => body.poll_frame(cx),
            RequestKindProj::Returned { body: rest, awaits_continue, .. } => {
                *awaits_continue = false;
                let Some(body) = rest else { return Poll::Ready(None) };
                let frame = ready!(body.as_mut().poll_frame(cx));
                if !matches!(frame, Some(Ok(_))) {
                    *rest = None;
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            RequestKind::Plain(body) => body.is_end_stream(),
            RequestKind::Returned { body, .. } => body.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            RequestKind::Plain(body) => body.size_hint(),
            RequestKind::Returned { body, .. } => body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint),
        }
    }
}

#[pinned_drop]
impl<B> PinnedDrop for RequestBody<B> {
    fn drop(self: Pin<&mut Self>) {
        if let RequestKindProj::Returned { body, awaits_continue: false, sender } = self.project().0.project()
            && let (Some(body), Some(sender)) = (body.take(), sender.take())
        {
            // The receiver is gone when the response has been sent already.
            let _ = sender.send(body);
        }
    }
}

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

/// The receiver of a request body that may be returned.
pub(super) struct Unread<B> {
    pub(super) body: Option<oneshot::Receiver<Pin<Box<B>>>>,
    pub(super) bounds: Bounds,
}

impl<B: Body> Unread<B> {
    /// Takes what is left to read, if the body was returned before its end.
    pub(super) fn take_rest(&mut self) -> Option<Rest<B>> {
        let body = self.body.as_mut()?.try_recv().ok()?;
        self.body = None;
        (!body.is_end_stream()).then(|| Rest { body, left: self.bounds.bytes, bounds: self.bounds, timer: None })
    }

    pub(super) const fn take(&mut self) -> Self {
        Self { body: self.body.take(), bounds: self.bounds }
    }
}

/// The rest of a request body, which is read and discarded.
pub(super) struct Rest<B> {
    body: Pin<Box<B>>,
    /// The number of bytes that may still be read.
    left: u64,
    bounds: Bounds,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The most frames that are read before other tasks run.
const MAX_FRAMES_PER_POLL: usize = 64;

impl<B: Body> Rest<B> {
    /// Reads on; ready at the end of the body or at a bound.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_timer(cx).is_ready() {
            return Poll::Ready(());
        }
        for _ in 0..MAX_FRAMES_PER_POLL {
            let Some(Ok(frame)) = ready!(self.body.as_mut().poll_frame(cx)) else { return Poll::Ready(()) };
            let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            match self.left.checked_sub(bytes) {
                Some(left) => self.left = left,
                None => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.is_none() {
            // A time beyond the end of the clock never passes.
            let Some(end) = Instant::now().checked_add(self.bounds.time) else { return Poll::Pending };
            self.timer = Some(Box::pin(sleep_until(end)));
        }
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

/// The response body of [`Drain`](super::Drain), whose last byte waits until the request was read.
#[pin_project]
pub struct ResponseBody<R, B> {
    #[pin]
    inner: R,
    unread: Unread<B>,
    rest: Option<Rest<B>>,
    last: Bytes,
    is_done: bool,
}

impl<R, B> ResponseBody<R, B> {
    pub(super) const fn new(inner: R, unread: Unread<B>) -> Self {
        Self { inner, unread, rest: None, last: Bytes::new(), is_done: false }
    }
}

/// An empty body, as tower-http's `Cors` and `Timeout` need for their own responses.
impl<R: Default, B> Default for ResponseBody<R, B> {
    fn default() -> Self {
        Self::new(R::default(), Unread { body: None, bounds: Bounds::DEFAULT })
    }
}

impl<R: Body, B: Body> Body for ResponseBody<R, B> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let mut this = self.project();
        loop {
            if let Some(rest) = this.rest {
                ready!(rest.poll(cx));
                *this.rest = None;
            }
            if !this.last.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(mem::take(this.last)))));
            }
            if *this.is_done {
                return Poll::Ready(None);
            }
            let Some(frame) = ready!(this.inner.as_mut().poll_frame(cx)).transpose()? else {
                *this.is_done = true;
                *this.rest = this.unread.take_rest();
                continue;
            };
            // Copies nothing when the data is a single chunk of `Bytes`.
            let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
            // A server that knows the length does not poll again after the last frame.
            if !is_at_end(&*this.inner) {
                return Poll::Ready(Some(Ok(frame)));
            }
            // Trailers may follow a body of known length.
            *this.is_done = this.inner.is_end_stream();
            *this.rest = this.unread.take_rest();
            let mut data = match frame.into_data() {
                Ok(data) if this.rest.is_some() => data,
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            *this.last = data.split_off(data.len().saturating_sub(1));
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_empty() && self.rest.is_none() && (self.is_done || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        let held = self.last.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint.set_lower(hint.lower().saturating_add(held));
        hint
    }
}

impl<R, B> fmt::Debug for ResponseBody<R, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}
