//! A bound on the retries of all requests together.

use std::{array, fmt};

use tokio::time::Instant;

use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// The number of seconds over which requests and retries are counted.
const WINDOW: u32 = 10;

/// A bound on retries: a share of the requests of the last 10 seconds, plus a number per second.
///
/// It keeps a failing pool from being overloaded by retries: when every request fails, the load
/// grows by a fraction and not by a multiple. Finagle's `RetryBudget` is the model.
///
/// Retries are counted exactly: however many threads withdraw at once, no window of ten whole
/// seconds has more retries than allowed.
///
/// ```
/// use berry_tower::retry::Budget;
/// use tokio::time::Instant;
///
/// let (budget, now) = (Budget::new(0.5, 0), Instant::now());
/// (0..4).for_each(|_| budget.deposit(now));
/// assert_eq!((0..4).filter(|_| budget.withdraw(now)).count(), 2);
/// ```
pub struct Budget {
    ratio: f64,
    /// The retries that are allowed in a window without any request.
    floor: u64,
    epoch: Instant,
    /// Requests per second, each slot for the latest second that it stands for.
    requests: [AtomicU64; WINDOW as usize],
    /// The retries of the current second. Retries are admitted by a compare-and-swap of this word.
    current: AtomicU64,
    /// The retries of earlier seconds. A second's count is written here before `current` moves on,
    /// and never changes afterwards.
    past: [AtomicU64; WINDOW as usize],
}

/// A count of one second, packed into a word: the second in the upper half, the count in the lower.
/// The order of the words is the order of the seconds, then of the counts.
#[derive(Clone, Copy)]
struct Count {
    second: u32,
    count: u32,
}

impl Count {
    const fn unpack(word: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the halves of the word")]
        Self { second: (word >> 32) as u32, count: word as u32 }
    }

    const fn pack(self) -> u64 {
        (self.second as u64) << 32 | self.count as u64
    }

    /// The count, if it belongs to the window that ends with `last`.
    fn within(self, last: u32) -> u64 {
        let is_recent = self.second <= last && last - self.second < WINDOW;
        if is_recent { u64::from(self.count) } else { 0 }
    }
}

const fn slot(second: u32) -> usize {
    (second % WINDOW) as usize
}

impl Budget {
    /// Returns a budget of `ratio` retries per request, plus `min_per_second` retries per second.
    ///
    /// With a ratio of [`f64::INFINITY`] the budget never refuses a retry. A ratio that is negative
    /// or not a number is 0.
    #[must_use]
    pub fn new(ratio: f64, min_per_second: u32) -> Self {
        let zeros = || array::from_fn(|_| AtomicU64::new(0));
        Self {
            ratio,
            floor: u64::from(min_per_second) * u64::from(WINDOW),
            epoch: Instant::now(),
            requests: zeros(),
            current: AtomicU64::new(0),
            past: zeros(),
        }
    }

    /// Counts a request.
    pub fn deposit(&self, now: Instant) {
        let second = self.second(now);
        let _ = self.requests[slot(second)].fetch_update(Relaxed, Relaxed, |word| {
            let Count { second: written, count } = Count::unpack(word);
            let count = if written == second { count.saturating_add(1) } else { 1 };
            Some(Count { second, count }.pack())
        });
    }

    /// Takes one retry, if one is left.
    pub fn withdraw(&self, now: Instant) -> bool {
        if self.ratio == f64::INFINITY {
            return true;
        }
        let second = self.second(now);
        loop {
            let word = self.current.load(Acquire);
            let current = Count::unpack(word);
            if current.second < second {
                // The count of the old second is final once the word has moved on. A thread that
                // comes late with a smaller count does not change what is written.
                self.past[slot(current.second)].fetch_max(word, Relaxed);
                let next = Count { second, count: 0 }.pack();
                let _ = self.current.compare_exchange(word, next, Release, Relaxed);
                continue;
            }
            // A caller whose clock reading is older counts in the current second.
            let last = current.second;
            let earlier: u64 = self
                .past
                .iter()
                .map(|past| Count::unpack(past.load(Relaxed)))
                .map(|past| if past.second == last { 0 } else { past.within(last) })
                .sum();
            if current.count == u32::MAX || earlier + u64::from(current.count) >= self.allowed(last) {
                return false;
            }
            // Success proves that nothing read above has changed in between.
            if self.current.compare_exchange(word, word + 1, Release, Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// Returns how many retries are left now; `None` if their number is not limited.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> Option<u64> {
        if self.ratio == f64::INFINITY {
            return None;
        }
        let second = self.second(now);
        let current = Count::unpack(self.current.load(Acquire));
        let past = self.past.iter().map(|past| Count::unpack(past.load(Relaxed)));
        // The current second's count is written to `past` only when the second is over.
        let past = past.filter(|past| past.second != current.second);
        let used: u64 = past.chain([current]).map(|count| count.within(second)).sum();
        Some(self.allowed(second).saturating_sub(used))
    }

    /// The number of retries that are allowed in the window that ends with `last`.
    fn allowed(&self, last: u32) -> u64 {
        let requests: u64 = self.requests.iter().map(|slot| Count::unpack(slot.load(Relaxed)).within(last)).sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the counts are small, and the conversion back saturates"
        )]
        let share = (requests as f64 * self.ratio) as u64;
        share.saturating_add(self.floor)
    }

    /// The second of a moment, from 1: a word that was never written stands for second 0.
    fn second(&self, now: Instant) -> u32 {
        let seconds = now.saturating_duration_since(self.epoch).as_secs();
        u32::try_from(seconds).unwrap_or(u32::MAX - 1).saturating_add(1)
    }
}

impl Default for Budget {
    /// Returns a budget of a fifth of the requests, plus ten retries per second.
    fn default() -> Self {
        Self::new(0.2, 10)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("ratio", &self.ratio).field("floor", &self.floor).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn tells_how_many_retries_remain() {
        let (budget, now) = (Budget::new(0.5, 0), Instant::now());
        (0..8).for_each(|_| budget.deposit(now));
        assert_eq!(budget.remaining(now), Some(4));
        assert!(budget.withdraw(now));
        let later = now + Duration::from_secs(3);
        assert!(budget.withdraw(later));
        assert_eq!(budget.remaining(later), Some(2));
        assert_eq!(budget.remaining(now + Duration::from_secs(60)), Some(0), "requests of long ago allow none");
        assert_eq!(Budget::new(f64::INFINITY, 0).remaining(now), None);
    }

    #[test]
    fn grants_floor_without_requests() {
        let (budget, now) = (Budget::new(0.2, 1), Instant::now());
        assert_eq!((0..100).filter(|_| budget.withdraw(now)).count(), 10);
    }

    #[test]
    fn forgets_requests_and_retries_older_than_window() {
        let (budget, start) = (Budget::new(1.0, 0), Instant::now());
        (0..5).for_each(|_| budget.deposit(start));
        assert!(budget.withdraw(start));
        let later = start + Duration::from_secs(u64::from(WINDOW));
        assert!(!budget.withdraw(later), "the requests are forgotten");
        budget.deposit(later);
        assert!(budget.withdraw(later), "the retry is forgotten");
    }

    #[test]
    fn counts_requests_of_several_seconds() {
        let (budget, start) = (Budget::new(0.2, 0), Instant::now());
        for second in 0..10 {
            (0..10).for_each(|_| budget.deposit(start + Duration::from_secs(second)));
        }
        let now = start + Duration::from_secs(9);
        assert_eq!((0..100).filter(|_| budget.withdraw(now)).count(), 20);
    }

    #[test]
    fn counts_retries_of_earlier_seconds() {
        let (budget, start) = (Budget::new(0.0, 1), Instant::now());
        let taken = |second: u64| {
            let now = start + Duration::from_secs(second);
            (0..100).filter(|_| budget.withdraw(now)).take(2).count()
        };
        // Ten are taken after five seconds; the window then forgets the oldest seconds.
        assert_eq!([0, 1, 2, 4, 5, 9, 10, 11, 12, 13, 14].map(taken), [2, 2, 2, 2, 2, 0, 2, 2, 2, 0, 2]);
    }

    #[test]
    fn accepts_extreme_ratios() {
        let now = Instant::now();
        for (ratio, granted) in [(f64::INFINITY, 100), (f64::NAN, 0), (-1.0, 0), (f64::MAX, 100)] {
            let budget = Budget::new(ratio, 0);
            budget.deposit(now);
            assert_eq!((0..100).filter(|_| budget.withdraw(now)).count(), granted, "{ratio}");
        }
        let budget = Budget::new(f64::INFINITY, u32::MAX);
        assert!(budget.withdraw(now), "without a request too");
    }

    #[test]
    fn grants_exact_number_under_threads() {
        for _ in 0..200 {
            let (budget, now) = (Budget::new(1.0, 0), Instant::now());
            (0..64).for_each(|_| budget.deposit(now));
            let (granted, barrier) = (AtomicU32::new(0), Barrier::new(8));
            thread::scope(|scope| {
                for thread in 0..8 {
                    // Some of the threads have read the clock a second later.
                    let now = now + Duration::from_secs(thread % 2);
                    let (budget, granted, barrier) = (&budget, &granted, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        for _ in 0..64 {
                            granted.fetch_add(u32::from(budget.withdraw(now)), Relaxed);
                        }
                    });
                }
            });
            assert_eq!(granted.into_inner(), 64);
        }
    }
}
