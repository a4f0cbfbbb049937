//! The deadlines of a body.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    error::Deadline,
    upstream_time::{UpstreamTime, Waiting},
};

/// The silence that is allowed. One timer serves both deadlines.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) idle: Duration,
    /// Until output must have been seen.
    pub(super) first_output: Option<Instant>,
    /// Since when the upstream has been waited for.
    waiting: Option<Instant>,
    /// Whether a byte has come at all.
    pub(super) heard: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// Where the waits before the first output are added up, and the one that goes on.
    time: Option<UpstreamTime>,
    timed: Option<Waiting>,
}

impl Watch {
    pub(super) const fn new(idle: Duration, first_output: Option<Instant>, time: Option<UpstreamTime>) -> Self {
        Self { idle, first_output, waiting: None, heard: false, timer: None, time, timed: None }
    }

    /// The client has something to read; from here on its time is not the gateway's.
    pub(super) fn output_seen(&mut self) {
        self.time = None;
    }

    /// The upstream has given something; how long has it been waited for?
    pub(super) fn came(&mut self) -> Duration {
        self.timed = None;
        self.waiting.take().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The upstream has nothing to give; has it been silent for too long?
    pub(super) fn poll(&mut self, output_seen: bool, cx: &mut Context<'_>) -> Poll<Deadline> {
        let waiting = *self.waiting.get_or_insert_with(|| {
            self.timed = self.time.as_ref().map(UpstreamTime::wait);
            Instant::now()
        });
        let idle = (!self.idle.is_zero()).then(|| waiting + self.idle);
        let first = self.first_output.filter(|_| !output_seen);
        let (deadline, which) = match (idle, first) {
            (Some(idle), Some(first)) if first < idle => (first, Deadline::FirstToken),
            (None, Some(first)) => (first, Deadline::FirstToken),
            (Some(idle), _) => (idle, Deadline::Idle),
            (None, None) => return Poll::Pending,
        };
        // A head with nothing behind it is as good as silence.
        let which = if self.heard { which } else { Deadline::FirstByte };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            // The timer is left to run out rather than set anew at every frame, which is dearer.
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
