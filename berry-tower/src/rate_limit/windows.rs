//! One caller's limits and how much of them is spent: governor's GCRA, one cell per window.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{NotKeyed, StateStore},
};
use tokio::time::Instant;

use super::{
    Allowance, Exceeded, LimitKind, Slot,
    limits::{Limits, Snapshot, Usage, Window},
};

/// One caller's limits with their state: one per user, kept in the identity, shared by `Arc`.
///
/// A limit of N is a bucket of N that refills evenly over its window (GCRA): any moment allows at
/// most N requests, any window at most 2N − 1. Concurrency is looked at first, then the windows
/// from the shortest to the longest. A refusal spends nothing: what a shorter window had already
/// given is put back. (Between the two a request that comes at the same moment may see the shorter
/// window one lower than it is; it would have been refused by the longer one too.)
///
/// ```
/// use berry_tower::rate_limit::{Limits, Quota};
/// use std::sync::Arc;
///
/// let quota = Arc::new(Quota::new(Limits::new().per_minute(2)));
/// assert!(quota.take().is_ok());
/// assert_eq!(quota.snapshot(tokio::time::Instant::now()).minute.unwrap().remaining, 1);
/// assert!(quota.take().is_ok());
/// assert!(quota.take().is_err());
/// ```
pub struct Quota {
    limits: Limits,
    clock: TokioClock,
    cells: [Option<Cell>; 3],
    in_flight: AtomicU32,
}

impl Quota {
    /// An unspent quota.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let clock = TokioClock(Instant::now());
        let cells = [
            Cell::new(Window::Minute, limits.per_minute, clock),
            Cell::new(Window::Hour, limits.per_hour, clock),
            Cell::new(Window::Day, limits.per_day, clock),
        ];
        Self { limits, clock, cells, in_flight: AtomicU32::new(0) }
    }

    /// The old quota, with all that is spent of it, if its limits are these; else a new one. So a
    /// reload gives nobody a fresh quota.
    #[must_use]
    pub fn renew(old: Option<&Arc<Self>>, limits: Limits) -> Arc<Self> {
        match old {
            Some(old) if old.limits == limits => Arc::clone(old),
            _ => Arc::new(Self::new(limits)),
        }
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Spends one request of every window, or of none.
    ///
    /// # Errors
    ///
    /// A limit is reached; it says which.
    pub fn take(self: &Arc<Self>) -> Result<Allowance, Exceeded> {
        let held = self.enter()?;
        for (i, cell) in self.cells.iter().enumerate() {
            let Some(cell) = cell else { continue };
            if let Err(not_until) = cell.limiter.check() {
                self.cells[..i].iter().flatten().for_each(Cell::put_back);
                let now = self.clock.now();
                return Err(Exceeded::Limit {
                    limited: cell.window.into(),
                    retry_after: not_until.wait_time_from(now),
                    usage: Some(cell.usage(now)),
                });
            }
        }
        Ok(Allowance { usage: self.at(self.clock.now()).tightest(), held })
    }

    /// What is spent at `now`. It spends nothing: each window's state is one number, the time when
    /// the window will be whole again, and the rest follows from the clock.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        self.at(now.saturating_duration_since(self.clock.0))
    }

    /// Whether it is as good as new: nothing spent, nothing under way.
    #[must_use]
    pub fn is_unused(&self, now: Instant) -> bool {
        let now = self.snapshot(now);
        now.in_flight == 0 && [now.minute, now.hour, now.day].iter().flatten().all(|usage| usage.reset.is_zero())
    }

    fn at(&self, now: Duration) -> Snapshot {
        let [minute, hour, day] = self.cells.each_ref().map(|cell| cell.as_ref().map(|cell| cell.usage(now)));
        Snapshot { minute, hour, day, in_flight: self.in_flight.load(Ordering::Relaxed) }
    }

    fn enter(self: &Arc<Self>) -> Result<Option<Slot>, Exceeded> {
        let most = self.limits.concurrent;
        if most == 0 {
            return Ok(None);
        }
        let one_more = |n: u32| (n < most).then(|| n + 1);
        match self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Some(Slot(Arc::clone(self)))),
            Err(_) => Err(Exceeded::Limit {
                limited: LimitKind::Concurrency,
                retry_after: Duration::from_secs(1),
                usage: self.at(self.clock.now()).tightest(),
            }),
        }
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quota")
            .field("limits", &self.limits)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

/// One window of one caller.
struct Cell {
    window: Window,
    limit: u32,
    /// Nanoseconds that one request costs.
    cost: u64,
    full_at: FullAt,
    limiter: RateLimiter<NotKeyed, FullAt, TokioClock, NoOpMiddleware<Duration>>,
}

impl Cell {
    fn new(window: Window, limit: u32, clock: TokioClock) -> Option<Self> {
        let burst = std::num::NonZeroU32::new(limit)?;
        let each = window.length() / limit;
        let quota = governor::Quota::with_period(each)?.allow_burst(burst);
        let full_at = FullAt::default();
        let limiter = RateLimiter::new(quota, full_at.clone(), clock);
        Some(Self { window, limit, cost: nanos(each), full_at, limiter })
    }

    /// Undoes one spending. The cell's number only ever grows by whole costs from the present or
    /// the future, so this is exact unless the cell has run empty and been spent from in between.
    fn put_back(&self) {
        let cost = self.cost;
        let less = |at: u64| Some(at.saturating_sub(cost));
        // It cannot fail: `less` always gives a number.
        let _ = self.full_at.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
    }

    fn usage(&self, now: Duration) -> Usage {
        let reset = self.full_at.0.load(Ordering::Acquire).saturating_sub(nanos(now));
        let spent = u32::try_from(reset.div_ceil(self.cost)).unwrap_or(u32::MAX);
        Usage {
            window: self.window,
            limit: self.limit,
            remaining: self.limit.saturating_sub(spent),
            reset: Duration::from_nanos(reset),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// GCRA's one number, the "theoretical arrival time": when the bucket will be full again. It is
/// our own store, not governor's, so that it can be read without spending and put back.
#[derive(Clone, Debug, Default)]
struct FullAt(Arc<AtomicU64>);

impl StateStore for FullAt {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut at = self.0.load(Ordering::Acquire);
        loop {
            let (decision, next) = decide(Some(Nanos::from(Duration::from_nanos(at))))?;
            match self.0.compare_exchange_weak(at, next.as_u64(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(decision),
                Err(other) => at = other,
            }
        }
    }
}

/// Tokio's clock, so that tests can pause it; the time since the quota was made.
#[derive(Clone, Copy, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
