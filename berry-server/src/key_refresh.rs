//! Replaces the providers' keys that change from time to time, before they expire.

use std::{thread, time::Duration};

use berry_tower::backend::RotatingKey;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::config::{KeySource, build::ProviderKeys};

/// The wait after the first attempt that failed; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait after an attempt that failed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Tasks that keep the keys of one configuration fresh until this is dropped, one for each key.
#[derive(Debug)]
pub(crate) struct KeyRefresh(Vec<JoinHandle<()>>);

impl KeyRefresh {
    /// Starts the tasks. Each gets its key at once.
    pub(crate) fn start(keys: &ProviderKeys) -> Self {
        Self(keys.iter().map(|(source, key)| tokio::spawn(refresh(source.clone(), key.clone()))).collect())
    }
}

impl Drop for KeyRefresh {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Gets the key again and again. The old one stays in use until the new one is there.
async fn refresh(source: KeySource, key: RotatingKey) {
    let lifetime = Duration::from_secs(source.ttl_seconds);
    let mut failures = 0;
    loop {
        let asked = Instant::now();
        let set = fetch(source.clone()).await;
        let set = set.and_then(|fresh| key.set(fresh.expose_secret()).map_err(|error| error.to_string()));
        let wait = match set {
            Ok(()) => {
                failures = 0;
                // A fifth of its life is left for a new one to be got, and got again if that fails.
                (lifetime * 4 / 5).saturating_sub(asked.elapsed())
            }
            Err(error) => {
                let wait = (FIRST_WAIT * 2_u32.saturating_pow(failures)).min(LONGEST_WAIT).min(lifetime);
                failures = (failures + 1).min(10);
                tracing::warn!(%error, retry_in_seconds = wait.as_secs(), "the key of a provider cannot be got");
                key.fail();
                wait
            }
        };
        sleep(wait).await;
    }
}

/// Gets the key on a thread of its own, for it blocks.
async fn fetch(source: KeySource) -> Result<SecretString, String> {
    let (sender, result) = oneshot::channel();
    let spawned = thread::Builder::new().name("provider-key".to_owned()).spawn(move || sender.send(source.fetch()));
    spawned.map_err(|error| format!("no thread can be started: {error}"))?;
    result.await.unwrap_or_else(|_| Err("the attempt has ended without a result".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeyOrigin;
    use std::path::Path;

    fn source(path: &Path) -> KeySource {
        KeySource { origin: KeyOrigin::File(path.to_owned()), ttl_seconds: 1 }
    }

    async fn until(is: impl Fn() -> bool) {
        let waited = async {
            while !is() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap();
    }

    #[tokio::test]
    async fn replaces_the_key_and_keeps_the_old_one_while_there_is_no_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "first-key").unwrap();
        let key = RotatingKey::new();
        let provider = berry_tower::backend::Provider::new("p", "http://127.0.0.1:9").unwrap();
        let provider = provider.with_rotating_key(key.clone());
        let header = || provider.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let task = tokio::spawn(refresh(source(&path), key.clone()));
        until(|| header().as_deref() == Some("Bearer first-key")).await;
        std::fs::remove_file(&path).unwrap();
        sleep(Duration::from_millis(1500)).await;
        assert_eq!(header().as_deref(), Some("Bearer first-key"));
        std::fs::write(&path, "second-key").unwrap();
        until(|| header().as_deref() == Some("Bearer second-key")).await;
        task.abort();
    }
}
