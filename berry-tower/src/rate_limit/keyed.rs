//! Limiters: one for quotas that the requests carry, and one that keeps a quota for each key.

use std::{
    fmt,
    future::ready,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use http::request::Parts;
use tokio::time::Instant;

use super::{Allowance, Exceeded, Immediate, Limit, Limits, Quota};

/// [`Limit`] that uses the quota found in the request, for example in the identity that `Auth` put
/// there, so that each user may have limits of their own.
///
/// The limits of a user can change at run time: [`Quota::renew`] makes a quota with the new limits
/// that keeps what is used and in flight.
///
/// ```
/// use berry_tower::rate_limit::{Limits, Quota, QuotaFromRequest};
/// use http::{Request, request::Parts};
/// use std::sync::Arc;
///
/// #[derive(Clone)]
/// struct User { quota: Arc<Quota> }
///
/// let limit = QuotaFromRequest::new(|head: &Parts| head.extensions.get::<User>().map(|user| user.quota.clone()));
/// let user = User { quota: Arc::new(Quota::new(Limits::new().per_minute(1))) };
/// let (head, ()) = Request::builder().extension(user).body(()).unwrap().into_parts();
/// assert!(limit.try_acquire(&head).is_ok());
/// assert!(limit.try_acquire(&head).is_err());
///
/// let (anonymous, ()) = Request::new(()).into_parts();
/// assert!(limit.try_acquire(&anonymous).is_ok());
/// assert!(limit.require_key().try_acquire(&anonymous).is_err());
/// ```
#[derive(Clone)]
pub struct QuotaFromRequest<F> {
    find: F,
    required: bool,
}

impl<F> QuotaFromRequest<F>
where
    F: Fn(&Parts) -> Option<Arc<Quota>>,
{
    /// Finds the quota of a request by `find`. A request without one is not limited.
    pub const fn new(find: F) -> Self {
        Self { find, required: false }
    }

    /// Uses one request of the quota.
    ///
    /// # Errors
    ///
    /// A limit is reached, or there is no quota and one is required.
    pub fn try_acquire(&self, head: &Parts) -> Result<Allowance, Exceeded> {
        match (self.find)(head) {
            Some(quota) => quota.acquire(),
            None => without_key(self.required),
        }
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

impl<F> Limit<Immediate> for QuotaFromRequest<F>
where
    F: Fn(&Parts) -> Option<Arc<Quota>>,
{
    fn acquire(&self, head: &Parts) -> impl Future<Output = Result<Allowance, Exceeded>> + Send {
        ready(self.try_acquire(head))
    }
}

impl<F> fmt::Debug for QuotaFromRequest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaFromRequest").field("required", &self.required).finish_non_exhaustive()
    }
}

/// [`Limit`] that gives every key the same limits: an address, a tenant, the value of a header.
///
/// Clients may be able to invent keys, so the number of quotas kept is bounded (100,000 unless set by
/// [`max_keys`](Self::max_keys)). Unused quotas are removed by a sweep, at most once per second, when
/// the number of keys has doubled since the last one or reached the bound. While the bound is
/// reached, all new keys share one quota.
///
/// ```
/// use berry_tower::rate_limit::{Limits, PerKey};
/// use http::{Request, request::Parts};
///
/// let limit = PerKey::new(Limits::new().per_minute(1), |head: &Parts| head.headers.get("x-tenant").cloned());
/// let head = |tenant| Request::builder().header("x-tenant", tenant).body(()).unwrap().into_parts().0;
/// assert!(limit.try_acquire(&head("a")).is_ok());
/// assert!(limit.try_acquire(&head("a")).is_err());
/// assert!(limit.try_acquire(&head("b")).is_ok());
/// ```
pub struct PerKey<K, F> {
    store: Arc<Store<K>>,
    key: F,
    required: bool,
}

struct Store<K> {
    limits: Limits,
    quotas: DashMap<K, Arc<Quota>>,
    /// The number of quotas in the map, including those about to be inserted.
    len: AtomicUsize,
    /// The quota that new keys share while there is no room for them.
    overflow: Arc<Quota>,
    max_keys: usize,
    started: Instant,
    /// The time before which no other sweep starts, in seconds since `started`.
    next_sweep: AtomicU64,
    /// The number of keys at which a sweep is due.
    sweep_at: AtomicUsize,
}

const MAX_KEYS: usize = 100_000;
const FIRST_SWEEP: usize = 1_024;

impl<K, F> PerKey<K, F>
where
    K: Eq + Hash,
    F: Fn(&Parts) -> Option<K>,
{
    /// Limits each key that `key` finds. A request without a key is not limited.
    pub fn new(limits: Limits, key: F) -> Self {
        Self { store: Arc::new(Store::new(limits, MAX_KEYS)), key, required: false }
    }

    /// Sets the largest number of keys, at least 1. It discards what was used before.
    #[must_use]
    pub fn max_keys(self, n: usize) -> Self {
        Self { store: Arc::new(Store::new(self.store.limits.clone(), n.max(1))), ..self }
    }

    /// Uses one request of the key's quota.
    ///
    /// # Errors
    ///
    /// A limit is reached, or there is no key and one is required.
    pub fn try_acquire(&self, head: &Parts) -> Result<Allowance, Exceeded> {
        match (self.key)(head) {
            Some(key) => self.store.quota(key).acquire(),
            None => without_key(self.required),
        }
    }

    /// Returns the number of keys that have a quota now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.quotas.len()
    }

    /// Returns whether no key has a quota now.
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
            overflow: Arc::new(Quota::new(limits.clone())),
            limits,
            quotas: DashMap::new(),
            len: AtomicUsize::new(0),
            max_keys,
            started: Instant::now(),
            next_sweep: AtomicU64::new(0),
            sweep_at: AtomicUsize::new(FIRST_SWEEP.min(max_keys)),
        }
    }

    fn quota(&self, key: K) -> Arc<Quota> {
        if let Some(quota) = self.quotas.get(&key) {
            return Arc::clone(&quota);
        }
        self.make_room();
        // The place is reserved before the key is inserted, so that the bound holds under threads.
        let one_more = |n: usize| (n < self.max_keys).then(|| n + 1);
        if self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return self.quotas.get(&key).map_or_else(|| Arc::clone(&self.overflow), |quota| Arc::clone(&quota));
        }
        match self.quotas.entry(key) {
            Entry::Occupied(entry) => {
                self.len.fetch_sub(1, Ordering::Relaxed);
                Arc::clone(entry.get())
            }
            Entry::Vacant(entry) => Arc::clone(&entry.insert(Arc::new(Quota::new(self.limits.clone())))),
        }
    }

    fn make_room(&self) {
        if self.len.load(Ordering::Relaxed) < self.sweep_at.load(Ordering::Relaxed) {
            return;
        }
        let second = self.started.elapsed().as_secs();
        let due = |next: u64| (second >= next).then_some(second + 1);
        if self.next_sweep.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_err() {
            return;
        }
        self.quotas.retain(|_, quota| {
            // A request that holds the quota is about to use it: it must stay the key's own.
            let keeps = Arc::strong_count(quota) > 1 || !quota.is_unused();
            if !keeps {
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
            keeps
        });
        let kept = self.len.load(Ordering::Relaxed);
        let next = (kept * 2).clamp(FIRST_SWEEP, self.max_keys.max(FIRST_SWEEP)).min(self.max_keys);
        self.sweep_at.store(next, Ordering::Relaxed);
    }
}

impl<K, F> Limit<Immediate> for PerKey<K, F>
where
    K: Eq + Hash,
    F: Fn(&Parts) -> Option<K>,
{
    fn acquire(&self, head: &Parts) -> impl Future<Output = Result<Allowance, Exceeded>> + Send {
        ready(self.try_acquire(head))
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
    if required { Err(Exceeded::missing_key()) } else { Ok(Allowance::default()) }
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
    async fn sweeps_unused_quotas() {
        let limit = by_number(Limits::new().per_minute(2));
        for key in 0..1_000 {
            assert!(limit.try_acquire(&head(key)).is_ok());
        }
        tokio::time::advance(Duration::from_secs(31)).await;
        for key in 1_000..1_030 {
            assert!(limit.try_acquire(&head(key)).is_ok());
        }
        assert_eq!(limit.len(), 30, "the sweep at 1,024 keys keeps only used quotas");
    }

    #[tokio::test(start_paused = true)]
    async fn new_keys_share_one_quota_at_the_bound() {
        let limit = by_number(Limits::new().per_minute(2)).max_keys(10);
        for key in 0..10 {
            assert!(limit.try_acquire(&head(key)).is_ok());
        }
        let shared = (10..20).filter(|key| limit.try_acquire(&head(*key)).is_ok()).count();
        assert_eq!(shared, 2);
        assert_eq!(limit.len(), 10);
        assert!(limit.try_acquire(&head(0)).is_ok(), "a known key keeps its own quota");
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(limit.try_acquire(&head(30)).is_ok());
        assert_eq!(limit.len(), 1);
    }

    #[tokio::test]
    async fn request_in_flight_keeps_its_quota() {
        let limit = by_number(Limits::new().concurrent(1)).max_keys(1);
        let held = limit.try_acquire(&head(0)).unwrap();
        assert!(limit.try_acquire(&head(1)).is_ok());
        assert!(limit.try_acquire(&head(0)).is_err());
        drop(held);
        assert!(limit.try_acquire(&head(0)).is_ok());
    }

    #[test]
    fn bound_holds_under_threads() {
        for _ in 0..50 {
            let limit = by_number(Limits::new().per_minute(9)).max_keys(4);
            let start = std::sync::Barrier::new(16);
            std::thread::scope(|scope| {
                for key in 0..16 {
                    let (limit, start) = (&limit, &start);
                    scope.spawn(move || {
                        start.wait();
                        let _ = limit.try_acquire(&head(key));
                    });
                }
            });
            assert!(limit.len() <= 4, "{} keys", limit.len());
        }
    }
}
