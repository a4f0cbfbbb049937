//! The connections that are free.

// It is held for a push or a pop, by the few that ask the same destination in the same instant. A
// queue without locks would be one that hands out the coldest connection first.
#![expect(clippy::disallowed_types, reason = "held for a push or a pop, never while anything is waited for")]

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use hyper::client::conn::http2;

use super::connection::{self, Boxed};
use crate::body::Buffered;

/// The connections of one destination that wait for a request. A clock on the path of each request
/// would cost more than the push itself, so that time is counted in [turns](Self::turn).
#[derive(Default)]
pub(super) struct Idle(Mutex<State>);

#[derive(Default)]
struct State {
    /// HTTP/1's, in the order in which they came, each with its turn.
    free: Vec<(u32, Boxed)>,
    /// HTTP/2's, and the turn of its last request.
    shared: Option<(u32, Shared)>,
    turn: u32,
}

type Shared = http2::SendRequest<Buffered>;

impl State {
    fn take(&mut self, mut is_ready: impl FnMut(&mut Boxed) -> bool) -> Option<Boxed> {
        if let Some((used, shared)) = self.shared.as_mut().filter(|shared| !shared.1.is_closed()) {
            *used = self.turn;
            return Some(connection::http2(shared.clone()));
        }
        // hyper has yet to see the end of an answer that has just been read, and closes a
        // connection in a moment whose answer nobody wants to read.
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

    /// The connection that came last, which the upstream is least likely to have closed.
    pub(super) fn take(&self) -> Option<Boxed> {
        self.lock().take(|free| free.is_ready())
    }

    /// The same, for one who waits for those that are not ready yet.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Option<Boxed> {
        self.lock().take(|free| matches!(free.as_mut().poll_ready(cx), Poll::Ready(Ok(()))))
    }

    /// Keeps a connection.
    pub(super) fn put(&self, connection: Boxed) {
        let mut state = self.lock();
        let turn = state.turn;
        state.free.push((turn, connection));
    }

    /// Keeps a connection that has room for all. If there is one already, that one is as good.
    pub(super) fn share(&self, made: Shared) -> Boxed {
        let mut state = self.lock();
        let turn = state.turn;
        let open = state.shared.take().map(|shared| shared.1).filter(|shared| !shared.is_closed());
        let shared = open.unwrap_or(made);
        state.shared = Some((turn, shared.clone()));
        drop(state);
        connection::http2(shared)
    }

    /// Whether there is no connection.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.shared.is_none() && state.free.is_empty()
    }

    /// Lets a turn go by, and ends what has been here for so many.
    pub(super) fn turn(&self, turns: u32) {
        let mut state = self.lock();
        state.turn = state.turn.wrapping_add(1);
        let now = state.turn;
        let is_old = |since: u32| now.wrapping_sub(since) >= turns;
        state.free.retain(|(since, free)| !is_old(*since) && !free.is_closed());
        state.shared.take_if(|(used, shared)| is_old(*used) || shared.is_closed());
    }
}
