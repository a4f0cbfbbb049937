//! The lines of an event stream, cut where they end.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream;
use http_body::Body;
use pin_project::pin_project;

use super::{UNCOUNTED, over_budget};
use crate::{
    body::ByteLease,
    error::{BoxError, Failure},
};

/// The longest event that is read, in bytes.
const MAX_EVENT: usize = 8 << 20;

/// What is known of the frames that were received.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The number of frames.
    pub(super) frames: AtomicUsize,
    /// The bytes since the last complete event.
    pub(super) pending: AtomicUsize,
}

/// The byte order mark in UTF-8.
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A body as a stream of complete lines without a byte order mark. The parser would read an
/// incomplete line from its beginning each time, and takes the mark for one byte.
#[pin_project]
pub(super) struct Frames<B> {
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

impl<B> Frames<B> {
    pub(super) fn new(body: B, received: Arc<Received>, lease: Option<ByteLease>) -> Self {
        Self { body, received, mark: 0, line: BytesMut::new(), lease, over: false }
    }
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
