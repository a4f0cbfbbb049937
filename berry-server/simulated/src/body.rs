//! The response body: pieces with their delays, and the end that a fault requires.

use super::piece::{Piece, Role};
use super::record::{End, Entry};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How a body ends after its last piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// Normally.
    Well,
    /// By closing the connection.
    Cut,
    /// By a TCP reset.
    Reset,
    /// Never.
    Stall,
}

/// The plan of a body: its pieces, their delays, and its end.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) pieces: Arc<[Piece]>,
    /// The number of pieces to send.
    pub(super) send: usize,
    pub(super) close: Close,
    /// The `Content-Length`; chunked if `None`.
    pub(super) length: Option<u64>,
    /// The delays before the first token and before each other token.
    pub(super) first: Duration,
    pub(super) each: Duration,
    /// Whether every piece is flushed before the next.
    pub(super) apart: bool,
}

impl Plan {
    /// Returns a plain body that is sent at once.
    pub(super) fn plain(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self {
            length: Some(data.len() as u64),
            // hyper does not poll an empty body, so there must be no piece.
            send: usize::from(!data.is_empty()),
            pieces: [Piece::new(Role::Token, data)].into(),
            close: Close::Well,
            first: Duration::ZERO,
            each: Duration::ZERO,
            apart: false,
        }
    }
}

/// The error that makes hyper end the connection because of a fault.
#[derive(Debug)]
pub(super) struct ConnectionEnded;

impl fmt::Display for ConnectionEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is closed by a fault")
    }
}

impl std::error::Error for ConnectionEnded {}

/// The body of a response.
#[derive(Debug)]
pub(super) struct Answer {
    plan: Plan,
    entry: Entry,
    next: usize,
    tokens: usize,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether `sleep` is the delay of the next piece.
    armed: bool,
    /// The number of flushes when the wait for a flush began.
    flush_from: Option<u64>,
}

impl Answer {
    pub(super) fn new(plan: Plan, entry: Entry) -> Self {
        let mut answer = Self { plan, entry, next: 0, tokens: 0, sleep: None, armed: false, flush_from: None };
        answer.tell_end();
        answer
    }

    fn all_sent(&self) -> bool {
        self.next >= self.plan.send
    }

    /// Records the end early, because hyper drops a body without polling it again once it knows the end.
    fn tell_end(&mut self) {
        if self.all_sent() && self.plan.close == Close::Well {
            self.entry.end(End::Complete);
        }
    }

    /// Waits until all data has been flushed, because hyper discards its buffer when a body fails.
    fn poll_flushed(&mut self) -> Poll<()> {
        let now = self.entry.link().flushes();
        match self.flush_from {
            Some(from) if now > from => {
                self.flush_from = None;
                Poll::Ready(())
            }
            _ => {
                self.flush_from.get_or_insert(now);
                self.entry.link().want_flush();
                Poll::Pending
            }
        }
    }

    /// Waits for the delay of the next piece. Delays are added to the previous deadline, so that the rate
    /// does not drift.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_token = self.plan.pieces[self.next].role == Role::Token;
        let wait = match self.tokens {
            0 => self.plan.first,
            _ => self.plan.each,
        };
        if !is_token || wait.is_zero() {
            return Poll::Ready(());
        }
        let armed = std::mem::replace(&mut self.armed, true);
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if !armed {
                    let next = sleep.deadline() + wait;
                    sleep.as_mut().reset(next);
                }
                sleep
            }
            none => none.insert(Box::pin(sleep_until(Instant::now() + wait))),
        };
        sleep.as_mut().poll(cx)
    }

    fn poll_close(&mut self) -> Poll<Option<Result<Frame<Bytes>, ConnectionEnded>>> {
        let end = match self.plan.close {
            Close::Well => return Poll::Ready(None),
            // hyper notices when the peer disconnects and drops the body, so no waker is needed.
            Close::Stall => return Poll::Pending,
            Close::Cut => End::Cut,
            Close::Reset => End::Reset,
        };
        ready!(self.poll_flushed());
        if end == End::Reset {
            self.entry.link().reset();
        }
        self.entry.end(end);
        Poll::Ready(Some(Err(ConnectionEnded)))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = ConnectionEnded;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionEnded>>> {
        if self.all_sent() {
            return self.poll_close();
        }
        ready!(self.poll_turn(cx));
        if self.plan.apart && self.next > 0 {
            ready!(self.poll_flushed());
        }
        let piece = self.plan.pieces[self.next].clone();
        self.next += 1;
        self.armed = false;
        self.tokens += usize::from(piece.role == Role::Token);
        self.tell_end();
        Poll::Ready(Some(Ok(Frame::data(piece.data))))
    }

    fn is_end_stream(&self) -> bool {
        self.all_sent() && self.plan.close == Close::Well
    }

    fn size_hint(&self) -> SizeHint {
        match self.plan.length {
            Some(length) if self.next == 0 => SizeHint::with_exact(length),
            _ => SizeHint::default(),
        }
    }
}
