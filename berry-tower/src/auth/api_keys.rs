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

type Table<I> = HashMap<Digest, Owner<I>, RandomState>;

/// A set of API keys.
///
/// A token is read from `Authorization: Bearer` and from `x-api-key`; a request with two different
/// tokens is rejected. Clones share one table, which [`replace`](Self::replace) swaps as a whole
/// while requests run. A look-up takes no lock and allocates nothing.
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
        Self { table: Arc::new(ArcSwap::from_pointee(table(keys))), reads_x_api_key: true }
    }

    /// Returns a handle to the same keys that ignores `x-api-key` and leaves it in the request.
    #[must_use]
    pub fn bearer_only(&self) -> Self {
        Self { table: Arc::clone(&self.table), reads_x_api_key: false }
    }

    /// Replaces all keys in one step, for every clone of this handle.
    pub fn replace(&self, keys: impl IntoIterator<Item = ApiKey<I>>) {
        self.table.store(Arc::new(table(keys)));
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

fn table<I>(keys: impl IntoIterator<Item = ApiKey<I>>) -> Table<I> {
    keys.into_iter().map(|key| (key.digest, key.owner)).collect()
}

impl<I: Clone> ApiKeys<I> {
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
    fn debug_shows_no_secret() {
        let key = ApiKey::from_token("good", "alice");
        let keys = ApiKeys::new([key.clone()]);
        assert_eq!(format!("{keys:?}"), "ApiKeys { len: 1, reads_x_api_key: true }");
        assert_eq!(format!("{key:?}"), "ApiKey { enabled: true, expires_at: None, .. }");
    }
}
