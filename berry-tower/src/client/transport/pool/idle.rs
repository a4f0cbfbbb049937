//! The connections of a destination that can take a request.

#![expect(clippy::disallowed_types, reason = "held for a push or a pop, never while anything is awaited")]

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use hyper::client::conn::http2;

use super::{
    connection::{self, BoxConnection},
    handover::Handover,
    slots::StreamSlots,
};
use crate::body::Buffered;

/// The sweeps after which an unused HTTP/2 connection is closed when there is another.
const SURPLUS_TURNS: u32 = 2;

/// The connections of one destination that can take a request. A clock on the path of each request
/// would cost more than the push itself, so time is counted in [sweeps](Self::sweep).
#[derive(Default)]
pub(super) struct Idle(Mutex<State>);

#[derive(Default)]
struct State {
    /// HTTP/1 connections, in the order in which they became free, each with the turn of that.
    free: Vec<(u32, BoxConnection)>,
    /// HTTP/2 connections, each with the turn of its latest request.
    shared: Vec<(u32, Shared)>,
    turn: u32,
}

/// An HTTP/2 connection.
pub(super) struct Shared {
    pub(super) sender: http2::SendRequest<Buffered>,
    pub(super) handover: Handover,
    pub(super) slots: Arc<StreamSlots>,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.sender.is_closed() || self.slots.is_retired()
    }

    fn open_stream(&self) -> Option<BoxConnection> {
        Some(connection::http2(self.sender.clone(), self.handover.clone(), self.slots.reserve()?))
    }
}

impl State {
    fn open_stream(&mut self) -> Option<BoxConnection> {
        if self.shared.iter().any(|(_, shared)| shared.is_over()) {
            self.shared.retain(|(_, shared)| !shared.is_over());
        }
        // The first that has room, so that the last ones fall idle.
        self.shared.iter_mut().find_map(|(used, shared)| {
            let stream = shared.open_stream()?;
            *used = self.turn;
            Some(stream)
        })
    }

    fn take(&mut self, mut is_ready: impl FnMut(&mut BoxConnection) -> bool) -> Option<BoxConnection> {
        if !self.shared.is_empty()
            && let Some(stream) = self.open_stream()
        {
            return Some(stream);
        }
        // hyper may not have seen the end of a response that has just been read, and is about to
        // close a connection whose response was dropped.
        let mut at = self.free.len();
        while at > 0 {
            at -= 1;
            if is_ready(&mut self.free[at].1) {
                return Some(self.free.remove(at).1);
            }
            if self.free[at].1.is_closed() {
                self.free.remove(at);
            }
        }
        None
    }
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection that became free last: the upstream is least likely to have closed it.
    pub(super) fn take(&self) -> Option<BoxConnection> {
        self.lock().take(|free| free.is_ready())
    }

    /// As [`take`](Self::take), and registers the waker with those that are not ready yet.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Option<BoxConnection> {
        self.lock().take(|free| matches!(free.as_mut().poll_ready(cx), Poll::Ready(Ok(()))))
    }

    /// Keeps an HTTP/1 connection, unless `max` are kept already.
    pub(super) fn put(&self, connection: BoxConnection, max: usize) {
        let mut state = self.lock();
        let turn = state.turn;
        state.free.push((turn, connection));
        if state.free.len() > max {
            state.free.remove(0);
        }
    }

    /// Adds an HTTP/2 connection and opens a stream on it, or on another that has room; then the new
    /// one is dropped. A fresh one takes the place of one that carries no request where there are `max` connections, and
    /// is [held](StreamSlots::hold). `None` when there are `max` connections and none has room.
    pub(super) fn share(&self, made: Shared, max: usize, is_fresh: bool) -> Option<BoxConnection> {
        let mut state = self.lock();
        if !is_fresh && let Some(stream) = state.open_stream() {
            return Some(stream);
        }
        state.shared.retain(|(_, shared)| !shared.is_over());
        if is_fresh && state.shared.len() >= max {
            // One that carries no request makes room.
            let unused = state.shared.iter().position(|(_, shared)| shared.slots.active() == 0);
            if let Some(at) = unused {
                state.shared.remove(at);
            }
        }
        if state.shared.len() >= max {
            return state.open_stream();
        }
        if is_fresh {
            made.slots.hold();
        }
        let stream = made.open_stream();
        let turn = state.turn;
        state.shared.push((turn, made));
        stream
    }

    /// Whether another HTTP/2 connection may be made. While the peer's limit of one is unknown, its
    /// streams may suffice.
    pub(super) fn may_grow(&self, max: usize) -> bool {
        let state = self.lock();
        let mut open = state.shared.iter().filter(|(_, shared)| !shared.is_over());
        open.clone().count() < max && open.all(|(_, shared)| shared.slots.has_settings())
    }

    /// Whether there are `max` HTTP/2 connections.
    pub(super) fn is_full(&self, max: usize) -> bool {
        self.lock().shared.iter().filter(|(_, shared)| !shared.is_over()).count() >= max
    }

    /// Whether there is no connection.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.shared.is_empty() && state.free.is_empty()
    }

    /// Advances the turn, and closes connections that have been unused for `turns`.
    pub(super) fn sweep(&self, turns: u32) {
        let mut state = self.lock();
        state.turn = state.turn.wrapping_add(1);
        let now = state.turn;
        let age = |since: u32| now.wrapping_sub(since);
        state.free.retain(|(since, free)| age(*since) < turns && !free.is_closed());
        let mut kept = 0;
        state.shared.retain(|(used, shared)| {
            let turns = if kept > 0 { turns.min(SURPLUS_TURNS) } else { turns };
            let keeps = !shared.is_over() && (shared.slots.active() > 0 || age(*used) < turns);
            kept += usize::from(keeps);
            keeps
        });
    }
}
