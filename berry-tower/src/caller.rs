//! Who sends a request, as far as circuit breakers need to know.

use std::hash::{DefaultHasher, Hash, Hasher};
#[cfg(feature = "breaker")]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[cfg(feature = "select")]
use tokio::time::Instant;

/// The lowest short fingerprint; the breaker has other uses for the numbers below.
#[cfg(feature = "breaker")]
pub(crate) const LOWEST: u32 = 2;

/// A fingerprint of the caller of a request, in the request's extensions.
///
/// A circuit breaker uses it to tell a service that fails from one caller whose requests fail: see
/// `breaker::Breaker`. Without it every failure counts. It identifies a caller only
/// statistically, and must not be used for permissions.
///
/// ```
/// use berry_tower::caller::CallerId;
///
/// assert_eq!(CallerId::of("alice"), CallerId::of("alice"));
/// assert_ne!(CallerId::of("alice"), CallerId::of("bob"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallerId {
    id: u64,
    is_one_of_several: bool,
}

impl CallerId {
    /// Returns the fingerprint with this number, which should be as random as a hash.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self { id, is_one_of_several: false }
    }

    /// Returns the fingerprint of a caller's name or key. It is the same in every process.
    #[must_use]
    pub fn of(caller: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        caller.hash(&mut hasher);
        Self::new(hasher.finish())
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.id
    }

    /// Whether the layer that inserted it has seen other callers recently.
    #[cfg(feature = "breaker")]
    pub(crate) const fn is_one_of_several(self) -> bool {
        self.is_one_of_several
    }

    /// The fingerprint in 20 bits, at least [`LOWEST`].
    #[cfg(feature = "breaker")]
    pub(crate) const fn short(self) -> u32 {
        const VALUES: u64 = (1 << 20) - LOWEST as u64;
        ((self.id ^ self.id >> 20 ^ self.id >> 40) % VALUES) as u32 + LOWEST
    }
}

/// How long after its last request a caller counts as one of several, in milliseconds.
#[cfg(feature = "breaker")]
const KNOWN_FOR: u64 = 300_000;

/// A caller is not recorded again within this many milliseconds.
#[cfg(feature = "breaker")]
const FRESH: u64 = 1_000;

#[cfg(feature = "breaker")]
const TIME: u64 = (1 << 44) - 1;

/// Packs a short fingerprint and a time in milliseconds into one word.
#[cfg(feature = "breaker")]
pub(crate) const fn pack(caller: u32, at: u64) -> u64 {
    let at = if at > TIME { TIME } else { at };
    (caller as u64) << 44 | at
}

/// The reverse of [`pack`].
#[cfg(feature = "breaker")]
pub(crate) const fn unpack(word: u64) -> (u32, u64) {
    ((word >> 44) as u32, word & TIME)
}

/// Two of the most recent callers, which is enough to know that a caller is not alone. Each
/// is one word: 20 bits of fingerprint, 44 of milliseconds. With many callers, each word is written
/// about once a second.
#[cfg(feature = "breaker")]
#[derive(Debug, Default)]
pub(crate) struct RecentCallers([AtomicU64; 2]);

#[cfg(feature = "breaker")]
impl RecentCallers {
    /// Records a request of a caller at `at`.
    pub(crate) fn hear(&self, caller: u32, at: u64) {
        let words = self.0.each_ref().map(|word| word.load(Relaxed));
        let known = words.iter().position(|word| unpack(*word).0 == caller);
        let oldest = || usize::from(words[0] != 0 && unpack(words[1]).1 <= unpack(words[0]).1);
        let slot = known.unwrap_or_else(oldest);
        if words[slot] == 0 || at.saturating_sub(unpack(words[slot]).1) > FRESH {
            self.0[slot].store(pack(caller, at), Relaxed);
        }
    }

    /// Whether another caller has sent a request in the last minutes.
    pub(crate) fn has_others(&self, caller: u32, at: u64) -> bool {
        self.0.iter().any(|word| {
            let (other, heard) = unpack(word.load(Relaxed));
            other != 0 && other != caller && at.saturating_sub(heard) <= KNOWN_FOR
        })
    }
}

/// The recent callers of a whole gateway, whatever backends their requests go to.
#[cfg(feature = "select")]
#[derive(Debug)]
pub(crate) struct Callers {
    epoch: Instant,
    recent: RecentCallers,
}

#[cfg(feature = "select")]
impl Default for Callers {
    fn default() -> Self {
        Self { epoch: Instant::now(), recent: RecentCallers::default() }
    }
}

#[cfg(feature = "select")]
impl Callers {
    /// Records a request of a caller. Returns the fingerprint with what is known of others.
    pub(crate) fn hear(&self, caller: CallerId) -> CallerId {
        let at = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.recent.hear(caller.short(), at);
        let is_one_of_several = caller.is_one_of_several || self.recent.has_others(caller.short(), at);
        CallerId { is_one_of_several, ..caller }
    }
}

#[cfg(all(test, feature = "select"))]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_alone_until_another_is_heard() {
        let callers = RecentCallers::default();
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
        let callers = RecentCallers::default();
        for at in 0..10_000 {
            let caller = LOWEST + (at % 50) as u32;
            callers.hear(caller, at);
            assert!(at == 0 || callers.has_others(caller, at));
        }
    }

    #[test]
    fn short_fingerprints_fit_into_their_bits() {
        for id in [0, 1, u64::MAX, 1 << 20, (1 << 20) - 1] {
            let caller = CallerId::new(id).short();
            assert!((LOWEST..1 << 20).contains(&caller));
            assert_eq!(unpack(pack(caller, u64::MAX)), (caller, TIME));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_tells_its_callers_of_each_other() {
        let (callers, alice, bob) = (Callers::default(), CallerId::of("alice"), CallerId::of("bob"));
        assert!(!callers.hear(alice).is_one_of_several() && callers.hear(bob).is_one_of_several());
        assert!(callers.hear(alice).is_one_of_several());
        tokio::time::advance(std::time::Duration::from_millis(KNOWN_FOR + 1)).await;
        assert!(!callers.hear(alice).is_one_of_several());
    }
}
