//! Counters of which each thread has its own copy, so that threads do not contend for a cache line.

use std::{
    cell::Cell,
    num::NonZeroUsize,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

/// The most copies; on machines with more cores, threads share copies.
const MAX_SHARDS: usize = 16;

/// Copies of `T`, one for each core. A copy is made by the first thread that uses it, in that thread's part of the heap.
///
/// A reader sums all copies with [`iter`](Self::iter).
#[derive(Debug)]
pub(crate) struct Sharded<T> {
    shards: Box<[OnceLock<Box<T>>]>,
}

impl<T> Default for Sharded<T> {
    fn default() -> Self {
        let shards = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_SHARDS);
        Self { shards: (0..shards).map(|_| OnceLock::new()).collect() }
    }
}

impl<T: Default> Sharded<T> {
    /// Returns the copy of this thread.
    pub(crate) fn local(&self) -> &T {
        self.shards[thread_number() % self.shards.len()].get_or_init(Box::default)
    }
}

impl<T> Sharded<T> {
    /// Returns all copies that were used.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.shards.iter().filter_map(|shard| shard.get().map(|shard| &**shard))
    }
}

/// Returns the number of this thread, counted from 0 in the order of their first use.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.get().unwrap_or_else(|| {
        let number = NEXT.fetch_add(1, Relaxed);
        NUMBER.set(Some(number));
        number
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn sums_what_all_threads_have_counted() {
        let counter: Sharded<AtomicU64> = Sharded::default();
        thread::scope(|scope| {
            for _ in 0..2 * MAX_SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| _ = counter.local().fetch_add(1, Relaxed)));
            }
        });
        assert_eq!(counter.iter().map(|shard| shard.load(Relaxed)).sum::<u64>(), 2000 * MAX_SHARDS as u64);
    }
}
