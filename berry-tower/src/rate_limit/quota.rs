//! One caller's limits and how much of them is used: governor's GCRA, one bucket per window.

use std::{
    fmt,
    num::NonZeroU32,
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
    Allowance, Exceeded, LimitKind,
    limits::{Limits, QuotaUsage, WindowLimit, WindowUsage},
};

/// The limits of one caller with their state, shared by `Arc`, for example in the caller's identity.
///
/// A limit of N is a bucket of N that refills evenly over its window (GCRA): at most N requests
/// pass at any moment, and at most 2N − 1 in any window. Concurrency is checked first, then the
/// windows from the shortest to the longest. A refusal uses nothing: what a shorter window had
/// already given is put back. (Meanwhile a concurrent request may see the shorter window one lower
/// than it is; the longer one would have refused that request, too.)
///
/// ```
/// use berry_tower::rate_limit::{Limits, Quota, Window};
///
/// let quota = Quota::new(Limits::new().per_minute(2));
/// assert!(quota.acquire().is_ok());
/// assert_eq!(quota.usage().get(Window::MINUTE).unwrap().remaining, 1);
/// assert!(quota.acquire().is_ok());
/// assert!(quota.acquire().is_err());
/// ```
pub struct Quota {
    limits: Limits,
    clock: TokioClock,
    buckets: Box<[Bucket]>,
    in_flight: Arc<AtomicU32>,
}

impl Quota {
    /// Creates an unused quota.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let clock = TokioClock(Instant::now());
        let buckets = limits.windows().iter().map(|limit| Bucket::new(*limit, clock)).collect();
        Self { limits, clock, buckets, in_flight: Arc::default() }
    }

    /// Returns a quota with other limits that keeps what is used and in flight.
    ///
    /// A window of a length that `old` limits, too, keeps the number of requests that are used of
    /// it, up to its new burst; any other window starts unused. If the limits have not changed, it is
    /// `old` itself.
    #[must_use]
    pub fn renew(old: Option<&Arc<Self>>, limits: Limits) -> Arc<Self> {
        let Some(old) = old else { return Arc::new(Self::new(limits)) };
        if old.limits == limits {
            return Arc::clone(old);
        }
        let clock = old.clock;
        let now = nanos(clock.now());
        let renewed = limits.windows().iter().map(|limit| {
            let bucket = Bucket::new(*limit, clock);
            if let Some(before) = old.buckets.iter().find(|before| before.limit.window == limit.window) {
                bucket.take_over(before, now);
            }
            bucket
        });
        let buckets = renewed.collect();
        Arc::new(Self { limits, clock, buckets, in_flight: Arc::clone(&old.in_flight) })
    }

    /// Returns the limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Uses one request of every window, or of none.
    ///
    /// # Errors
    ///
    /// A limit is reached.
    pub fn acquire(&self) -> Result<Allowance, Exceeded> {
        let slot = self.enter()?;
        for (i, bucket) in self.buckets.iter().enumerate() {
            if let Err(retry_after) = bucket.acquire() {
                self.buckets[..i].iter().for_each(Bucket::put_back);
                let exceeded = Exceeded::new(LimitKind::Window(bucket.limit.window), retry_after);
                return Err(exceeded.with_usage(bucket.usage(self.clock.now())));
            }
        }
        Ok(Allowance::new(self.tightest(self.clock.now())).with_slot(slot))
    }

    /// Returns how much is used now. It uses nothing itself: the state of each window is one
    /// number, the time when its bucket will be full again.
    #[must_use]
    pub fn usage(&self) -> QuotaUsage {
        let now = self.clock.now();
        let windows = self.buckets.iter().map(|bucket| bucket.usage(now)).collect();
        QuotaUsage { windows, in_flight: self.in_flight.load(Ordering::Relaxed) }
    }

    /// Returns whether nothing is used or in flight.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        let now = nanos(self.clock.now());
        self.in_flight.load(Ordering::Relaxed) == 0 && self.buckets.iter().all(|bucket| bucket.used(now) == 0)
    }

    fn tightest(&self, now: Duration) -> Option<WindowUsage> {
        self.buckets.iter().map(|bucket| bucket.usage(now)).min_by_key(|usage| usage.remaining)
    }

    /// Counts a request in flight. It is counted without a limit, too, in case the limits change.
    fn enter(&self) -> Result<Slot, Exceeded> {
        let max = self.limits.max_concurrent().unwrap_or(u32::MAX);
        let one_more = |n: u32| (n < max).then(|| n + 1);
        match self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Slot(Arc::clone(&self.in_flight))),
            Err(_) => {
                let exceeded = Exceeded::new(LimitKind::Concurrency, Duration::from_secs(1));
                Err(exceeded.with_usage(self.tightest(self.clock.now())))
            }
        }
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

/// A place among a caller's requests in flight, which is given back on drop.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicU32>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The bucket of one window.
struct Bucket {
    limit: WindowLimit,
    /// The interval in which one request refills, in nanoseconds; at least 1.
    cost: u64,
    /// The number of requests that the bucket holds.
    burst: u32,
    full_at: FullAt,
    /// `None` for a limit of 0.
    limiter: Option<RateLimiter<NotKeyed, FullAt, TokioClock, NoOpMiddleware<Duration>>>,
}

/// The longest time that a bucket takes to fill, in nanoseconds: about 100 years, which added to any
/// clock stays within 64 bits.
const MAX_FILL: u64 = u64::MAX / 6;

impl Bucket {
    fn new(limit: WindowLimit, clock: TokioClock) -> Self {
        let full_at = FullAt::default();
        let cost = (nanos(limit.window.length()) / u64::from(limit.limit.max(1))).clamp(1, MAX_FILL);
        let most = u32::try_from(MAX_FILL / cost).unwrap_or(u32::MAX);
        let burst = if limit.limit == 0 { 0 } else { limit.burst.clamp(1, most) };
        let limiter = NonZeroU32::new(burst)
            .and_then(|burst| Some(governor::Quota::with_period(Duration::from_nanos(cost))?.allow_burst(burst)))
            .map(|quota| RateLimiter::new(quota, full_at.clone(), clock));
        Self { limit, cost, burst, full_at, limiter }
    }

    /// Uses one request; the error is the time until one is available.
    fn acquire(&self) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Err(self.limit.window.length()) };
        limiter.check().map_err(|not_until| not_until.wait_time_from(limiter.clock().now()))
    }

    /// Undoes one [`acquire`](Self::acquire). The state only ever grows by whole costs from now or
    /// from the future, so this is exact unless the bucket was full and used in between.
    fn put_back(&self) {
        let cost = self.cost;
        let less = |at: u64| Some(at.saturating_sub(cost));
        // It cannot fail: `less` always returns a number.
        let _ = self.full_at.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
    }

    /// Starts with the requests that are used of another bucket for the same window.
    fn take_over(&self, before: &Self, now: u64) {
        let used = u128::from(before.used(now)) * u128::from(self.cost) / u128::from(before.cost);
        let used = u64::try_from(used).unwrap_or(u64::MAX).min(self.cost * u64::from(self.burst));
        if used > 0 {
            self.full_at.0.store(now.saturating_add(used), Ordering::Release);
        }
    }

    /// Returns the nanoseconds until the bucket is full.
    fn used(&self, now: u64) -> u64 {
        self.full_at.0.load(Ordering::Acquire).saturating_sub(now)
    }

    fn usage(&self, now: Duration) -> WindowUsage {
        let used = self.used(nanos(now));
        let requests = u32::try_from(used.div_ceil(self.cost)).unwrap_or(u32::MAX);
        let remaining = self.burst.saturating_sub(requests);
        WindowUsage::new(self.limit.window, self.limit.limit, remaining, Duration::from_nanos(used))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// GCRA's "theoretical arrival time": when the bucket will be full again, in nanoseconds of the
/// clock. It is a store of our own, not governor's, so that it can be read without using anything
/// and be put back.
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

/// Tokio's clock, which tests can pause; the time since the quota was made.
#[derive(Clone, Copy, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
