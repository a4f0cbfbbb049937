//! The providers of the demo.

use super::config::Config;
use super::dialect::Dialect;
use super::fault::Fault;
use super::provider::Provider;
use super::record::Retention;
use std::io;
use std::time::Duration;

/// A provider of the demo, with what a configuration of it needs.
#[derive(Debug)]
pub struct DemoProvider {
    /// The id.
    pub name: &'static str,
    /// A short description.
    pub about: &'static str,
    /// The wire format.
    pub dialect: Dialect,
    /// The known provider whose rules and shapes it has.
    pub preset: Option<&'static str>,
    /// The base URL, with the version.
    pub base_url: String,
    /// The key.
    pub key: String,
    /// The models.
    pub models: Vec<String>,
    /// Whether it is the expensive one.
    pub premium: bool,
    /// The server; it stops when this is dropped.
    pub provider: Provider,
}

/// The properties of a demo provider.
struct Profile {
    name: &'static str,
    about: &'static str,
    dialect: Dialect,
    preset: Option<&'static str>,
    /// The time to the first token and between tokens, in milliseconds.
    pace: (u64, u64),
    /// The share of requests that fail, in percent.
    fails: u8,
    premium: bool,
}

const PROFILES: [Profile; 4] = [
    Profile {
        name: "swift",
        about: "fast and cheap",
        dialect: Dialect::OpenAi,
        preset: None,
        pace: (60, 12),
        fails: 0,
        premium: false,
    },
    Profile {
        name: "steady",
        about: "slow, expensive and reliable; refuses and answers as Mistral does",
        dialect: Dialect::OpenAi,
        preset: Some("mistral"),
        pace: (700, 45),
        fails: 0,
        premium: true,
    },
    Profile {
        name: "flaky",
        about: "fails every third request",
        dialect: Dialect::OpenAi,
        preset: None,
        pace: (150, 20),
        fails: 34,
        premium: false,
    },
    Profile {
        name: "foreign",
        about: "speaks Claude's format, not OpenAI's",
        dialect: Dialect::Claude,
        preset: None,
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
/// Fails when there is no free port.
pub async fn demo_providers() -> io::Result<Vec<DemoProvider>> {
    let mut out = Vec::with_capacity(PROFILES.len());
    for Profile { name, about, dialect, preset, pace: (first, each), fails, premium } in PROFILES {
        let config = Config {
            models: vec!["sim-small".to_owned(), "sim-large".to_owned()],
            dialect,
            preset,
            first_token: Duration::from_millis(first),
            per_token: Duration::from_millis(each),
            behavior: Fault::Status(503).percent(fails),
            keep: Retention::Counts,
            ..Config::named(name)
        };
        let models = config.models.clone();
        let provider = Provider::start(config).await?;
        out.push(DemoProvider {
            name,
            about,
            dialect,
            preset,
            base_url: provider.base_url(),
            key: provider.key().to_owned(),
            models,
            premium,
            provider,
        });
    }
    Ok(out)
}
