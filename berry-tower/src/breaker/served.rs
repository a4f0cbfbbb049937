//! The callers that a service has served recently.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::state::Fingerprint;

/// How long a response counts as recent, in milliseconds.
const RECENT: u64 = 60_000;

/// The responses to other callers from which a service counts as serving them.
const ENOUGH: u64 = 2;

/// A caller with enough responses is not recorded again within this many milliseconds.
const FRESH: u64 = 1_000;

const TIME: u64 = (1 << 42) - 1;

/// A caller, when it was last served, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// 0 for no caller.
    caller: Fingerprint,
    /// The number of responses, up to [`ENOUGH`], each within [`RECENT`] of the one before it.
    responses: u64,
    /// The time of the last response, in milliseconds.
    at: u64,
}

impl Entry {
    /// 20 bits of fingerprint, 2 of responses, and 42 of milliseconds, which are 139 years.
    fn pack(self) -> u64 {
        u64::from(self.caller) << 44 | self.responses << 42 | self.at.min(TIME)
    }

    fn unpack(word: u64) -> Self {
        Self { caller: (word >> 44) as Fingerprint, responses: word >> 42 & 3, at: word & TIME }
    }

    fn is_recent(self, at: u64) -> bool {
        self.caller != 0 && at.saturating_sub(self.at) <= RECENT
    }
}

/// Three of the callers that a service has served last: one may be the caller whose requests fail,
/// and the others show that the service works. With many requests, each word is written about once a
/// second.
#[derive(Debug, Default)]
pub(super) struct ServedCallers([AtomicU64; 3]);

impl ServedCallers {
    /// Records a response to a caller at `at`.
    pub(super) fn record(&self, caller: Fingerprint, at: u64) {
        let entries = self.0.each_ref().map(|word| Entry::unpack(word.load(Relaxed)));
        let known = entries.iter().position(|entry| entry.caller == caller);
        let oldest = || (0..entries.len()).min_by_key(|&slot| entries[slot].at).unwrap_or(0);
        let slot = known.unwrap_or_else(oldest);
        let entry = entries[slot];
        let responses = if known.is_some() && entry.is_recent(at) { (entry.responses + 1).min(ENOUGH) } else { 1 };
        let is_news = entry.caller == 0 || at.saturating_sub(entry.at) > FRESH;
        if is_news || known.is_some() && responses != entry.responses {
            self.0[slot].store(Entry { caller, responses, at }.pack(), Relaxed);
        }
    }

    /// Whether the service serves callers other than this one, or has until recently.
    pub(super) fn has_others(&self, caller: Fingerprint, at: u64) -> bool {
        let entries = self.0.iter().map(|word| Entry::unpack(word.load(Relaxed)));
        let others = entries.filter(|entry| entry.caller != caller && entry.is_recent(at));
        others.map(|entry| entry.responses).sum::<u64>() >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Fingerprint = 7;
    const BOB: Fingerprint = 8;

    #[test]
    fn a_service_serves_others_while_they_have_several_recent_responses() {
        let served = ServedCallers::default();
        for at in 0..9 {
            served.record(ALICE, at);
        }
        assert!(!served.has_others(ALICE, 9), "its own responses do not count");
        served.record(BOB, 10);
        assert!(!served.has_others(ALICE, 10), "one response is not enough");
        served.record(BOB, 12);
        assert!(served.has_others(ALICE, 12) && served.has_others(BOB, 12));
        assert!(served.has_others(ALICE, 12 + RECENT) && !served.has_others(ALICE, 13 + RECENT));
        served.record(BOB, 13 + 2 * RECENT);
        assert!(!served.has_others(ALICE, 13 + 2 * RECENT), "the earlier responses are long gone");
    }

    #[test]
    fn two_of_many_callers_are_enough() {
        let served = ServedCallers::default();
        for at in 0..100_u64 {
            served.record(ALICE, at * 500);
            served.record(100 + at as Fingerprint, at * 500);
            assert!(at < 6 || served.has_others(ALICE, at * 500), "{at}");
        }
    }

    #[test]
    fn words_hold_their_parts() {
        for at in [0, 5, TIME, u64::MAX] {
            let entry = Entry { caller: (1 << 20) - 1, responses: ENOUGH, at };
            assert_eq!(Entry::unpack(entry.pack()), Entry { at: at.min(TIME), ..entry });
        }
    }
}
