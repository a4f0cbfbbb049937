//! Moments and averages that fit into atomics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The last time that something happened, in milliseconds since an epoch; at first, never.
#[derive(Debug, Default)]
pub(super) struct Last(AtomicU64);

impl Last {
    /// The same time, to be changed apart.
    pub(super) fn copied(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Acquire)))
    }

    /// Notes that it happened at `now`, and tells when it had before.
    pub(super) fn mark(&self, now: u64) -> Option<u64> {
        self.0.fetch_max(now + 1, Ordering::AcqRel).checked_sub(1)
    }

    pub(super) fn get(&self) -> Option<u64> {
        self.0.load(Ordering::Acquire).checked_sub(1)
    }

    /// How long before `now` it was.
    pub(super) fn ago(&self, now: u64) -> Option<Duration> {
        Some(Duration::from_millis(now.saturating_sub(self.get()?)))
    }

    /// How long after `now` it is, if it is.
    pub(super) fn left(&self, now: u64) -> Option<Duration> {
        self.get()?.checked_sub(now).filter(|&left| left > 0).map(Duration::from_millis)
    }
}

/// A number that many may change at once.
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
