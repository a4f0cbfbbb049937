//! Counters that reset themselves.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire},
};

/// A count that belongs to one tick of a clock. The first addition of a later tick resets it.
///
/// Tick and count share a word, so that an addition is one compare-and-swap and never counts for another tick. Additions
/// to an earlier tick are dropped.
#[derive(Debug, Default)]
pub(crate) struct EpochCounter(AtomicU64);

impl EpochCounter {
    pub(crate) fn add(&self, tick: u32, n: u32) {
        let add = |word| {
            let (of, count) = unpack(word);
            match of {
                of if of == tick => Some(pack(tick, count.saturating_add(n))),
                of if of < tick => Some(pack(tick, n)),
                _ => None,
            }
        };
        let _ = self.0.fetch_update(AcqRel, Acquire, add);
    }

    /// Returns the count of this tick.
    pub(crate) fn get(&self, tick: u32) -> u32 {
        let (of, count) = unpack(self.0.load(Acquire));
        if of == tick { count } else { 0 }
    }
}

const fn pack(tick: u32, count: u32) -> u64 {
    (tick as u64) << 32 | count as u64
}

const fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_ticks_reset_and_earlier_ones_are_dropped() {
        let count = EpochCounter::default();
        count.add(7, 2);
        count.add(7, 3);
        assert_eq!((count.get(7), count.get(6)), (5, 0));
        count.add(187, 1);
        count.add(7, 9);
        assert_eq!((count.get(187), count.get(7)), (1, 0));
        count.add(187, u32::MAX);
        assert_eq!(count.get(187), u32::MAX);
    }

    #[test]
    fn loses_no_count_when_the_tick_changes() {
        let count = EpochCounter::default();
        for tick in 1..=200 {
            let add = || (0..50).for_each(|_| count.add(tick, 1));
            std::thread::scope(|scope| {
                scope.spawn(add);
                scope.spawn(add);
            });
            assert_eq!(count.get(tick), 100);
        }
    }
}
