//! One limit for all bytes that a process holds in buffers.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// The number of counters for the bytes of single owners. Two owners whose hashes fall on the same
/// counter share one share.
const SHARES: usize = 1024;

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
///
/// # Shares
///
/// Leases of one [owner](Self::lease_for) together may hold as many bytes as are free for others, so
/// one owner gets at most half of the budget, a second one a quarter or more. A single lease of an
/// owner may take all that is free.
///
/// ```
/// use berry_tower::body::ByteBudget;
///
/// let budget = ByteBudget::new(100);
/// let mut leases = [budget.lease_for("alice"), budget.lease_for("alice"), budget.lease_for("alice")];
/// let taken = leases.each_mut().map(|lease| lease.try_grow(20));
/// assert_eq!(taken, [true, true, false], "a third lease would leave less for others than alice holds");
/// assert!(budget.lease_for("bob").try_grow(60));
/// ```
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    max: AtomicUsize,
    used: AtomicUsize,
    shares: Box<[AtomicUsize]>,
}

impl ByteBudget {
    /// Creates a budget of `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let shares = (0..SHARES).map(|_| AtomicUsize::new(0)).collect();
        Self(Arc::new(Counter { max: AtomicUsize::new(max), used: AtomicUsize::new(0), shares }))
    }

    /// Returns an empty lease on this budget.
    #[must_use]
    pub fn lease(&self) -> ByteLease {
        ByteLease { budget: self.clone(), share: None, bytes: 0 }
    }

    /// Returns an empty lease that counts against the share of `owner`, such as the user who sends a
    /// body.
    #[must_use]
    pub fn lease_for(&self, owner: impl Hash) -> ByteLease {
        let mut hasher = DefaultHasher::new();
        owner.hash(&mut hasher);
        let share = usize::try_from(hasher.finish() % SHARES as u64).ok();
        ByteLease { budget: self.clone(), share, bytes: 0 }
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
    /// The index of the owner's counter.
    share: Option<usize>,
    bytes: usize,
}

impl ByteLease {
    /// Takes `bytes` more from the budget. Returns `false` and takes nothing if too few are left.
    #[must_use]
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let counter = &*self.budget.0;
        let max = counter.max.load(Relaxed);
        let grown = |used: usize| used.checked_add(bytes).filter(|used| *used <= max);
        let Ok(before) = counter.used.fetch_update(Relaxed, Relaxed, grown) else { return false };
        if let Some(share) = self.share() {
            let others = share.fetch_add(bytes, Relaxed).saturating_sub(self.bytes);
            let held = others.saturating_add(self.bytes).saturating_add(bytes);
            if others > 0 && held > max - before.saturating_add(bytes) {
                share.fetch_sub(bytes, Relaxed);
                counter.used.fetch_sub(bytes, Relaxed);
                return false;
            }
        }
        self.bytes += bytes;
        true
    }

    /// Takes `bytes` more even if the budget has fewer left, for bytes that are in memory already.
    pub fn grow(&mut self, bytes: usize) {
        self.budget.0.used.fetch_add(bytes, Relaxed);
        if let Some(share) = self.share() {
            share.fetch_add(bytes, Relaxed);
        }
        self.bytes += bytes;
    }

    /// Gives all but `bytes` back.
    pub fn shrink_to(&mut self, bytes: usize) {
        let returned = self.bytes.saturating_sub(bytes);
        if returned == 0 {
            return;
        }
        self.budget.0.used.fetch_sub(returned, Relaxed);
        if let Some(share) = self.share() {
            share.fetch_sub(returned, Relaxed);
        }
        self.bytes -= returned;
    }

    /// Takes or gives back bytes until the lease holds `bytes`. Returns `false` and changes nothing if
    /// too few are left.
    #[must_use]
    pub fn try_resize(&mut self, bytes: usize) -> bool {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            return more == 0 || self.try_grow(more);
        }
        self.shrink_to(bytes);
        true
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

    /// Returns an empty lease of the same owner on the same budget.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self { budget: self.budget.clone(), share: self.share, bytes: 0 }
    }

    fn share(&self) -> Option<&AtomicUsize> {
        self.budget.0.shares.get(self.share?)
    }
}

impl Drop for ByteLease {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests;
