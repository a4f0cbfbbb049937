//! The deadlines of a response body.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::after;
use crate::{
    error::Deadline,
    upstream_time::{UpstreamTime, Waiting},
};

/// Enforces the idle and the first-output deadline with one timer.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) idle: Duration,
    /// When the first output is due.
    pub(super) first_output: Option<Instant>,
    /// Since when the body waits for the upstream.
    waiting: Option<Instant>,
    /// Whether any byte of the body has come.
    pub(super) any_byte_received: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// Counts the waits before the first output, and the wait in progress.
    time: Option<UpstreamTime>,
    timed: Option<Waiting>,
}

impl Watch {
    pub(super) const fn new(idle: Duration, first_output: Option<Instant>, time: Option<UpstreamTime>) -> Self {
        Self { idle, first_output, waiting: None, any_byte_received: false, timer: None, time, timed: None }
    }

    /// The client has output; further waits are not counted as the gateway's.
    pub(super) fn output_seen(&mut self) {
        self.time = None;
    }

    /// Notes a frame, and returns how long the body waited for it.
    pub(super) fn on_frame(&mut self) -> Duration {
        self.timed = None;
        self.waiting.take().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Notes that there is no frame; ready with the deadline that has passed.
    pub(super) fn poll(&mut self, output_seen: bool, cx: &mut Context<'_>) -> Poll<Deadline> {
        let waiting = *self.waiting.get_or_insert_with(|| {
            self.timed = self.time.as_ref().map(UpstreamTime::wait);
            Instant::now()
        });
        let idle = (!self.idle.is_zero()).then(|| after(waiting, self.idle));
        let first = self.first_output.filter(|_| !output_seen);
        let (deadline, which) = match (idle, first) {
            (Some(idle), Some(first)) if first < idle => (first, Deadline::FirstToken),
            (None, Some(first)) => (first, Deadline::FirstToken),
            (Some(idle), _) => (idle, Deadline::Idle),
            (None, None) => return Poll::Pending,
        };
        // A head without a body counts as silence.
        let which = if self.any_byte_received { which } else { Deadline::FirstByte };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            // Letting the timer run out is cheaper than resetting it at every frame.
            if timer.deadline() > deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if timer.deadline() >= deadline {
                return Poll::Ready(which);
            }
            timer.as_mut().reset(deadline);
        }
    }
}
