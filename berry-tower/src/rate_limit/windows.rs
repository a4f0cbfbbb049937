//! One caller's limits and how much of them is spent: governor's GCRA, one cell per window.

use std::{
    fmt::{self, Write as _},
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

use super::{Allowance, Exceeded, Limited, Slot};

/// How many requests a caller may make. A number of 0, like an absent one, sets no limit.
///
/// ```
/// use berry_tower::rate_limit::Limits;
///
/// let limits = Limits::new().per_minute(60).per_day(5_000).concurrent(4);
/// assert_eq!(limits.per_hour, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests per minute.
    pub per_minute: u32,
    /// Requests per hour.
    pub per_hour: u32,
    /// Requests per day.
    pub per_day: u32,
    /// Requests at the same time.
    pub concurrent: u32,
}

impl Limits {
    /// No limits yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { per_minute: 0, per_hour: 0, per_day: 0, concurrent: 0 }
    }

    /// Limits the requests per minute.
    #[must_use]
    pub const fn per_minute(mut self, n: u32) -> Self {
        self.per_minute = n;
        self
    }

    /// Limits the requests per hour.
    #[must_use]
    pub const fn per_hour(mut self, n: u32) -> Self {
        self.per_hour = n;
        self
    }

    /// Limits the requests per day.
    #[must_use]
    pub const fn per_day(mut self, n: u32) -> Self {
        self.per_day = n;
        self
    }

    /// Limits the requests under way at the same time; one is under way until its response's body
    /// has ended.
    #[must_use]
    pub const fn concurrent(mut self, n: u32) -> Self {
        self.concurrent = n;
        self
    }
}

/// A window of time that a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
}

impl Window {
    /// How long it is.
    #[must_use]
    pub const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }

    /// `minute`, `hour` or `day`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// How much of one window is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The window.
    pub window: Window,
    /// Its limit.
    pub limit: u32,
    /// How many requests are left now.
    pub remaining: u32,
    /// Until all of them are left again, if none is made.
    pub reset: Duration,
}

/// What one caller has spent, and what is going on for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The minute, if it is limited.
    pub minute: Option<Usage>,
    /// The hour, if it is limited.
    pub hour: Option<Usage>,
    /// The day, if it is limited.
    pub day: Option<Usage>,
    /// Requests under way; counted only where concurrency is limited.
    pub in_flight: u32,
}

impl Snapshot {
    /// The window with the fewest requests left, the shorter one of equals.
    #[must_use]
    pub fn tightest(&self) -> Option<Usage> {
        [self.minute, self.hour, self.day].into_iter().flatten().min_by_key(|usage| usage.remaining)
    }
}

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
                limited: Limited::Concurrency,
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

/// A duration as Go prints it, rounded up to milliseconds: `1s`, `6m0s`, `1h0m0.5s`, `20ms`.
#[must_use]
pub fn go_duration(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let mut text = String::with_capacity(12);
    if millis < 1_000 {
        // Writing to a string cannot fail.
        let _ = if millis == 0 { write!(text, "0s") } else { write!(text, "{millis}ms") };
        return text;
    }
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let _ = if hours > 0 { write!(text, "{hours}h{minutes}m") } else { Ok(()) };
    let _ = if hours == 0 && minutes > 0 { write!(text, "{minutes}m") } else { Ok(()) };
    let _ = write!(text, "{}", seconds % 60);
    if millis > 0 {
        let fraction = format!("{millis:03}");
        let _ = write!(text, ".{}", fraction.trim_end_matches('0'));
    }
    text.push('s');
    text
}
