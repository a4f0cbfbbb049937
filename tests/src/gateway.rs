//! A gateway over simulated providers, in the process of the test.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use berry_server::{
    Options, Server,
    config::{self, Loaded},
};
use berry_simulated::{Config, Provider, Retention};

use crate::{Ask, Connection, Reply, soon};

/// The token of the default user.
pub const TOKEN: &str = "token-of-alice-0123456789";

/// Builds a [`Gateway`] with providers and the model `pool`, which has a backend for the first model
/// of each provider.
#[derive(Debug)]
pub struct Builder {
    providers: Vec<(Config, String, String)>,
    settings: String,
    user: String,
    pool: String,
    tables: String,
    options: Options,
    file: Option<PathBuf>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            // Without probes, the providers only receive the requests of the test.
            settings: "health_check_interval_seconds = 86400\n".to_owned(),
            user: String::new(),
            pool: String::new(),
            tables: String::new(),
            options: Options::loopback(),
            file: None,
        }
    }
}

impl Builder {
    /// Adds a provider whose responses have four words.
    #[must_use]
    pub fn provider(self, name: &str) -> Self {
        self.provider_as(Config { tokens: Some(4), ..Config::named(name) })
    }

    /// Adds a provider with the given behaviour.
    #[must_use]
    pub fn provider_as(mut self, config: Config) -> Self {
        self.providers.push((config, String::new(), String::new()));
        self
    }

    /// Adds lines to the table of the provider added last.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Self {
        self.providers.last_mut().expect("a provider comes first").1.push_str(&line(lines));
        self
    }

    /// Adds lines to the pool's entry for the provider added last.
    #[must_use]
    pub fn backend(mut self, lines: &str) -> Self {
        self.providers.last_mut().expect("a provider comes first").2.push_str(&line(lines));
        self
    }

    /// Makes the provider added last count its requests without storing them.
    #[must_use]
    pub fn counted(mut self) -> Self {
        self.providers.last_mut().expect("a provider comes first").0.keep = Retention::Counts;
        self
    }

    /// Adds lines to `[settings]`.
    #[must_use]
    pub fn settings(mut self, lines: &str) -> Self {
        self.settings.push_str(&line(lines));
        self
    }

    /// Adds lines to the table of the default user.
    #[must_use]
    pub fn user(mut self, lines: &str) -> Self {
        self.user.push_str(&line(lines));
        self
    }

    /// Adds lines to the table of the pool.
    #[must_use]
    pub fn pool(mut self, lines: &str) -> Self {
        self.pool.push_str(&line(lines));
        self
    }

    /// Sets the strategy of the pool.
    #[must_use]
    pub fn strategy(self, name: &str) -> Self {
        self.pool(&format!("strategy = \"{name}\""))
    }

    /// Adds whole tables.
    #[must_use]
    pub fn tables(mut self, tables: &str) -> Self {
        self.tables.push_str(&line(tables));
        self
    }

    /// Limits the number of open connections.
    #[must_use]
    pub fn max_connections(mut self, most: usize) -> Self {
        self.options.max_connections = most;
        self
    }

    /// Writes the configuration to a file, from which the gateway loads it.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Starts the providers, then the gateway.
    ///
    /// # Panics
    /// Panics when the configuration is invalid or no port is free.
    pub async fn start(self) -> Gateway {
        let mut providers = Vec::new();
        let mut toml = format!("[settings]\n{}[users.alice]\ntoken = \"{TOKEN}\"\n{}", self.settings, self.user);
        let mut pool = format!("[models.pool]\nname = \"pool\"\n{}", self.pool);
        for (config, table, backend) in self.providers {
            let (name, models) = (config.name.clone(), config.models.clone());
            let provider = Provider::start(config).await.expect("a free port");
            let (url, key) = (provider.base_url(), provider.key());
            let _ = write!(
                toml,
                "[providers.{name}]\nbase_url = \"{url}\"\napi_key = \"{key}\"\nmodels = {models:?}\n{table}"
            );
            let _ = write!(
                pool,
                "[[models.pool.backends]]\nprovider = \"{name}\"\nmodel = {:?}\nprobe = \"none\"\n{backend}",
                models[0]
            );
            providers.push(provider);
        }
        let toml = format!("{toml}{pool}{}", self.tables);
        let loaded = match &self.file {
            Some(path) => {
                std::fs::write(path, &toml).expect("a folder to write to");
                config::load(path)
            }
            None => config::parse(&toml, &|_| None),
        };
        let loaded = loaded.unwrap_or_else(|e| panic!("{e}\n{toml}"));
        let server = Server::start(loaded.clone(), self.options).await.expect("a free port");
        Gateway { addr: server.addr(), server, providers, loaded, toml: Toml(toml) }
    }
}

fn line(lines: &str) -> String {
    format!("{lines}\n")
}

/// A gateway and the providers behind it.
#[derive(Debug)]
pub struct Gateway {
    /// The running gateway.
    pub server: Server,
    /// Its address.
    pub addr: SocketAddr,
    /// The providers, in the order in which they were added.
    pub providers: Vec<Provider>,
    /// The configuration that the gateway was started with.
    pub loaded: Loaded,
    /// The text of that configuration.
    pub toml: Toml,
}

/// The text of a configuration. `Debug` does not print it because it contains keys.
#[derive(Clone)]
pub struct Toml(pub String);

impl std::fmt::Debug for Toml {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Toml")
    }
}

impl std::ops::Deref for Toml {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Gateway {
    /// Returns a builder without providers.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts a gateway over one provider, `a`.
    pub async fn single() -> Self {
        Self::builder().provider("a").start().await
    }

    /// Opens a connection to the gateway.
    pub async fn connect(&self) -> Connection {
        soon(Connection::open(self.addr)).await.expect("the gateway listens")
    }

    /// Sends a request on a new connection.
    pub async fn ask(&self, ask: &Ask) -> Reply {
        let mut connection = self.connect().await;
        soon(connection.ask(ask)).await.expect("an answer")
    }

    /// Sends a chat request to the pool, without streaming.
    pub async fn plain(&self) -> Reply {
        self.ask(&Ask::chat("pool", false)).await
    }

    /// Sends a streaming chat request to the pool.
    pub async fn stream(&self) -> Reply {
        self.ask(&Ask::chat("pool", true)).await
    }

    /// Returns the number of model requests that the provider received.
    #[must_use]
    pub fn calls(&self, provider: usize) -> u64 {
        self.providers[provider].counts().calls
    }
}
