//! A request's body that comes back when it is dropped unread, and the response's body that waits
//! for its rest.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::{sync::oneshot, time::Sleep};

use super::Bounds;

/// A request's body; what is left of it when it is dropped is read on by [`Drain`](super::Drain).
pub struct RequestBody<B> {
    body: Option<B>,
    /// The client sends nothing until the body is first asked for.
    waits: bool,
    back: Option<oneshot::Sender<B>>,
}

impl<B> RequestBody<B> {
    pub(super) const fn plain(body: B) -> Self {
        Self { body: Some(body), waits: false, back: None }
    }

    pub(super) const fn new(body: B, waits: bool, back: oneshot::Sender<B>) -> Self {
        Self { body: Some(body), waits, back: Some(back) }
    }
}

impl<B: Body + Unpin> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.waits = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for RequestBody<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !self.waits
        {
            // Nobody waits for it if the answer is out already.
            let _ = back.send(body);
        }
    }
}

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

/// Where the body of a request comes back, if it does.
pub(super) struct Unread<B> {
    pub(super) body: Option<oneshot::Receiver<B>>,
    pub(super) bounds: Bounds,
}

impl<B: Body + Unpin> Unread<B> {
    /// What is left to read, if the body has come back and is not at its end.
    pub(super) fn take(&mut self) -> Option<Rest<B>> {
        let body = self.body.as_mut()?.try_recv().ok()?;
        self.body = None;
        (!body.is_end_stream()).then(|| Rest { body, left: self.bounds.bytes, bounds: self.bounds, sleep: None })
    }

    pub(super) const fn give(&mut self) -> Self {
        Self { body: self.body.take(), bounds: self.bounds }
    }
}

/// The rest of a request's body, to be read and thrown away.
pub(super) struct Rest<B> {
    body: B,
    left: u64,
    bounds: Bounds,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<B: Body + Unpin> Rest<B> {
    /// Ready when all of it has been read, or as much of it as the bounds allow.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let time = self.bounds.time;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        if sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let Some(Ok(frame)) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else { return Poll::Ready(()) };
            let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            match self.left.checked_sub(bytes) {
                Some(left) => self.left = left,
                None => return Poll::Ready(()),
            }
        }
    }
}

/// A response's body whose last byte waits until the request has been read.
#[pin_project]
pub struct ResponseBody<R, B> {
    #[pin]
    inner: R,
    unread: Unread<B>,
    rest: Option<Rest<B>>,
    last: Bytes,
    done: bool,
}

impl<R, B> ResponseBody<R, B> {
    pub(super) const fn new(inner: R, unread: Unread<B>) -> Self {
        Self { inner, unread, rest: None, last: Bytes::new(), done: false }
    }
}

impl<R, B> Body for ResponseBody<R, B>
where
    R: Body<Data = Bytes>,
    B: Body + Unpin,
{
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
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(this.last)))));
            }
            if *this.done {
                return Poll::Ready(None);
            }
            let Some(frame) = ready!(this.inner.as_mut().poll_frame(cx)).transpose()? else {
                *this.done = true;
                *this.rest = this.unread.take();
                continue;
            };
            // A server that knows the length does not ask again after the last frame.
            if !this.inner.is_end_stream() {
                return Poll::Ready(Some(Ok(frame)));
            }
            *this.done = true;
            *this.rest = this.unread.take();
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
        self.last.is_empty() && self.rest.is_none() && (self.done || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        let held = self.last.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + held);
        }
        hint.set_lower(hint.lower() + held);
        hint
    }
}

impl<R: From<Bytes>, B> From<Bytes> for ResponseBody<R, B> {
    fn from(bytes: Bytes) -> Self {
        let bounds = super::DrainLayer::new().bounds;
        Self::new(R::from(bytes), Unread { body: None, bounds })
    }
}

impl<R, B> fmt::Debug for ResponseBody<R, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("done", &self.done).finish_non_exhaustive()
    }
}
