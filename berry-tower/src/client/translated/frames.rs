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

/// The lines that the parser is given at once, in bytes: it copies the rest of them for each line.
const PIECE: usize = 256;

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
    /// Lines that the parser has not been given yet.
    lines: Bytes,
    /// An incomplete line.
    line: BytesMut,
    /// Counts the bytes of an incomplete event.
    lease: Option<ByteLease>,
    over: bool,
}

impl<B> Frames<B> {
    pub(super) fn new(body: B, received: Arc<Received>, lease: Option<ByteLease>) -> Self {
        Self { body, received, mark: 0, lines: Bytes::new(), line: BytesMut::new(), lease, over: false }
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

/// Takes the first lines, as few as make a piece.
fn piece(lines: &mut Bytes) -> Bytes {
    let from = PIECE.min(lines.len()) - 1;
    let end = memchr::memchr2(b'\n', b'\r', &lines[from..]).map_or(lines.len(), |at| from + at + 1);
    // A line that ends in both is one.
    let is_both = lines[end - 1] == b'\r' && lines.get(end) == Some(&b'\n');
    lines.split_to(end + usize::from(is_both))
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
        if !this.lines.is_empty() {
            return Poll::Ready(Some(Ok(piece(this.lines))));
        }
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
        let lines = if pending > MAX_EVENT {
            Err(Failure::InvalidResponse("an event of over 8 MiB"))
        } else if !has_room {
            Err(over_budget())
        } else {
            without_mark(bytes, this.mark).map(|bytes| whole_lines(this.line, bytes))
        };
        Poll::Ready(Some(match lines {
            Ok(lines) if lines.is_empty() => Ok(lines),
            Ok(lines) => {
                *this.lines = lines;
                Ok(piece(this.lines))
            }
            Err(failure) => Err(failure.into()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_lines() {
        let line = |length: usize, end: &str| "x".repeat(length) + end;
        for (text, lengths) in [
            (line(3, "\n"), vec![4]),
            (line(3, "\n").repeat(100), vec![256, 144]),
            (line(PIECE, "\n") + "\n", vec![PIECE + 1, 1]),
            (line(PIECE - 1, "\r\n") + "\r\n", vec![PIECE + 1, 2]),
            (line(PIECE - 1, "\r") + "\r", vec![PIECE, 1]),
            (line(5 * PIECE, "\n"), vec![5 * PIECE + 1]),
            (line(5 * PIECE, ""), vec![5 * PIECE]),
        ] {
            let mut lines = Bytes::from(text);
            let pieces: Vec<_> = lengths.iter().map(|_| piece(&mut lines).len()).collect();
            assert_eq!((pieces, lines.len()), (lengths, 0));
        }
    }
}
