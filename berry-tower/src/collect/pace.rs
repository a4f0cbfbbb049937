//! Decides when a body is too slow.

use std::time::Duration;

use tokio::time::Instant;

use super::Limits;

/// The interval over which the least rate is measured.
const INTERVAL: Duration = Duration::from_secs(30);

/// Which limit a slow body has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooSlow {
    /// No byte arrived for this long.
    Silence(Duration),
    /// The body was not complete after this long.
    Time(Duration),
    /// Fewer bytes per second than this arrived.
    Rate(u64),
}

/// How fast a body has arrived since it was first waited for.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    /// The start of the present wait, if the body is being waited for.
    silent_since: Option<Instant>,
    interval_start: Instant,
    interval_bytes: u64,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { started: now, silent_since: Some(now), interval_start: now, interval_bytes: 0 }
    }

    /// Records that the body is waited for from now on, unless it is already.
    pub(super) fn record_wait(&mut self) {
        self.silent_since.get_or_insert_with(Instant::now);
    }

    pub(super) const fn record_bytes(&mut self, bytes: usize) {
        self.silent_since = None;
        self.interval_bytes = self.interval_bytes.saturating_add(bytes as u64);
    }

    /// Returns the next time at which [`check`](Self::check) may fail. It never moves backwards.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let silence = self.silent_since.zip(limits.max_silence).and_then(|(since, max)| since.checked_add(max));
        let time = limits.max_time.and_then(|max| self.started.checked_add(max));
        let rate = (limits.min_rate > 0).then(|| self.interval_start + INTERVAL);
        [silence, time, rate].into_iter().flatten().min()
    }

    /// Checks the limits, and begins the next interval if the present one is over.
    pub(super) fn check(&mut self, now: Instant, limits: &Limits) -> Result<(), TooSlow> {
        if let Some(max) = limits.max_silence
            && self.silent_since.is_some_and(|since| now.saturating_duration_since(since) >= max)
        {
            return Err(TooSlow::Silence(max));
        }
        if let Some(max) = limits.max_time
            && now.saturating_duration_since(self.started) >= max
        {
            return Err(TooSlow::Time(max));
        }
        let elapsed = now.saturating_duration_since(self.interval_start);
        if limits.min_rate > 0 && elapsed >= INTERVAL {
            if self.interval_bytes / elapsed.as_secs().max(1) < limits.min_rate {
                return Err(TooSlow::Rate(limits.min_rate));
            }
            (self.interval_start, self.interval_bytes) = (now, 0);
        }
        Ok(())
    }
}
