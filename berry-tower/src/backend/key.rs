//! A provider's key, which may be replaced while the provider is in use.

use std::{fmt, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;

use super::invalid_provider::InvalidProvider;

/// A key, and the header values that carry it.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) secret: SecretString,
    pub(super) plain: HeaderValue,
    pub(super) bearer: HeaderValue,
}

impl Key {
    pub(super) fn new(key: &str) -> Result<Self, InvalidProvider> {
        let value = |text: &str| {
            let mut value =
                HeaderValue::from_str(text).map_err(|_| InvalidProvider("api_key holds a control character"))?;
            value.set_sensitive(true);
            Ok(value)
        };
        Ok(Self { secret: key.into(), plain: value(key)?, bearer: value(&format!("Bearer {key}"))? })
    }
}

/// A key that changes from time to time, such as an access token. Clones share it.
///
/// Requests wait until there is a first key, and use the old one until the new one is there.
///
/// ```
/// use berry_tower::backend::{Provider, RotatingKey};
///
/// let key = RotatingKey::new();
/// let provider = Provider::new("vertex", "https://aiplatform.googleapis.com").unwrap().with_rotating_key(key.clone());
/// assert!(!provider.headers().contains_key("authorization"));
/// key.set("ya29.first").unwrap();
/// key.set("ya29.second").unwrap();
/// assert_eq!(provider.headers()["authorization"], "Bearer ya29.second");
/// assert!(!format!("{key:?}").contains("ya29"));
/// ```
#[derive(Clone, Default)]
pub struct RotatingKey(Arc<Shared>);

#[derive(Default)]
struct Shared {
    current: ArcSwapOption<Key>,
    /// The keys that were replaced, the latest last; a provider may still quote them.
    earlier: ArcSwap<Vec<SecretString>>,
    /// Whether the last attempt to get a first key has failed.
    failed: std::sync::atomic::AtomicBool,
    settled: Notify,
}

/// The number of earlier keys that are still masked.
const EARLIER: usize = 4;

impl RotatingKey {
    /// Returns a key that is not known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the key.
    ///
    /// # Errors
    /// The key is empty or has a character that no header may have.
    pub fn set(&self, key: &str) -> Result<(), InvalidProvider> {
        if key.is_empty() {
            return Err(InvalidProvider("the key is empty"));
        }
        let before = self.0.current.swap(Some(Arc::new(Key::new(key)?)));
        if let Some(before) = before {
            self.0.earlier.rcu(|earlier| {
                let kept = earlier.len().saturating_sub(EARLIER - 1);
                earlier[kept..].iter().cloned().chain([before.secret.clone()]).collect::<Vec<_>>()
            });
        }
        self.0.settled.notify_waiters();
        Ok(())
    }

    /// Says that no key could be got, so that requests no longer wait for the first one.
    pub fn fail(&self) {
        self.0.failed.store(true, std::sync::atomic::Ordering::Relaxed);
        self.0.settled.notify_waiters();
    }

    /// Whether there is a key.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.0.current.load().is_some()
    }

    /// Waits until there is a key, or an attempt to get the first one has [failed](Self::fail).
    pub async fn settled(&self) {
        loop {
            let mut notified = std::pin::pin!(self.0.settled.notified());
            notified.as_mut().enable();
            if self.is_known() || self.0.failed.load(std::sync::atomic::Ordering::Relaxed) {
                return;
            }
            notified.await;
        }
    }

    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The key in use.
    pub(super) fn current(&self) -> Option<Arc<Key>> {
        self.0.current.load_full()
    }

    /// Calls `seen` with the key in use and with earlier ones.
    pub(super) fn for_each(&self, mut seen: impl FnMut(&str)) {
        if let Some(key) = &*self.0.current.load() {
            seen(key.secret.expose_secret());
        }
        for earlier in self.0.earlier.load().iter() {
            seen(earlier.expose_secret());
        }
    }
}

impl fmt::Debug for RotatingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingKey").field("is_known", &self.is_known()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_first_key_and_masks_earlier_ones() {
        let key = RotatingKey::new();
        let waiting = key.clone();
        let task = tokio::spawn(async move { waiting.settled().await });
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        key.set("first-key").unwrap();
        task.await.unwrap();
        key.set("second-key").unwrap();
        let mut seen = Vec::new();
        key.for_each(|secret| seen.push(secret.to_owned()));
        assert_eq!(seen, ["second-key", "first-key"]);
        assert!(key.set("line\nbreak").is_err() && key.set("").is_err());
        assert_eq!(key.current().unwrap().bearer, "Bearer second-key");
    }

    #[tokio::test]
    async fn stops_waiting_when_no_key_can_be_got() {
        let key = RotatingKey::new();
        key.fail();
        key.settled().await;
        assert!(!key.is_known());
    }
}
