//! Reads `[store]`.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::{
    options::{StoreMode, StoreOnError},
    reader::Table,
};

/// `[store]`
#[derive(Clone)]
pub struct Store {
    /// Its address, which may hold a password.
    pub url: SecretString,
    /// How much it is asked.
    pub mode: StoreMode,
    /// The part of a limit that is leased at a time, in millionths.
    pub lease: u32,
    /// What is allowed while it is away.
    pub on_error: StoreOnError,
    /// How long a request waits for it.
    pub timeout_ms: u64,
    /// The beginning of all keys.
    pub prefix: String,
}

impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        let fields = |it: &Self| (it.mode, it.lease, it.on_error, it.timeout_ms, it.prefix.clone());
        self.url.expose_secret() == other.url.expose_secret() && fields(self) == fields(other)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("mode", &self.mode)
            .field("lease", &self.lease)
            .field("on_error", &self.on_error)
            .field("timeout_ms", &self.timeout_ms)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A twentieth: with a larger part every limit would be below 20 parts, and so strict.
const LARGEST_LEASE: u32 = 50_000;

pub(super) fn read(mut t: Table<'_>) -> Option<Store> {
    let is_present = t.entries.is_some();
    let url = if is_present { t.required("url", "\"redis://127.0.0.1:6379/0\"") } else { String::new() };
    let _ = t.has("url");
    let mut store = Store {
        url: SecretString::from(url.as_str()),
        mode: StoreMode::default(),
        lease: lease(&mut t),
        on_error: StoreOnError::default(),
        timeout_ms: 50,
        prefix: "berry".to_owned(),
    };
    t.word("mode", &mut store.mode);
    t.word("on_error", &mut store.on_error);
    t.whole("timeout_ms", 1..=60_000, &mut store.timeout_ms);
    if let Some(prefix) = t.string("prefix") {
        if prefix.is_empty() || prefix.contains(['{', '}']) || prefix.contains(char::is_whitespace) {
            t.error("prefix", "must not be empty nor hold braces or white space");
        }
        store.prefix = prefix;
    }
    if !url.is_empty() {
        check_url(&t, &url);
    } else if t.has("url") {
        t.error("url", "must not be empty; without a store, remove the table");
    }
    t.finish();
    is_present.then_some(store)
}

#[cfg(feature = "redis")]
fn check_url(t: &Table<'_>, url: &str) {
    // The error does not hold the text, which may have a password.
    if let Err(error) = berry_tower::store::redis::RedisConfig::from_url(url) {
        t.error("url", error);
    }
}

#[cfg(not(feature = "redis"))]
fn check_url(t: &Table<'_>, _: &str) {
    t.error("url", "this server is built without the feature `redis`; build it with, or remove the table");
}

/// Reads a percentage in millionths.
fn lease(t: &mut Table<'_>) -> u32 {
    let Some(text) = t.string("lease") else { return LARGEST_LEASE };
    let percent = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
    let millionths = percent.map(|percent| (percent * 10_000.0).round());
    match millionths.filter(|it| *it >= 1.0 && *it <= f64::from(LARGEST_LEASE)) {
        // It is a whole number in this range.
        Some(millionths) => millionths as u32,
        None => {
            t.error("lease", "must be a percentage above 0% and at most 5%, like `\"5%\"`");
            LARGEST_LEASE
        }
    }
}
