//! How many retries all requests together may spend.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::time::Instant;

/// The window over which the share is taken, in slots of a second.
const WINDOW: usize = 10;

/// A bound on retries: a share of the requests of the last 10 s, plus so many a second.
///
/// It keeps a pool that is down from being hammered: where every request would be retried, the
/// load is a fraction more, not a multiple. Finagle's `RetryBudget` is the model.
///
/// ```
/// use berry_tower::retry::Budget;
/// use tokio::time::Instant;
///
/// let (budget, now) = (Budget::new(0.5, 0), Instant::now());
/// (0..4).for_each(|_| budget.deposit(now));
/// assert_eq!((0..4).filter(|_| budget.withdraw(now)).count(), 2);
/// ```
#[derive(Debug)]
pub struct Budget {
    ratio: f64,
    floor: u64,
    epoch: Instant,
    slots: [Slot; WINDOW],
}

/// What happened in one second: the second's number in the upper 24 bits, then 20 bits of
/// retries and 20 of requests, so that one word changes at once and no count outlives its second.
#[derive(Debug, Default)]
struct Slot(AtomicU64);

const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

#[derive(Clone, Copy)]
struct Counts {
    requests: u64,
    retries: u64,
}

impl Slot {
    fn read(word: u64, second: u64) -> Counts {
        if word >> (2 * COUNT_BITS) != second {
            return Counts { requests: 0, retries: 0 };
        }
        Counts { requests: word & COUNT_MAX, retries: word >> COUNT_BITS & COUNT_MAX }
    }

    fn add(&self, second: u64, requests: u64, retries: u64) {
        let add = |word: u64| {
            let counts = Self::read(word, second);
            let requests = (counts.requests + requests).min(COUNT_MAX);
            let retries = (counts.retries + retries).min(COUNT_MAX);
            Some(second << (2 * COUNT_BITS) | retries << COUNT_BITS | requests)
        };
        let _ = self.0.fetch_update(Relaxed, Relaxed, add);
    }
}

impl Budget {
    /// A budget of `ratio` retries for a request, plus `min_per_second`.
    #[must_use]
    pub fn new(ratio: f64, min_per_second: u32) -> Self {
        let floor = u64::from(min_per_second) * WINDOW as u64;
        Self { ratio, floor, epoch: Instant::now(), slots: Default::default() }
    }

    /// Counts a request.
    pub fn deposit(&self, now: Instant) {
        let second = self.second(now);
        self.slot(second).add(second & Self::SECOND_MASK, 1, 0);
    }

    /// Takes one retry out, if one is left.
    pub fn withdraw(&self, now: Instant) -> bool {
        let second = self.second(now);
        let (mut requests, mut retries) = (0, 0);
        for second in second.saturating_sub(WINDOW as u64 - 1)..=second {
            let counts = Slot::read(self.slot(second).0.load(Relaxed), second & Self::SECOND_MASK);
            requests += counts.requests;
            retries += counts.retries;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small counts"
        )]
        let allowed = (requests as f64 * self.ratio) as u64 + self.floor;
        let left = retries < allowed;
        if left {
            self.slot(second).add(second & Self::SECOND_MASK, 0, 1);
        }
        left
    }

    const SECOND_MASK: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

    fn second(&self, now: Instant) -> u64 {
        // One more, so that a slot never written is no slot of second 0.
        now.saturating_duration_since(self.epoch).as_secs() + 1
    }

    fn slot(&self, second: u64) -> &Slot {
        #[expect(clippy::cast_possible_truncation, reason = "below WINDOW")]
        &self.slots[(second % WINDOW as u64) as usize]
    }
}

impl Default for Budget {
    /// A fifth of the requests, plus ten a second.
    fn default() -> Self {
        Self::new(0.2, 10)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_floor_is_there_without_any_request() {
        let (budget, now) = (Budget::new(0.2, 1), Instant::now());
        assert_eq!((0..100).filter(|_| budget.withdraw(now)).count(), 10);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let (budget, start) = (Budget::new(1.0, 0), Instant::now());
        (0..5).for_each(|_| budget.deposit(start));
        assert!(budget.withdraw(start));
        let later = start + Duration::from_secs(WINDOW as u64);
        assert!(!budget.withdraw(later), "those requests are gone");
        budget.deposit(later);
        assert!(budget.withdraw(later), "and so is what they spent");
    }

    #[test]
    fn a_share_of_the_requests_over_several_seconds() {
        let (budget, start) = (Budget::new(0.2, 0), Instant::now());
        for second in 0..10 {
            (0..10).for_each(|_| budget.deposit(start + Duration::from_secs(second)));
        }
        let now = start + Duration::from_secs(9);
        assert_eq!((0..100).filter(|_| budget.withdraw(now)).count(), 20);
    }
}
