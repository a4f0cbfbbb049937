//! Timestamps and floating-point numbers in atomics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A timestamp in milliseconds since an epoch, which only grows. It starts unset.
#[derive(Debug, Default)]
pub(super) struct AtomicTimestamp(AtomicU64);

impl AtomicTimestamp {
    /// Returns the same timestamp in a value of its own.
    pub(super) fn copied(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Acquire)))
    }

    /// Raises the timestamp to `now` and returns the one before.
    pub(super) fn mark(&self, now: u64) -> Option<u64> {
        self.0.fetch_max(now + 1, Ordering::AcqRel).checked_sub(1)
    }

    pub(super) fn get(&self) -> Option<u64> {
        self.0.load(Ordering::Acquire).checked_sub(1)
    }

    /// Returns the time from the timestamp to `now`.
    pub(super) fn ago(&self, now: u64) -> Option<Duration> {
        Some(Duration::from_millis(now.saturating_sub(self.get()?)))
    }

    /// Returns the time from `now` to the timestamp, if that is in the future.
    pub(super) fn left(&self, now: u64) -> Option<Duration> {
        self.get()?.checked_sub(now).filter(|&left| left > 0).map(Duration::from_millis)
    }
}

/// An `f64` that threads may update concurrently.
#[derive(Debug)]
pub(super) struct Float(AtomicU64);

impl Float {
    pub(super) const fn new(value: f64) -> Self {
        Self(AtomicU64::new(value.to_bits()))
    }

    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Acquire))
    }

    pub(super) fn update(&self, change: impl Fn(f64) -> f64) {
        let change = |bits| Some(change(f64::from_bits(bits)).to_bits());
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
