//! Opens the store of a configuration.

use std::sync::Arc;

use berry_tower::store::{Memory, Store};

/// Opens the store of `[store]`; without one, the counters are in the memory of the process.
pub(crate) fn open(store: Option<&crate::config::Store>) -> Result<Arc<dyn Store>, String> {
    store.map_or_else(|| Ok(Arc::new(Memory::new()) as Arc<dyn Store>), shared)
}

#[cfg(feature = "redis")]
fn shared(store: &crate::config::Store) -> Result<Arc<dyn Store>, String> {
    use std::time::Duration;

    use berry_tower::store::redis::{Mode, OnError, Redis, RedisConfig};
    use secrecy::ExposeSecret;

    use crate::config::{StoreMode, StoreOnError};

    let config = RedisConfig::from_url(store.url.expose_secret()).map_err(|error| format!("store.url: {error}"))?;
    let mode = match store.mode {
        StoreMode::Strict => Mode::Strict,
        StoreMode::Leased => Mode::Leased { millionths: store.lease },
    };
    let on_error = match store.on_error {
        StoreOnError::Share => OnError::Share,
        StoreOnError::Local => OnError::Local,
        StoreOnError::Deny => OnError::Deny,
    };
    let config =
        config.mode(mode).on_error(on_error).timeout(Duration::from_millis(store.timeout_ms)).prefix(&store.prefix);
    Ok(Arc::new(Redis::start(config)))
}

#[cfg(not(feature = "redis"))]
fn shared(_: &crate::config::Store) -> Result<Arc<dyn Store>, String> {
    Err("store.url: this server is built without the feature `redis`".to_owned())
}
