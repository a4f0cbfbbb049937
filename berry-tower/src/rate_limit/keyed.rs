//! Whose quota a request spends: the one in its identity, or one kept here for its key.

use std::{
    fmt,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dashmap::DashMap;
use http::request::Parts;
use tokio::time::Instant;

use super::{Allowance, Exceeded, Limit, Limits, Quota};

/// Spends the quota that lies in the request, as a rule in the identity that `Auth` put there: each
/// user may have limits of their own, and state lives where it is about.
///
/// ```
/// use berry_tower::rate_limit::{QuotaFromRequest, Limit, Limits, Quota};
/// use http::Request;
/// use std::sync::Arc;
///
/// #[derive(Clone)]
/// struct User { quota: Arc<Quota> }
///
/// let limit = QuotaFromRequest::new(|head| head.extensions.get::<User>().map(|user| &user.quota));
/// let user = User { quota: Arc::new(Quota::new(Limits::new().per_minute(1))) };
/// let (head, ()) = Request::builder().extension(user).body(()).unwrap().into_parts();
/// assert!(limit.check(&head).is_ok());
/// assert!(limit.check(&head).is_err());
///
/// let (nobody, ()) = Request::new(()).into_parts();
/// assert!(limit.check(&nobody).is_ok());
/// assert!(limit.require_key().check(&nobody).is_err());
/// ```
#[derive(Clone)]
pub struct QuotaFromRequest<F> {
    find: F,
    required: bool,
}

impl<F> QuotaFromRequest<F>
where
    F: for<'a> Fn(&'a Parts) -> Option<&'a Arc<Quota>>,
{
    /// Finds a request's quota by `find`; a request without one is not limited.
    pub const fn new(find: F) -> Self {
        Self { find, required: false }
    }
}

impl<F> QuotaFromRequest<F> {
    /// Refuses a request without a quota with a 500, since a layer must be missing.
    #[must_use]
    pub fn require_key(mut self) -> Self {
        self.required = true;
        self
    }
}

impl<F> Limit for QuotaFromRequest<F>
where
    F: for<'a> Fn(&'a Parts) -> Option<&'a Arc<Quota>>,
{
    fn check(&self, head: &Parts) -> Result<Allowance, Exceeded> {
        match (self.find)(head) {
            Some(quota) => quota.take(),
            None => without_key(self.required),
        }
    }
}

impl<F> fmt::Debug for QuotaFromRequest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaFromRequest").field("required", &self.required).finish_non_exhaustive()
    }
}

/// Gives every key the same limits: an address, a tenant, a header's value.
///
/// Keys that clients can make up must not fill the memory, so the number of those kept is bounded
/// (100,000 unless [`max_keys`](Self::max_keys) says otherwise). A key whose quota is whole again
/// is forgotten, by a sweep when the keys have doubled in number since the last one or reached the
/// bound, and at most once per second. While the bound is reached, new keys share one quota.
///
/// ```
/// use berry_tower::rate_limit::{PerKey, Limit, Limits};
/// use http::Request;
///
/// let limit = PerKey::new(Limits::new().per_minute(1), |head| head.headers.get("x-tenant").cloned());
/// let of = |tenant| Request::builder().header("x-tenant", tenant).body(()).unwrap().into_parts().0;
/// assert!(limit.check(&of("a")).is_ok());
/// assert!(limit.check(&of("a")).is_err());
/// assert!(limit.check(&of("b")).is_ok());
/// ```
pub struct PerKey<K, F> {
    store: Arc<Store<K>>,
    key: F,
    required: bool,
}

struct Store<K> {
    limits: Limits,
    quotas: DashMap<K, Arc<Quota>>,
    /// What new keys share while there is no room for them.
    overflow: Arc<Quota>,
    max_keys: usize,
    started: Instant,
    /// In seconds since `started`.
    next_sweep: AtomicU64,
    /// The number of keys that calls for the next one.
    sweep_at: AtomicU64,
}

const MAX_KEYS: usize = 100_000;
const FIRST_SWEEP: usize = 1_024;

impl<K, F> PerKey<K, F>
where
    K: Eq + Hash,
    F: Fn(&Parts) -> Option<K>,
{
    /// Limits each key that `key` finds; a request without one is not limited.
    pub fn new(limits: Limits, key: F) -> Self {
        Self { store: Arc::new(Store::new(limits, MAX_KEYS)), key, required: false }
    }

    /// Bounds the number of keys kept, at least 1. What has been spent before is forgotten.
    #[must_use]
    pub fn max_keys(self, n: usize) -> Self {
        Self { store: Arc::new(Store::new(self.store.limits, n.max(1))), ..self }
    }

    /// How many keys are kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.quotas.len()
    }

    /// Whether no key is kept now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.quotas.is_empty()
    }
}

impl<K, F> PerKey<K, F> {
    /// Refuses a request without a key with a 500, since a layer must be missing.
    #[must_use]
    pub fn require_key(mut self) -> Self {
        self.required = true;
        self
    }
}

impl<K: Eq + Hash> Store<K> {
    fn new(limits: Limits, max_keys: usize) -> Self {
        Self {
            limits,
            quotas: DashMap::new(),
            overflow: Arc::new(Quota::new(limits)),
            max_keys,
            started: Instant::now(),
            next_sweep: AtomicU64::new(0),
            sweep_at: AtomicU64::new(FIRST_SWEEP.min(max_keys) as u64),
        }
    }

    fn quota(&self, key: K) -> Arc<Quota> {
        if let Some(quota) = self.quotas.get(&key) {
            return Arc::clone(&quota);
        }
        self.make_room();
        if self.quotas.len() >= self.max_keys {
            return Arc::clone(&self.overflow);
        }
        Arc::clone(&self.quotas.entry(key).or_insert_with(|| Arc::new(Quota::new(self.limits))))
    }

    fn make_room(&self) {
        if (self.quotas.len() as u64) < self.sweep_at.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        let second = now.saturating_duration_since(self.started).as_secs();
        let due = |next: u64| (second >= next).then_some(second + 1);
        if self.next_sweep.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_err() {
            return;
        }
        // One who holds the quota is about to spend it: it must stay the key's own.
        self.quotas.retain(|_, quota| Arc::strong_count(quota) > 1 || !quota.is_unused(now));
        let next = (self.quotas.len() * 2).clamp(FIRST_SWEEP, self.max_keys.max(FIRST_SWEEP)).min(self.max_keys);
        self.sweep_at.store(next as u64, Ordering::Relaxed);
    }
}

impl<K, F> Limit for PerKey<K, F>
where
    K: Eq + Hash,
    F: Fn(&Parts) -> Option<K>,
{
    fn check(&self, head: &Parts) -> Result<Allowance, Exceeded> {
        match (self.key)(head) {
            Some(key) => self.store.quota(key).take(),
            None => without_key(self.required),
        }
    }
}

impl<K, F: Clone> Clone for PerKey<K, F> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), key: self.key.clone(), required: self.required }
    }
}

impl<K, F> fmt::Debug for PerKey<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerKey")
            .field("limits", &self.store.limits)
            .field("max_keys", &self.store.max_keys)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

fn without_key(required: bool) -> Result<Allowance, Exceeded> {
    if required { Err(Exceeded::NoKey) } else { Ok(Allowance::unlimited()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;

    fn head(key: u64) -> Parts {
        Request::builder().extension(key).body(()).unwrap().into_parts().0
    }

    fn by_number(limits: Limits) -> PerKey<u64, impl Fn(&Parts) -> Option<u64> + Clone> {
        PerKey::new(limits, |head: &Parts| head.extensions.get::<u64>().copied())
    }

    #[tokio::test(start_paused = true)]
    async fn whole_quotas_are_forgotten_and_spent_ones_kept() {
        let limit = by_number(Limits::new().per_minute(2));
        for key in 0..1_000 {
            assert!(limit.check(&head(key)).is_ok());
        }
        tokio::time::advance(Duration::from_secs(31)).await;
        for key in 1_000..1_030 {
            assert!(limit.check(&head(key)).is_ok());
        }
        assert_eq!(limit.len(), 30, "the sweep at 1,024 keys left only what had been spent since");
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_bound_new_keys_share_one_quota() {
        let limit = by_number(Limits::new().per_minute(2)).max_keys(10);
        for key in 0..10 {
            assert!(limit.check(&head(key)).is_ok());
        }
        let shared = (10..20).filter(|key| limit.check(&head(*key)).is_ok()).count();
        assert_eq!(shared, 2);
        assert_eq!(limit.len(), 10);
        assert!(limit.check(&head(0)).is_ok(), "a known key keeps its own");
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(limit.check(&head(30)).is_ok());
        assert_eq!(limit.len(), 1);
    }

    #[tokio::test]
    async fn a_request_under_way_keeps_its_quota() {
        let limit = by_number(Limits::new().concurrent(1)).max_keys(1);
        let held = limit.check(&head(0)).unwrap();
        assert!(limit.check(&head(1)).is_ok());
        assert!(limit.check(&head(0)).is_err());
        drop(held);
        assert!(limit.check(&head(0)).is_ok());
    }
}
