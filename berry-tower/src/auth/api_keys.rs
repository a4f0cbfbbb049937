//! API keys that are kept as digests and can be replaced while requests run.

use std::{
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::{
    authenticate::{bearer, single},
    {Authenticate, Rejection},
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static BEARER_HEADERS: [HeaderName; 1] = [AUTHORIZATION];
static ALL_HEADERS: [HeaderName; 2] = [AUTHORIZATION, X_API_KEY];

/// The SHA-256 of a token: equal in constant time, and silent in `Debug`.
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
        // Eight bytes of a digest spread as well as all of it; the map's own seed is secret.
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// One API key and whose it is.
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
    /// A key by its token, of which only the digest is kept.
    pub fn from_token(token: impl AsRef<[u8]>, identity: I) -> Self {
        Self::from_digest(Digest::of(token.as_ref()).0, identity)
    }

    /// A key by the SHA-256 of its token.
    pub const fn from_digest(sha256: [u8; 32], identity: I) -> Self {
        Self { digest: Digest(sha256), owner: Owner { identity, enabled: true, expires_at: None } }
    }

    /// Whether the key lets its owner in; it does unless told otherwise.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.owner.enabled = enabled;
        self
    }

    /// From when on it no longer does.
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

/// A set of API keys: the authenticator that most gateways want.
///
/// Tokens come as `Authorization: Bearer`, or as `x-api-key` too where that is
/// [accepted](Self::accept_x_api_key). Clones share one table, which [`replace`](Self::replace)
/// swaps as a whole while requests run. A look-up takes no lock and allocates nothing.
///
/// ```
/// use berry_tower::auth::{ApiKey, ApiKeys, Authenticate};
/// use http::{HeaderMap, header::AUTHORIZATION};
///
/// let keys = ApiKeys::new([ApiKey::from_token("berry-secret-token", "alice")]);
/// let mut headers = HeaderMap::new();
/// headers.insert(AUTHORIZATION, "Bearer berry-secret-token".parse().unwrap());
/// assert_eq!(keys.authenticate_now(&headers).unwrap().unwrap(), "alice");
///
/// keys.replace([]);
/// assert!(keys.authenticate_now(&headers).unwrap().is_err());
/// ```
pub struct ApiKeys<I> {
    table: Arc<ArcSwap<Table<I>>>,
    x_api_key: bool,
}

impl<I> ApiKeys<I> {
    /// A set of keys. Of two keys with the same token the last one counts.
    pub fn new(keys: impl IntoIterator<Item = ApiKey<I>>) -> Self {
        Self { table: Arc::new(ArcSwap::from_pointee(table(keys))), x_api_key: false }
    }

    /// A handle on the same keys that reads `x-api-key` where there is no `Authorization`.
    #[must_use]
    pub fn accept_x_api_key(&self) -> Self {
        Self { table: Arc::clone(&self.table), x_api_key: true }
    }

    /// Replaces all the keys in one step, for every clone of this handle.
    pub fn replace(&self, keys: impl IntoIterator<Item = ApiKey<I>>) {
        self.table.store(Arc::new(table(keys)));
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.load().len()
    }

    /// Whether there is none, and everybody is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        if self.x_api_key && !headers.contains_key(AUTHORIZATION) {
            return single(headers, &X_API_KEY);
        }
        bearer(headers)
    }
}

fn table<I>(keys: impl IntoIterator<Item = ApiKey<I>>) -> Table<I> {
    keys.into_iter().map(|key| (key.digest, key.owner)).collect()
}

impl<I: Clone> ApiKeys<I> {
    fn find(&self, headers: &HeaderMap) -> Result<I, Rejection> {
        let digest = Digest::of(self.token(headers).ok_or(Rejection::InvalidToken)?);
        let table = self.table.load();
        let owner = table.get(&digest).ok_or(Rejection::InvalidToken)?;
        let expired = owner.expires_at.is_some_and(|at| at <= SystemTime::now());
        if owner.enabled && !expired { Ok(owner.identity.clone()) } else { Err(Rejection::InvalidToken) }
    }
}

impl<I: Clone + Send + Sync + 'static> Authenticate for ApiKeys<I> {
    type Identity = I;

    fn authenticate(&self, headers: &HeaderMap) -> impl Future<Output = Result<I, Rejection>> + Send {
        std::future::ready(self.find(headers))
    }

    fn authenticate_now(&self, headers: &HeaderMap) -> Option<Result<I, Rejection>> {
        Some(self.find(headers))
    }

    fn secret_headers(&self) -> &[HeaderName] {
        if self.x_api_key { &ALL_HEADERS } else { &BEARER_HEADERS }
    }
}

impl<I> Clone for ApiKeys<I> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table), x_api_key: self.x_api_key }
    }
}

impl<I> fmt::Debug for ApiKeys<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys").field("len", &self.len()).field("x_api_key", &self.x_api_key).finish()
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
        keys.authenticate_now(&headers(pairs)).unwrap().ok()
    }

    #[test]
    fn a_key_counts_while_it_is_enabled_and_has_not_expired() {
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
    fn a_digest_stands_for_its_token() {
        let keys = ApiKeys::new([ApiKey::from_digest(Sha256::digest(b"good").into(), 7)]);
        assert_eq!(ask(&keys, &[(AUTHORIZATION, "Bearer good")]), Some(7));
    }

    #[test]
    fn the_scheme_must_be_bearer_and_the_header_single() {
        let keys = ApiKeys::new([ApiKey::from_token("good", 1)]);
        assert_eq!(ask(&keys, &[(AUTHORIZATION, "bEARER   good ")]), Some(1));
        for bad in ["good", "Basic good", "Bearer", "Bearergood", ""] {
            assert_eq!(ask(&keys, &[(AUTHORIZATION, bad)]), None, "{bad:?}");
        }
        assert_eq!(ask(&keys, &[]), None);
        let mut doubled = headers(&[(AUTHORIZATION, "Bearer good")]);
        doubled.append(AUTHORIZATION, "Bearer good".parse().unwrap());
        assert!(keys.authenticate_now(&doubled).unwrap().is_err());
    }

    #[test]
    fn x_api_key_is_read_only_where_it_is_accepted() {
        let keys = ApiKeys::new([ApiKey::from_token("good", 1)]);
        assert_eq!(ask(&keys, &[(X_API_KEY, "good")]), None);
        let both = keys.accept_x_api_key();
        assert_eq!(ask(&both, &[(X_API_KEY, "good")]), Some(1));
        assert_eq!(ask(&both, &[(AUTHORIZATION, "Bearer good")]), Some(1));
        assert_eq!(ask(&both, &[(AUTHORIZATION, "Bearer bad"), (X_API_KEY, "good")]), None, "Authorization decides");
        keys.replace([]);
        assert_eq!(ask(&both, &[(X_API_KEY, "good")]), None, "the handles share one table");
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = ApiKey::from_token("good", "alice");
        let keys = ApiKeys::new([key.clone()]);
        assert_eq!(format!("{keys:?}"), "ApiKeys { len: 1, x_api_key: false }");
        assert_eq!(format!("{key:?}"), "ApiKey { enabled: true, expires_at: None, .. }");
    }
}
