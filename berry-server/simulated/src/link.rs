//! The connection as a response sees it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The handle of a response on its connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) number: u64,
    flushes: AtomicU64,
    wants_flush: AtomicBool,
    reset: AtomicBool,
    stopped: AtomicBool,
}

impl Link {
    pub(super) fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Returns how often all written data has reached the socket.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Relaxed)
    }

    /// Counts a flush. Returns whether the task of the connection is to be woken.
    pub(super) fn flushed(&self) -> bool {
        self.flushes.fetch_add(1, Relaxed);
        self.wants_flush.swap(false, Relaxed)
    }

    /// Wakes the task of the connection after the next flush.
    pub(super) fn want_flush(&self) {
        self.wants_flush.store(true, Relaxed);
    }

    /// Makes the connection end with a TCP reset instead of a close.
    pub(super) fn reset(&self) {
        self.reset.store(true, Relaxed);
    }

    pub(super) fn is_reset(&self) -> bool {
        self.reset.load(Relaxed)
    }

    /// Resets the connection because the provider is taken down or stopped.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Relaxed);
        self.reset();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }
}
