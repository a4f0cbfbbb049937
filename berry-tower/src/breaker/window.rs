//! The share of successes over a sliding window, without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::policy::{SuccessRate, millis};

const BUCKETS: usize = 10;

/// Counts of ten slices of time, each in one word: 24 bits of the slice's number, 20 of all
/// requests, 20 of failures. A bucket is taken over by the first request of a later slice.
#[derive(Debug, Default)]
pub(super) struct Window {
    buckets: [AtomicU64; BUCKETS],
    /// The length of a slice in milliseconds; 0 switches the window off.
    slice: AtomicU64,
    min_requests: AtomicU64,
    /// The bits of an `f64`.
    rate: AtomicU64,
}

const COUNT: u64 = (1 << 20) - 1;
const SLICE: u64 = (1 << 24) - 1;

impl Window {
    pub(super) fn new(rate: Option<SuccessRate>) -> Self {
        let window = Self::default();
        window.set(rate);
        window
    }

    pub(super) fn set(&self, rate: Option<SuccessRate>) {
        let slice = rate.map_or(0, |rate| (millis(rate.window()) / BUCKETS as u64).max(1));
        if let Some(rate) = rate {
            self.min_requests.store(rate.min_requests().into(), Relaxed);
            self.rate.store(rate.rate().to_bits(), Relaxed);
        }
        if self.slice.swap(slice, Relaxed) != slice {
            self.clear();
        }
    }

    pub(super) fn is_off(&self) -> bool {
        self.slice.load(Relaxed) == 0
    }

    /// Forgets all requests.
    pub(super) fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
    }

    /// Counts a request that ended at `at` milliseconds. Returns whether a failure has brought the
    /// share of successes below the rate.
    pub(super) fn count(&self, failed: bool, at: u64) -> bool {
        let Some(slice) = at.checked_div(self.slice.load(Relaxed)).map(|slice| slice & SLICE) else { return false };
        let add = 1 << 20 | u64::from(failed);
        let update = |word: u64| {
            let is_current = word >> 40 == slice;
            let full = word >> 20 & COUNT == COUNT;
            Some(match (is_current, full) {
                (true, true) => word,
                (true, false) => word + add,
                (false, _) => slice << 40 | add,
            })
        };
        let _ = self.buckets[slice as usize % BUCKETS].fetch_update(Relaxed, Relaxed, update);
        failed && self.is_below_rate(slice)
    }

    fn is_below_rate(&self, slice: u64) -> bool {
        let words = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let recent = words.filter(|word| slice.wrapping_sub(word >> 40) & SLICE < BUCKETS as u64);
        let (all, failed) =
            recent.fold((0, 0), |(all, failed), word| (all + (word >> 20 & COUNT), failed + (word & COUNT)));
        let rate = f64::from_bits(self.rate.load(Relaxed));
        all > 0 && all >= self.min_requests.load(Relaxed) && ((all - failed) as f64) < rate * all as f64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn window() -> Window {
        Window::new(Some(SuccessRate::new(0.5, Duration::from_millis(100), 4)))
    }

    #[test]
    fn rate_needs_the_minimum_number_of_requests() {
        let window = window();
        assert!(!window.count(true, 500) && !window.count(true, 500) && !window.count(true, 500));
        assert!(window.count(true, 500));
        window.clear();
        for at in [500, 501] {
            assert!(!window.count(false, at) && !window.count(true, at));
        }
        assert!(window.count(true, 502), "two of five");
    }

    #[test]
    fn forgets_requests_older_than_the_window() {
        let window = window();
        (0..3).for_each(|_| assert!(!window.count(true, 500)));
        assert!(window.count(true, 599));
        window.clear();
        (0..3).for_each(|_| assert!(!window.count(true, 500)));
        assert!(!window.count(true, 600));
    }

    #[test]
    fn counts_requests_of_several_threads() {
        let window = Window::new(Some(SuccessRate::new(0.5, Duration::from_secs(3600), 8_000)));
        let below = std::thread::scope(|scope| {
            let count = || (0..2_000).filter(|_| window.count(true, 1)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert!(below >= 1, "the last of 8,000 has seen all of them");
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        assert!(!Window::default().count(true, u64::MAX));
        let endless = Window::new(Some(SuccessRate::new(f64::INFINITY, Duration::MAX, 0)));
        assert!(endless.count(true, u64::MAX));
        let short = Window::new(Some(SuccessRate::new(0.0, Duration::ZERO, 0)));
        assert!(!short.count(true, u64::MAX));
    }
}
