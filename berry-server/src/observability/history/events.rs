//! The latest events, in a ring of fixed size.

use std::{
    cmp::Reverse,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use berry_tower::backend::{BackendId, Stage};
use jiff::Timestamp;

/// A failed attempt, or a change of a backend's state.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    pub(crate) backend: BackendId,
    pub(crate) kind: EventKind,
}

/// The kind of an event.
#[derive(Clone, Debug)]
pub(crate) enum EventKind {
    /// An attempt failed.
    Failed {
        /// The class of the failure.
        class: &'static str,
        /// The status of the provider's response, if there was one.
        status: Option<u16>,
        /// The reason as text, without secrets.
        reason: Option<String>,
    },
    /// The health changed.
    Health { from: Stage, to: Stage },
    /// The circuit breaker changed, with the names of the states.
    Breaker { from: &'static str, to: &'static str },
}

/// An item with its number, counted from 0.
type Numbered<T> = (u64, Arc<T>);

/// The last `N` items. Adding one never waits.
#[derive(Debug)]
pub(super) struct Ring<T, const N: usize> {
    next: AtomicU64,
    slots: [ArcSwapOption<Numbered<T>>; N],
}

impl<T, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self { next: AtomicU64::new(0), slots: std::array::from_fn(|_| ArcSwapOption::empty()) }
    }
}

impl<T, const N: usize> Ring<T, N> {
    pub(super) fn add(&self, item: T) {
        let n = self.next.fetch_add(1, Relaxed);
        let item = Arc::new((n, Arc::new(item)));
        // A newer item, a whole round ahead, stays.
        let newer = |there: &Option<Arc<Numbered<T>>>| match there {
            Some(there) if there.0 > n => Some(there.clone()),
            _ => Some(item.clone()),
        };
        self.slots[n as usize % N].rcu(newer);
    }

    /// Returns the items, the latest first.
    pub(super) fn latest(&self) -> Vec<Arc<T>> {
        let mut all: Vec<_> = self.slots.iter().filter_map(ArcSwapOption::load_full).collect();
        all.sort_by_key(|numbered| Reverse(numbered.0));
        all.iter().map(|numbered| numbered.1.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latest(ring: &Ring<u64, 5>) -> Vec<u64> {
        ring.latest().iter().map(|item| **item).collect()
    }

    #[test]
    fn keeps_the_last_items() {
        let ring = Ring::default();
        assert!(latest(&ring).is_empty());
        (0..3).for_each(|n| ring.add(n));
        assert_eq!(latest(&ring), [2, 1, 0]);
        (3..12).for_each(|n| ring.add(n));
        assert_eq!(latest(&ring), [11, 10, 9, 8, 7]);
    }

    #[test]
    fn keeps_the_last_items_of_several_threads() {
        let ring = Ring::<u64, 5>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|n| ring.add(n)));
            }
        });
        let numbers = ring.slots.iter().map(|slot| slot.load_full().unwrap().0);
        let mut numbers: Vec<_> = numbers.collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [3995, 3996, 3997, 3998, 3999]);
    }
}
