//! The deadline over all attempts.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::{BoxError, TotalTimeout};

/// The time that all attempts have together, if it is bounded.
#[pin_project]
pub(super) struct Total {
    deadline: Option<Instant>,
    /// Set when there is something to wait for; one for all attempts.
    #[pin]
    timer: Option<Sleep>,
}

impl Total {
    pub(super) const fn new(deadline: Option<Instant>) -> Self {
        Self { deadline, timer: None }
    }

    /// What came of something that was polled, or that time has run out for it.
    pub(super) fn limit<T, E>(
        self: Pin<&mut Self>,
        polled: Poll<Result<T, E>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, BoxError>>
    where
        E: Into<BoxError>,
    {
        match polled {
            Poll::Ready(result) => Poll::Ready(result.map_err(Into::into)),
            Poll::Pending if self.has_passed(cx) => Poll::Ready(Err(TotalTimeout.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn has_passed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let mut this = self.project();
        let Some(deadline) = *this.deadline else { return false };
        if this.timer.is_none() {
            this.timer.set(Some(sleep_until(deadline)));
        }
        this.timer.as_pin_mut().is_some_and(|timer| timer.poll(cx).is_ready())
    }
}
