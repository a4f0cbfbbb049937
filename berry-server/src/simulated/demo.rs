//! The providers of the demo.

use super::config::Config;
use super::fault::Fault;
use super::provider::Provider;
use super::record::Keep;
use std::io;
use std::time::Duration;

/// A provider of the demo, with what a configuration needs to know of it.
#[derive(Debug)]
pub struct DemoProvider {
    /// Its id.
    pub name: &'static str,
    /// What it is like, in a few words.
    pub about: &'static str,
    /// Its base URL, with the version.
    pub base_url: String,
    /// Its key.
    pub key: String,
    /// Its models.
    pub models: Vec<String>,
    /// Whether it counts as the dear one.
    pub premium: bool,
    /// The server; it stops when this is dropped.
    pub provider: Provider,
}

/// A demo provider's character: name, about, first token and time per token in milliseconds,
/// percentage of requests that fail, premium.
type Character = (&'static str, &'static str, u64, u64, u8, bool);

const CHARACTERS: [Character; 3] = [
    ("swift", "fast and cheap", 60, 12, 0, false),
    ("steady", "slow, dear and reliable", 700, 45, 0, true),
    ("flaky", "fails every third request", 150, 20, 34, false),
];

/// Starts the three providers of the demo: one fast and cheap, one slow, one that fails about a
/// third of its requests. Each has the models `sim-small` and `sim-large`, and keeps no bodies.
///
/// # Errors
///
/// When there is no free port.
pub async fn demo_providers() -> io::Result<Vec<DemoProvider>> {
    let mut out = Vec::with_capacity(CHARACTERS.len());
    for (name, about, first, each, fails, premium) in CHARACTERS {
        let config = Config {
            models: vec!["sim-small".to_owned(), "sim-large".to_owned()],
            first_token: Duration::from_millis(first),
            per_token: Duration::from_millis(each),
            behavior: Fault::Status(503).percent(fails),
            keep: Keep::Counts,
            ..Config::named(name)
        };
        let models = config.models.clone();
        let provider = Provider::start(config).await?;
        out.push(DemoProvider {
            name,
            about,
            base_url: provider.base_url(),
            key: provider.key().to_owned(),
            models,
            premium,
            provider,
        });
    }
    Ok(out)
}
