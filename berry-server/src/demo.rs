//! The demo: a gateway over simulated providers in the same process. It needs no file and no key.

use std::{fmt::Write, io};

use crate::config::{self, Loaded};
use berry_simulated::{DemoProvider, demo_providers};

/// The configuration of the demo and the providers behind it.
#[derive(Debug)]
pub struct Demo {
    /// The configuration.
    pub loaded: Loaded,
    /// The token of the demo's user, who is an admin.
    pub token: String,
    /// The providers. Dropping them stops them.
    pub providers: Vec<DemoProvider>,
}

/// The demo's models: public name, strategy and description.
const MODELS: [(&str, &str, &str); 4] = [
    ("demo", "smart_ai", "keeps the expensive provider in reserve"),
    ("demo-fast", "least_latency", "prefers the provider with the lowest latency"),
    ("demo-steady", "failover", "uses the first provider while it works"),
    ("demo-fair", "round_robin", "uses each provider in turn"),
];

impl Demo {
    /// Starts the providers and builds the configuration of a gateway over them.
    ///
    /// # Errors
    /// Returns an error when no port is free.
    pub async fn start() -> io::Result<Self> {
        let providers = demo_providers().await?;
        let token = format!("berry-demo-{}", uuid::Uuid::new_v4().simple());
        let loaded = config::parse(&file(&providers, &token), &|_| None).map_err(io::Error::other)?;
        Ok(Self { loaded, token, providers })
    }

    /// Returns a text with the commands to try on a gateway at `addr`.
    #[must_use]
    pub fn guide(&self, addr: std::net::SocketAddr) -> String {
        let Self { token, providers, .. } = self;
        let mut text = format!("\nBerry's demo: a gateway over {} simulated providers.\n\n", providers.len());
        for provider in providers {
            let _ = writeln!(text, "  {:<8} {}", provider.name, provider.about);
        }
        let _ = write!(
            text,
            "\n  address    http://{addr}/v1\n  token      {token}\n  page       http://{addr}/\n\nModels:\n\n"
        );
        for (name, strategy, about) in MODELS {
            let _ = writeln!(text, "  {name:<12} {strategy:<14} {about}");
        }
        let _ = write!(
            text,
            "\nRun this command to see a streamed response:\n\n\
             curl -N http://{addr}/v1/chat/completions -H 'Authorization: Bearer {token}' \
             -H 'Content-Type: application/json' \
             -d '{{\"model\":\"demo\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello!\"}}]}}'\n\n"
        );
        text
    }
}

/// Returns the text of the configuration file.
fn file(providers: &[DemoProvider], token: &str) -> String {
    let mut text = format!(
        "[settings]\nhealth_check_interval_seconds = 5\nrecovery_check_interval_seconds = 5\n\
         [users.demo]\nname = \"Demo\"\ntoken = \"{token}\"\ntags = [\"admin\"]\n"
    );
    for provider in providers {
        let DemoProvider { name, base_url, key, models, .. } = provider;
        let backend_type = provider.dialect.backend_type();
        let _ = writeln!(
            text,
            "[providers.{name}]\nname = \"{name}\"\nbase_url = \"{base_url}\"\napi_key = \"{key}\"\nmodels = {models:?}\n\
             backend_type = \"{backend_type}\""
        );
        if let Some(preset) = provider.preset {
            let _ = writeln!(text, "preset = \"{preset}\"");
        }
    }
    for (name, strategy, _) in MODELS {
        let _ = writeln!(text, "[models.{name}]\nname = \"{name}\"\nstrategy = \"{strategy}\"");
        for (priority, provider) in providers.iter().enumerate() {
            let tags: &[&str] = if provider.premium { &["premium"] } else { &[] };
            let DemoProvider { name: id, models, .. } = provider;
            let _ = writeln!(
                text,
                "[[models.{name}.backends]]\nprovider = \"{id}\"\nmodel = {:?}\npriority = {priority}\ntags = {tags:?}",
                models[0]
            );
        }
    }
    text
}
