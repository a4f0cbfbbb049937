//! Which breaker a request has to pass.

use std::sync::Arc;

use http::Extensions;

use super::Breaker;

/// Finds the breaker that a request has to pass in the request's extensions.
///
/// A closure will do. `select::SelectedBreaker` finds that of the backend which `Select` has chosen.
///
/// ```
/// use berry_tower::breaker::{Breaker, BreakerPolicy, FindBreaker};
/// use http::Extensions;
/// use std::sync::Arc;
///
/// let find = |extensions: &Extensions| extensions.get::<Arc<Breaker>>().cloned();
/// let mut extensions = Extensions::new();
/// assert!(find.find(&extensions).is_none());
/// extensions.insert(Arc::new(Breaker::new(BreakerPolicy::default())));
/// assert!(find.find(&extensions).is_some());
/// ```
pub trait FindBreaker {
    /// Returns the request's breaker. `None` sends it through the layer's own one, or fails if the
    /// layer [requires](super::CircuitBreakerLayer::require) a breaker.
    fn find(&self, extensions: &Extensions) -> Option<Arc<Breaker>>;

    /// The name of the layer that is missing when no breaker is found.
    fn missing(&self) -> &'static str {
        "the layer that chooses a circuit breaker"
    }
}

impl<F> FindBreaker for F
where
    F: Fn(&Extensions) -> Option<Arc<Breaker>>,
{
    fn find(&self, extensions: &Extensions) -> Option<Arc<Breaker>> {
        self(extensions)
    }
}

/// Finds no breaker, so that all requests pass the layer's own one.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnBreaker;

impl FindBreaker for OwnBreaker {
    fn find(&self, _: &Extensions) -> Option<Arc<Breaker>> {
        None
    }
}
