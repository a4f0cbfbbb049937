//! API keys, stored as digests and replaceable while requests run.

use std::{
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION, request::Parts};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Authenticate, Immediate, Rejection,
    authenticate::{bearer, single},
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static BEARER_HEADERS: [HeaderName; 1] = [AUTHORIZATION];
static ALL_HEADERS: [HeaderName; 2] = [AUTHORIZATION, X_API_KEY];

/// The SHA-256 of a token, which is compared in constant time and has no `Debug`.
#[derive(Clone, Copy, Eq)]
struct Digest([u8; 32]);

impl Digest {
    fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Returns the shard of its key, by a byte that [`Hash`] does not use.
    const fn shard(&self) -> usize {
        self.0[31] as usize % SHARDS
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Eight bytes of a digest are distributed as well as all 32; the map's seed is secret.
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// An API key and the identity of its owner.
#[derive(Clone)]
pub struct ApiKey<I> {
    digest: Digest,
    owner: Owner<I>,
}

#[derive(Clone)]
struct Owner<I> {
    identity: I,
    enabled: bool,
    expires_at: Option<SystemTime>,
}

impl<I> ApiKey<I> {
    /// Creates a key from its token, of which only the digest is stored.
    pub fn from_token(token: impl AsRef<[u8]>, identity: I) -> Self {
        Self::from_digest(Digest::of(token.as_ref()).0, identity)
    }

    /// Creates a key from the SHA-256 of its token.
    pub const fn from_digest(sha256: [u8; 32], identity: I) -> Self {
        Self { digest: Digest(sha256), owner: Owner { identity, enabled: true, expires_at: None } }
    }

    /// Sets whether the key is accepted. Default: `true`.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.owner.enabled = enabled;
        self
    }

    /// Sets the time from which the key is no longer accepted. Default: never.
    #[must_use]
    pub fn expires_at(mut self, at: impl Into<Option<SystemTime>>) -> Self {
        self.owner.expires_at = at.into();
        self
    }
}

impl<I> fmt::Debug for ApiKey<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("enabled", &self.owner.enabled)
            .field("expires_at", &self.owner.expires_at)
            .finish_non_exhaustive()
    }
}

type Shard<I> = HashMap<Digest, Owner<I>, RandomState>;

/// The number of shards, so that a change copies a small part of a large table.
const SHARDS: usize = 64;

/// The keys, by their digests. Shards that a change does not touch are shared with the table before.
struct Table<I>([Arc<Shard<I>>; SHARDS]);

impl<I> Table<I> {
    fn new(keys: impl IntoIterator<Item = ApiKey<I>>) -> Self {
        let mut shards = [(); SHARDS].map(|()| Shard::default());
        for key in keys {
            shards[key.digest.shard()].insert(key.digest, key.owner);
        }
        Self(shards.map(Arc::new))
    }

    fn get(&self, digest: &Digest) -> Option<&Owner<I>> {
        self.0[digest.shard()].get(digest)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.len()).sum()
    }
}

impl<I: Clone> Table<I> {
    /// Returns the table with other keys in it.
    fn updated(&self, insert: &[ApiKey<I>], remove: &[[u8; 32]]) -> Self {
        let mut table = Self(self.0.clone());
        for digest in remove.iter().copied().map(Digest) {
            if table.get(&digest).is_some() {
                Arc::make_mut(&mut table.0[digest.shard()]).remove(&digest);
            }
        }
        for key in insert {
            Arc::make_mut(&mut table.0[key.digest.shard()]).insert(key.digest, key.owner.clone());
        }
        table
    }
}

/// A set of API keys.
///
/// A token is read from `Authorization: Bearer` and from `x-api-key`; a request with two different
/// tokens is rejected. Clones share one table, which [`replace`](Self::replace) swaps as a whole and
/// [`update`](Self::update) changes in part while requests run. A look-up takes no lock and allocates nothing.
///
/// ```
/// use berry_tower::auth::{ApiKey, ApiKeys};
/// use http::{HeaderMap, header::AUTHORIZATION};
///
/// let keys = ApiKeys::new([ApiKey::from_token("berry-secret-token", "alice")]);
/// let mut headers = HeaderMap::new();
/// headers.insert(AUTHORIZATION, "Bearer berry-secret-token".parse().unwrap());
/// assert_eq!(keys.identify(&headers), Some("alice"));
///
/// keys.replace([]);
/// assert_eq!(keys.identify(&headers), None);
/// ```
pub struct ApiKeys<I> {
    table: Arc<ArcSwap<Table<I>>>,
    reads_x_api_key: bool,
}

impl<I> ApiKeys<I> {
    /// Creates a set of keys. Of two keys with the same token the last one counts.
    pub fn new(keys: impl IntoIterator<Item = ApiKey<I>>) -> Self {
        Self { table: Arc::new(ArcSwap::from_pointee(Table::new(keys))), reads_x_api_key: true }
    }

    /// Returns a handle to the same keys that ignores `x-api-key` and leaves it in the request.
    #[must_use]
    pub fn bearer_only(&self) -> Self {
        Self { table: Arc::clone(&self.table), reads_x_api_key: false }
    }

    /// Replaces all keys in one step, for every clone of this handle.
    pub fn replace(&self, keys: impl IntoIterator<Item = ApiKey<I>>) {
        self.table.store(Arc::new(Table::new(keys)));
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.load().len()
    }

    /// Returns whether there are no keys, so that every request is rejected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        if !self.reads_x_api_key || !headers.contains_key(&X_API_KEY) {
            return bearer(headers);
        }
        let key = single(headers, &X_API_KEY)?;
        (!headers.contains_key(AUTHORIZATION) || bearer(headers) == Some(key)).then_some(key)
    }
}

impl<I: Clone> ApiKeys<I> {
    /// Removes the keys with these SHA-256 digests, then inserts others or replaces them, all in one step for every
    /// clone of this handle. It costs as much as copying the parts of the table that hold them.
    ///
    /// ```
    /// use berry_tower::auth::{ApiKey, ApiKeys};
    ///
    /// let keys = ApiKeys::new([ApiKey::from_digest([1; 32], "alice")]);
    /// keys.update(&[ApiKey::from_digest([2; 32], "bob")], &[[1; 32]]);
    /// assert_eq!(keys.len(), 1);
    /// ```
    pub fn update(&self, insert: &[ApiKey<I>], remove: &[[u8; 32]]) {
        self.table.rcu(|table| table.updated(insert, remove));
    }

    /// Replaces the identity of every key in one step, for every clone of this handle; `change` also
    /// returns whether the key is accepted.
    pub fn update_identities(&self, change: impl Fn(&I) -> (I, bool)) {
        self.table.rcu(|table| {
            let changed = |shard: &Arc<Shard<I>>| {
                let owner = |owner: &Owner<I>| {
                    let (identity, enabled) = change(&owner.identity);
                    Owner { identity, enabled, expires_at: owner.expires_at }
                };
                Arc::new(shard.iter().map(|(digest, of)| (*digest, owner(of))).collect::<Shard<I>>())
            };
            Table(table.0.each_ref().map(changed))
        });
    }

    /// Returns the identity whose token is in `headers`, if its key is enabled and has not expired.
    #[must_use]
    pub fn identify(&self, headers: &HeaderMap) -> Option<I> {
        let digest = Digest::of(self.token(headers)?);
        let table = self.table.load();
        let owner = table.get(&digest)?;
        let expired = owner.expires_at.is_some_and(|at| at <= SystemTime::now());
        (owner.enabled && !expired).then(|| owner.identity.clone())
    }
}

impl<I: Clone + Send + Sync + 'static> Authenticate<Immediate> for ApiKeys<I> {
    type Identity = I;

    fn authenticate(&self, head: &Parts) -> impl Future<Output = Result<I, Rejection>> + Send {
        std::future::ready(self.identify(&head.headers).ok_or(Rejection::InvalidToken))
    }

    fn secret_headers(&self) -> &[HeaderName] {
        if self.reads_x_api_key { &ALL_HEADERS } else { &BEARER_HEADERS }
    }
}

impl<I> Clone for ApiKeys<I> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table), reads_x_api_key: self.reads_x_api_key }
    }
}

impl<I> fmt::Debug for ApiKeys<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys").field("len", &self.len()).field("reads_x_api_key", &self.reads_x_api_key).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn ask(keys: &ApiKeys<u32>, pairs: &[(HeaderName, &str)]) -> Option<u32> {
        keys.identify(&headers(pairs))
    }

    #[test]
    fn accepts_keys_that_are_enabled_and_not_expired() {
        let now = SystemTime::now();
        let keys = ApiKeys::new([
            ApiKey::from_token("good", 1),
            ApiKey::from_token("off", 2).enabled(false),
            ApiKey::from_token("old", 3).expires_at(now - Duration::from_secs(1)),
            ApiKey::from_token("young", 4).expires_at(now + Duration::from_secs(3600)),
        ]);
        let bearer = |token: &str| ask(&keys, &[(AUTHORIZATION, &format!("Bearer {token}"))]);
        assert_eq!(bearer("good"), Some(1));
        assert_eq!(bearer("off"), None);
        assert_eq!(bearer("old"), None);
        assert_eq!(bearer("young"), Some(4));
        assert_eq!(bearer("unknown"), None);
        assert_eq!(bearer(""), None);
    }

    #[test]
    fn accepts_a_key_made_from_a_digest() {
        let keys = ApiKeys::new([ApiKey::from_digest(Sha256::digest(b"good").into(), 7)]);
        assert_eq!(ask(&keys, &[(AUTHORIZATION, "Bearer good")]), Some(7));
    }

    #[test]
    fn requires_one_bearer_header() {
        let keys = ApiKeys::new([ApiKey::from_token("good", 1)]);
        assert_eq!(ask(&keys, &[(AUTHORIZATION, "bEARER   good ")]), Some(1));
        for bad in ["good", "Basic good", "Bearer", "Bearergood", ""] {
            assert_eq!(ask(&keys, &[(AUTHORIZATION, bad)]), None, "{bad:?}");
        }
        assert_eq!(ask(&keys, &[]), None);
        let mut doubled = headers(&[(AUTHORIZATION, "Bearer good")]);
        doubled.append(AUTHORIZATION, "Bearer good".parse().unwrap());
        assert_eq!(keys.identify(&doubled), None);
    }

    #[test]
    fn reads_x_api_key_and_rejects_two_different_tokens() {
        let keys = ApiKeys::new([ApiKey::from_token("good", 1), ApiKey::from_token("other", 2)]);
        let both = |bearer: &str, key: &str| ask(&keys, &[(AUTHORIZATION, bearer), (X_API_KEY, key)]);
        assert_eq!(ask(&keys, &[(X_API_KEY, "good")]), Some(1));
        assert_eq!(ask(&keys, &[(X_API_KEY, "")]), None);
        assert_eq!(both("Bearer good", "good"), Some(1));
        assert_eq!(both("Bearer good", "other"), None);
        assert_eq!(both("Bearer bad", "good"), None);
        assert_eq!(both("Basic good", "good"), None);
        let mut repeated = headers(&[(X_API_KEY, "good")]);
        repeated.append(X_API_KEY, "good".parse().unwrap());
        assert_eq!(keys.identify(&repeated), None);
    }

    #[test]
    fn bearer_only_handle_shares_the_keys() {
        let keys = ApiKeys::new([ApiKey::from_token("good", 1)]);
        let bearer = keys.bearer_only();
        assert_eq!(ask(&bearer, &[(X_API_KEY, "good")]), None);
        assert_eq!(ask(&bearer, &[(AUTHORIZATION, "Bearer good"), (X_API_KEY, "of the application")]), Some(1));
        keys.replace([]);
        assert_eq!(ask(&bearer, &[(AUTHORIZATION, "Bearer good")]), None);
    }

    #[test]
    fn updates_single_keys_and_all_identities() {
        let key = |n: u32| ApiKey::from_token(format!("key-{n}"), n);
        let keys = ApiKeys::new((0..1000).map(key));
        let clone = keys.clone();
        let find = |n: u32| ask(&clone, &[(AUTHORIZATION, &format!("Bearer key-{n}"))]);
        let digest: [u8; 32] = Sha256::digest("key-7").into();
        keys.update(&[key(1000), ApiKey::from_token("key-8", 80)], &[digest, [0; 32]]);
        assert_eq!((find(7), find(8), find(9), find(1000), keys.len()), (None, Some(80), Some(9), Some(1000), 1000));
        keys.update_identities(|n| (n + 1, n % 2 == 0));
        assert_eq!((find(8), find(9), find(10)), (Some(81), None, Some(11)));
        keys.update_identities(|n| (n - 1, true));
        assert_eq!(find(9), Some(9));
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = ApiKey::from_token("good", "alice");
        let keys = ApiKeys::new([key.clone()]);
        assert_eq!(format!("{keys:?}"), "ApiKeys { len: 1, reads_x_api_key: true }");
        assert_eq!(format!("{key:?}"), "ApiKey { enabled: true, expires_at: None, .. }");
    }
}
