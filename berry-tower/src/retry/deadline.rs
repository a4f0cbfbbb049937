//! The total timeout of a request, and its timers.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    panic::catch_unwind,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::{BoxError, TotalTimeout};

/// Returned when a wait or a total timeout is due and the Tokio runtime has no timer.
///
/// [`Retry`](super::Retry) needs the timer only then: with a policy that never waits and no total
/// timeout it works without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingTimer;

impl fmt::Display for MissingTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("retry needs the timer of the Tokio runtime; build the runtime with `enable_time`")
    }
}

impl Error for MissingTimer {}

/// Why an attempt was given up before it had an outcome.
#[derive(Debug)]
pub(super) enum Expired {
    TotalTimeout,
    MissingTimer,
}

impl From<Expired> for BoxError {
    fn from(expired: Expired) -> Self {
        match expired {
            Expired::TotalTimeout => TotalTimeout.into(),
            Expired::MissingTimer => MissingTimer.into(),
        }
    }
}

/// The deadline over all attempts and their waits, if there is one.
#[pin_project]
pub(super) struct TotalDeadline {
    deadline: Option<Instant>,
    /// One timer for all attempts, created when an attempt is first pending.
    #[pin]
    timer: Option<Sleep>,
}

impl TotalDeadline {
    pub(super) const fn new(deadline: Option<Instant>) -> Self {
        Self { deadline, timer: None }
    }

    /// Passes on what an operation returned when it was polled, or that its time is over.
    pub(super) fn limit<T>(self: Pin<&mut Self>, polled: Poll<T>, cx: &mut Context<'_>) -> Poll<Result<T, Expired>> {
        match polled {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_expired(cx).map(Err),
        }
    }

    fn poll_expired(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Expired> {
        let mut this = self.project();
        let Some(deadline) = *this.deadline else { return Poll::Pending };
        if this.timer.is_none() {
            match timer(deadline) {
                Ok(timer) => this.timer.set(Some(timer)),
                Err(MissingTimer) => return Poll::Ready(Expired::MissingTimer),
            }
        }
        match this.timer.as_pin_mut() {
            Some(timer) => timer.poll(cx).map(|()| Expired::TotalTimeout),
            None => Poll::Pending,
        }
    }
}

/// Waits before a retry. Even a wait of zero lets other tasks run, so that a policy that always
/// retries does not occupy the thread.
pub(super) async fn pause(wait: Duration) -> Result<(), MissingTimer> {
    if wait.is_zero() {
        let mut has_yielded = false;
        return poll_fn(|cx| {
            if has_yielded {
                return Poll::Ready(Ok(()));
            }
            has_yielded = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
    match Instant::now().checked_add(wait) {
        Some(end) => timer(end)?.await,
        // Beyond what a clock can show: for ever.
        None => std::future::pending().await,
    }
    Ok(())
}

/// Returns a timer. Tokio panics without one, and offers no way to ask first.
fn timer(end: Instant) -> Result<Sleep, MissingTimer> {
    catch_unwind(|| sleep_until(end)).map_err(|_| MissingTimer)
}
