//! Whether a caller is the only one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::state::{Fingerprint, Run};
use crate::caller::CallerId;

/// How long a caller who was heard counts as one of several, in milliseconds.
const KNOWN_FOR: u64 = 300_000;

/// A caller who is heard again within this many milliseconds need not be written down.
const FRESH: u64 = 1_000;

/// How long after a trial its caller leaves the next one to others, in milliseconds.
const YIELDS: u64 = 1_000;

const TIME: u64 = (1 << 44) - 1;

/// Two of the callers who were heard last, which is enough to know that a caller is not alone. Each
/// is one word: 20 bits of fingerprint, 44 of milliseconds. With many callers, each word is written
/// about once a second.
#[derive(Debug, Default)]
pub(super) struct Callers {
    heard: [AtomicU64; 2],
    /// The caller whose trial ended without a success, and until when others go first.
    yields: AtomicU64,
}

const fn pack(caller: Fingerprint, at: u64) -> u64 {
    let at = if at > TIME { TIME } else { at };
    (caller as u64) << 44 | at
}

const fn unpack(word: u64) -> (Fingerprint, u64) {
    ((word >> 44) as u32, word & TIME)
}

/// Returns a caller's fingerprint of 20 bits.
pub(super) const fn fingerprint(caller: CallerId) -> Fingerprint {
    const VALUES: u64 = (1 << 20) - Run::FIRST as u64;
    let id = caller.get();
    ((id ^ id >> 20 ^ id >> 40) % VALUES) as u32 + Run::FIRST
}

impl Callers {
    /// Notes that a caller was heard at `at`.
    pub(super) fn hear(&self, caller: Fingerprint, at: u64) {
        let words = self.heard.each_ref().map(|word| word.load(Relaxed));
        let known = words.iter().position(|word| unpack(*word).0 == caller);
        let oldest = || usize::from(unpack(words[1]).1 < unpack(words[0]).1 || words[1] == 0 && words[0] != 0);
        let slot = known.unwrap_or_else(oldest);
        if words[slot] == 0 || at.saturating_sub(unpack(words[slot]).1) > FRESH {
            self.heard[slot].store(pack(caller, at), Relaxed);
        }
    }

    /// Whether another caller was heard in the last minutes.
    pub(super) fn has_others(&self, caller: Fingerprint, at: u64) -> bool {
        self.heard.iter().any(|word| {
            let (other, heard) = unpack(word.load(Relaxed));
            other != 0 && other != caller && at.saturating_sub(heard) <= KNOWN_FOR
        })
    }

    /// Leaves the trials from `at` on to others for a moment.
    pub(super) fn let_others_try(&self, caller: Fingerprint, at: u64) {
        self.yields.store(pack(caller, at.saturating_add(YIELDS)), Relaxed);
    }

    /// How many milliseconds from `at` on this caller leaves a trial to others.
    pub(super) fn yields_for(&self, caller: Fingerprint, at: u64) -> Option<u64> {
        let (last, until) = unpack(self.yields.load(Relaxed));
        (last == caller && at < until && self.has_others(caller, at)).then(|| until - at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_alone_until_another_is_heard() {
        let callers = Callers::default();
        callers.hear(7, 0);
        assert!(!callers.has_others(7, 0) && callers.has_others(8, 0));
        callers.hear(8, 5);
        callers.hear(7, 10_000);
        assert!(callers.has_others(7, 10_000) && callers.has_others(8, 10_000));
        assert!(!callers.has_others(7, 5 + KNOWN_FOR + 1), "the other is long gone");
        callers.hear(9, 6_000_000);
        assert!(callers.has_others(7, 6_000_000));
    }

    #[test]
    fn of_many_callers_two_are_remembered() {
        let callers = Callers::default();
        for at in 0..10_000 {
            let caller = Run::FIRST + (at % 50) as u32;
            callers.hear(caller, at);
            assert!(at == 0 || callers.has_others(caller, at));
        }
    }

    #[test]
    fn a_caller_yields_only_to_others() {
        let callers = Callers::default();
        callers.hear(7, 0);
        callers.let_others_try(7, 0);
        assert_eq!(callers.yields_for(7, 1), None, "there is nobody else");
        callers.hear(8, 0);
        assert_eq!((callers.yields_for(7, 1), callers.yields_for(8, 1)), (Some(999), None));
        assert_eq!(callers.yields_for(7, YIELDS), None);
    }

    #[test]
    fn fingerprints_fit_into_their_bits() {
        for id in [0, 1, u64::MAX, 1 << 20, (1 << 20) - 1] {
            let caller = fingerprint(CallerId::new(id));
            assert!((Run::FIRST..1 << 20).contains(&caller));
            assert_eq!(unpack(pack(caller, u64::MAX)), (caller, TIME));
        }
    }
}
