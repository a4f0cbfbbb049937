//! One limit for all bytes that a process holds in buffers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A number of bytes that several buffers may hold together. Clones share it.
///
/// Memory use stays bounded even if each client sends as much as it may: the limit of one body times
/// the number of connections is usually more than a machine has.
///
/// ```
/// use berry_tower::body::ByteBudget;
///
/// let budget = ByteBudget::new(100);
/// let mut first = budget.lease();
/// assert!(first.try_grow(80));
/// assert!(!budget.lease().try_grow(30), "only 20 bytes are left");
/// drop(first);
/// assert!(budget.lease().try_grow(30));
/// ```
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    max: AtomicUsize,
    used: AtomicUsize,
}

impl ByteBudget {
    /// Creates a budget of `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Counter { max: AtomicUsize::new(max), used: AtomicUsize::new(0) }))
    }

    /// Returns an empty lease on this budget.
    #[must_use]
    pub fn lease(&self) -> ByteLease {
        ByteLease { budget: self.clone(), bytes: 0 }
    }

    /// Returns the number of bytes that are leased.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Relaxed)
    }

    /// Returns the number of bytes that may be leased.
    #[must_use]
    pub fn max(&self) -> usize {
        self.0.max.load(Relaxed)
    }

    /// Changes the number of bytes that may be leased. Existing leases stay.
    pub fn set_max(&self, max: usize) {
        self.0.max.store(max, Relaxed);
    }
}

/// A number of bytes taken from a [`ByteBudget`]. Dropping it gives them back.
#[derive(Debug)]
pub struct ByteLease {
    budget: ByteBudget,
    bytes: usize,
}

impl ByteLease {
    /// Takes `bytes` more from the budget. Returns `false` and takes nothing if too few are left.
    #[must_use]
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let counter = &*self.budget.0;
        let max = counter.max.load(Relaxed);
        let grown = |used: usize| used.checked_add(bytes).filter(|used| *used <= max);
        let taken = counter.used.fetch_update(Relaxed, Relaxed, grown).is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    /// Takes `bytes` more even if the budget has fewer left, for bytes that are in memory already.
    pub fn grow(&mut self, bytes: usize) {
        self.budget.0.used.fetch_add(bytes, Relaxed);
        self.bytes += bytes;
    }

    /// Gives all but `bytes` back.
    pub fn shrink_to(&mut self, bytes: usize) {
        let returned = self.bytes.saturating_sub(bytes);
        self.budget.0.used.fetch_sub(returned, Relaxed);
        self.bytes -= returned;
    }

    /// Returns the number of bytes that this lease holds.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the budget that the bytes were taken from.
    #[must_use]
    pub const fn budget(&self) -> &ByteBudget {
        &self.budget
    }
}

impl Drop for ByteLease {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_a_lease_holds() {
        let budget = ByteBudget::new(10);
        let mut lease = budget.lease();
        assert!(lease.try_grow(4) && lease.try_grow(6) && !lease.try_grow(1));
        lease.grow(5);
        assert_eq!((lease.bytes(), budget.used()), (15, 15));
        lease.shrink_to(3);
        assert_eq!((lease.bytes(), budget.used()), (3, 3));
        assert!(!lease.try_grow(usize::MAX), "an overflow is more than any budget");
        drop(lease);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn several_threads_never_exceed_the_limit() {
        let budget = ByteBudget::new(64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let mut lease = budget.lease();
                        let _ = lease.try_grow(20);
                        assert!(budget.used() <= 64);
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
    }
}
