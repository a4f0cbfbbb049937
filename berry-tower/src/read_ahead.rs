//! A response body of which some frames were read before the response is passed on.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};

use crate::body::ByteLease;

/// The bytes of one body that are held without counting against a budget, as of most bodies all are.
const UNCOUNTED: usize = 16 << 10;

/// The frames that were read ahead, then the rest of the body.
pub(crate) struct ReadAhead<B: Body> {
    frames: VecDeque<Frame<B::Data>>,
    /// The bytes of the data frames.
    bytes: usize,
    /// What the bytes count against.
    lease: Option<ByteLease>,
    /// Whether the budget had no room for the last frame.
    is_over_budget: bool,
    /// Boxed, because it is polled in place and moved afterwards; `None` after its end.
    rest: Option<Pin<Box<B>>>,
}

impl<B: Body> ReadAhead<B> {
    /// Reads ahead of `body`, and counts the bytes against `lease`.
    pub(crate) fn new(body: B, lease: Option<ByteLease>) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, lease, is_over_budget: false, rest: Some(Box::pin(body)) }
    }

    /// Whether no more should be read ahead, since the budget has no room.
    pub(crate) const fn is_over_budget(&self) -> bool {
        self.is_over_budget
    }

    fn count(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        if self.bytes > UNCOUNTED && !lease.try_resize(self.bytes) {
            self.is_over_budget = true;
        }
    }

    /// The number of bytes that were read ahead.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of frames that were read ahead.
    #[cfg(feature = "retry")]
    pub(crate) fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Reads one more frame; returns `false` at the end of the body.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, B::Error>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(false)) };
        let frame = if rest.is_end_stream() { None } else { ready!(rest.as_mut().poll_frame(cx)).transpose()? };
        match frame {
            None => self.rest = None,
            Some(frame) => {
                self.bytes = self.bytes.saturating_add(frame.data_ref().map_or(0, Buf::remaining));
                self.frames.push_back(frame);
                self.count();
            }
        }
        Poll::Ready(Ok(self.rest.is_some()))
    }
}

impl<B: Body> Body for ReadAhead<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes = self.bytes.saturating_sub(frame.data_ref().map_or(0, Buf::remaining));
            let left = self.bytes;
            if let Some(lease) = &mut self.lease {
                lease.shrink_to(left);
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let frame = ready!(rest.as_mut().poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.rest = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let ahead = self.bytes as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(ahead));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(ahead)) {
            hint.set_upper(upper);
        }
        hint
    }
}

// The body is boxed and the frames are not pinned.
impl<B: Body> Unpin for ReadAhead<B> {}

impl<B: Body> fmt::Debug for ReadAhead<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAhead").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
