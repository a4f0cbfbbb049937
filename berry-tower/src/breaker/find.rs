//! Which breaker a request has to pass.

use std::sync::Arc;

use http::Extensions;

use super::Breaker;

/// Finds the breaker that a request has to pass, in what the layers outside put into it.
///
/// A closure will do.
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
    /// The request's breaker; `None` sends it through the layer's own.
    fn find(&self, extensions: &Extensions) -> Option<Arc<Breaker>>;
}

impl<F> FindBreaker for F
where
    F: Fn(&Extensions) -> Option<Arc<Breaker>>,
{
    fn find(&self, extensions: &Extensions) -> Option<Arc<Breaker>> {
        self(extensions)
    }
}

/// Finds none, so that all requests pass the layer's own breaker.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnBreaker;

impl FindBreaker for OwnBreaker {
    fn find(&self, _: &Extensions) -> Option<Arc<Breaker>> {
        None
    }
}
