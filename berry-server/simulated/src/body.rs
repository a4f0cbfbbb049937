//! The response body: pieces at their pace, with the end that a fault asks for.

use super::record::{End, Entry};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The part that a piece plays in its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Before any output.
    Preamble,
    /// Output.
    Token,
    /// The end of the output.
    Finish,
    /// Token counts.
    Usage,
    /// The end of the stream.
    Done,
}

/// One piece of an answer: an event of a stream, or a whole plain body.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) data: Bytes,
    pub(super) role: Role,
}

impl Piece {
    pub(super) fn new(role: Role, data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), role }
    }
}

/// How a body ends after its last piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// Properly.
    Well,
    /// By closing the connection.
    Cut,
    /// By a TCP reset.
    Reset,
    /// Never.
    Stall,
}

/// What is sent, when, and how it ends.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) pieces: Arc<[Piece]>,
    /// How many of the pieces are sent.
    pub(super) send: usize,
    pub(super) close: Close,
    /// `Content-Length`; chunked when there is none.
    pub(super) length: Option<u64>,
    /// The wait for the first token, and for each of the others.
    pub(super) first: Duration,
    pub(super) each: Duration,
    /// Whether every piece is flushed before the next.
    pub(super) apart: bool,
}

impl Plan {
    /// A whole body at once.
    pub(super) fn plain(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self {
            length: Some(data.len() as u64),
            // hyper does not ask a body of no length for anything, so there must be nothing to send.
            send: usize::from(!data.is_empty()),
            pieces: [Piece::new(Role::Token, data)].into(),
            close: Close::Well,
            first: Duration::ZERO,
            each: Duration::ZERO,
            apart: false,
        }
    }
}

/// The connection ends here because of a fault.
#[derive(Debug)]
pub(super) struct ConnectionEnded;

impl fmt::Display for ConnectionEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken off on purpose")
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
    /// `sleep` is for the next piece, and not for one that has gone.
    armed: bool,
    /// Flushes seen when the wait for one began.
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

    /// hyper drops a body without asking again once it knows the end, so it is told early.
    fn tell_end(&mut self) {
        if self.all_sent() && self.plan.close == Close::Well {
            self.entry.end(End::Complete);
        }
    }

    /// Waits until all that was handed over has left: hyper throws away what it still holds when
    /// a body fails.
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

    /// Waits for the next piece's turn. The pace is kept from one deadline to the next, so that
    /// the rate does not drift.
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
            // hyper sees the peer leave and drops the body: there is nothing to be woken for.
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
