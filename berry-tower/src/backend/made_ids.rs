//! The ids that a backend has made and that only its account knows: responses, encrypted reasoning, containers, files.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The number of sets; each id has one.
const SETS: usize = 2048;

/// The ids of a set; a new one takes the place of another.
const WAYS: usize = 4;

/// The hashes of the latest ids: at most 8192, in 64 KiB. An id that was replaced, and one whose hash is that of
/// another, only cost a preference.
#[derive(Debug, Default)]
pub(crate) struct MadeIds(OnceLock<Box<[AtomicU64]>>);

impl MadeIds {
    /// Records an id by its hash. Returns whether it is a new one.
    pub(crate) fn record(&self, id: u64) -> bool {
        let set = set(self.0.get_or_init(|| (0..SETS * WAYS).map(|_| AtomicU64::new(0)).collect()), id);
        if set.iter().any(|made| made.load(Relaxed) == id) {
            return false;
        }
        let free = set.iter().position(|made| made.load(Relaxed) == 0);
        // The upper bits are as good as a random number.
        let at = free.unwrap_or((id >> 60) as usize % WAYS);
        set[at].store(id, Relaxed);
        true
    }

    /// Whether an id is one of these.
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.0.get().is_some_and(|all| set(all, id).iter().any(|made| made.load(Relaxed) == id))
    }

    /// Whether no id was recorded.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }
}

fn set(all: &[AtomicU64], id: u64) -> &[AtomicU64] {
    let at = id as usize % SETS * WAYS;
    &all[at..at + WAYS]
}

/// Hashes an id; a state machine for ids that come in parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdHash(u64);

impl Default for IdHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl IdHash {
    /// Adds bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// Returns the hash, which is never 0.
    pub(crate) const fn finish(self) -> u64 {
        // The last bytes must reach the upper and the lower bits.
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if mixed == 0 { 1 } else { mixed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(id: &str) -> u64 {
        let mut hash = IdHash::default();
        id.bytes().for_each(|byte| hash.add(&[byte]));
        hash.finish()
    }

    #[test]
    fn knows_the_latest_ids() {
        let made = MadeIds::default();
        assert!(made.is_empty() && !made.contains(hash("resp_1")));
        assert!(made.record(hash("resp_0")) && !made.record(hash("resp_0")));
        for at in 1..100_000 {
            made.record(hash(&format!("resp_{at}")));
        }
        let latest = (99_000..100_000).filter(|at| made.contains(hash(&format!("resp_{at}")))).count();
        assert!(latest > 800, "{latest}");
        assert!(!made.contains(hash("resp_x")) && !made.is_empty());
    }
}
