//! The numbers of tokens.

use crate::sync;

/// The numbers of tokens, as the upstream counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request, those read from a cache included.
    pub input: u64,
    /// Tokens of the response.
    pub output: u64,
    /// How many of `input` were read from a cache.
    pub cached: u64,
    /// How many of `input` were written to a cache.
    pub cache_write: u64,
    /// How many of `output` are reasoning.
    pub reasoning: u64,
}

/// The numbers of tokens, read and written as one: a sequence lock whose data are atomics.
///
/// The version is 0 before the first write, odd during one, and even after it.
#[derive(Debug)]
pub(super) struct UsageCell {
    version: sync::AtomicU64,
    usage: [sync::AtomicU64; 5],
}

impl UsageCell {
    pub(super) fn new() -> Self {
        let zero = || sync::AtomicU64::new(0);
        Self { version: zero(), usage: [zero(), zero(), zero(), zero(), zero()] }
    }

    pub(super) fn load(&self) -> Option<Usage> {
        loop {
            let version = self.version.load(sync::Ordering::Acquire);
            if version == 0 {
                return None;
            }
            if let Some(usage) = self.read(version) {
                return Some(usage);
            }
            sync::spin_loop();
        }
    }

    /// Usually one body writes. Several writers wait for each other.
    pub(super) fn store(&self, usage: Usage) {
        let version = loop {
            let version = self.version.load(sync::Ordering::Acquire);
            if version.is_multiple_of(2) {
                // The count is set at every frame and changes seldom.
                if version > 0 && self.read(version) == Some(usage) {
                    return;
                }
                let odd = version + 1;
                if self.version.compare_exchange(version, odd, sync::Ordering::Acquire, sync::Ordering::Relaxed).is_ok()
                {
                    break odd;
                }
            }
            sync::spin_loop();
        };
        sync::fence(sync::Ordering::Release);
        let counts = [usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning];
        for (word, count) in self.usage.iter().zip(counts) {
            word.store(count, sync::Ordering::Relaxed);
        }
        self.version.store(version + 1, sync::Ordering::Release);
    }

    /// Returns the counts of this version, unless they are being replaced.
    fn read(&self, version: u64) -> Option<Usage> {
        if !version.is_multiple_of(2) {
            return None;
        }
        let counts = self.usage.each_ref().map(|word| word.load(sync::Ordering::Relaxed));
        let [input, output, cached, cache_write, reasoning] = counts;
        sync::fence(sync::Ordering::Acquire);
        let is_unchanged = self.version.load(sync::Ordering::Relaxed) == version;
        is_unchanged.then_some(Usage { input, output, cached, cache_write, reasoning })
    }
}
