//! The providers of the demo.

use super::config::Config;
use super::dialect::Dialect;
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
    /// Its wire format.
    pub dialect: Dialect,
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

/// A demo provider's character.
struct Character {
    name: &'static str,
    about: &'static str,
    dialect: Dialect,
    /// The time to the first token, and from each to the next, in milliseconds.
    pace: (u64, u64),
    /// How many of a hundred requests fail.
    fails: u8,
    premium: bool,
}

const CHARACTERS: [Character; 4] = [
    Character {
        name: "swift",
        about: "fast and cheap",
        dialect: Dialect::OpenAi,
        pace: (60, 12),
        fails: 0,
        premium: false,
    },
    Character {
        name: "steady",
        about: "slow, dear and reliable",
        dialect: Dialect::OpenAi,
        pace: (700, 45),
        fails: 0,
        premium: true,
    },
    Character {
        name: "flaky",
        about: "fails every third request",
        dialect: Dialect::OpenAi,
        pace: (150, 20),
        fails: 34,
        premium: false,
    },
    Character {
        name: "foreign",
        about: "speaks Claude's format, not OpenAI's",
        dialect: Dialect::Claude,
        pace: (250, 25),
        fails: 0,
        premium: false,
    },
];

/// Starts the four providers of the demo: one fast and cheap, one slow, one that fails about a
/// third of its requests, and one in Claude's format. Each has the models `sim-small` and
/// `sim-large`, and keeps no bodies.
///
/// # Errors
///
/// When there is no free port.
pub async fn demo_providers() -> io::Result<Vec<DemoProvider>> {
    let mut out = Vec::with_capacity(CHARACTERS.len());
    for Character { name, about, dialect, pace: (first, each), fails, premium } in CHARACTERS {
        let config = Config {
            models: vec!["sim-small".to_owned(), "sim-large".to_owned()],
            dialect,
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
            dialect,
            base_url: provider.base_url(),
            key: provider.key().to_owned(),
            models,
            premium,
            provider,
        });
    }
    Ok(out)
}
