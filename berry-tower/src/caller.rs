//! Who sends a request, as far as circuit breakers need to know.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A fingerprint of the caller of a request, in the request's extensions.
///
/// A circuit breaker uses it to tell a service that fails from one caller whose requests fail: see
/// [`Breaker`](crate::breaker::Breaker). Without it every failure counts. It identifies a caller only
/// statistically, and must not be used for permissions.
///
/// ```
/// use berry_tower::caller::CallerId;
///
/// assert_eq!(CallerId::of("alice"), CallerId::of("alice"));
/// assert_ne!(CallerId::of("alice"), CallerId::of("bob"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallerId(u64);

impl CallerId {
    /// Returns the fingerprint with this number, which should be as random as a hash.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// Returns the fingerprint of a caller's name or key. It is the same in every process.
    #[must_use]
    pub fn of(caller: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        caller.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}
