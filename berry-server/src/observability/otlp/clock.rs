//! Wall-clock times of monotonic instants.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// One moment by both clocks.
#[derive(Debug)]
pub(super) struct Clock {
    instant: Instant,
    /// Since the Unix epoch.
    wall: Duration,
}

impl Clock {
    pub(super) fn now() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), wall }
    }

    /// Returns an instant in nanoseconds since the Unix epoch.
    pub(super) fn nanos(&self, at: Instant) -> u64 {
        let wall = match at.checked_duration_since(self.instant) {
            Some(later) => self.wall + later,
            None => self.wall.saturating_sub(self.instant - at),
        };
        u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX)
    }
}
