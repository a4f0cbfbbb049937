//! A gateway over simulated providers, both in this process.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use berry_server::{
    Options, Server,
    config::{self, Loaded},
};
use berry_simulated::{Config, Provider, Retention};

use crate::{Ask, Connection, Reply, soon};

/// The token of the user who is always there.
pub const TOKEN: &str = "token-of-alice-0123456789";

/// A gateway in the making: providers, and the model `pool` over the first model of each of them.
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
            // No probe comes in between: what the providers see is what the tests send.
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
    /// Adds a provider with a few short answers.
    #[must_use]
    pub fn provider(self, name: &str) -> Self {
        self.provider_as(Config { tokens: Some(4), ..Config::named(name) })
    }

    /// Adds a provider.
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

    /// Adds lines to its entry in the pool.
    #[must_use]
    pub fn backend(mut self, lines: &str) -> Self {
        self.providers.last_mut().expect("a provider comes first").2.push_str(&line(lines));
        self
    }

    /// Keeps no requests of the provider added last, only numbers.
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

    /// Adds lines to the table of the user who is always there.
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

    /// Balances the pool by this strategy.
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

    /// Takes at most so many connections.
    #[must_use]
    pub fn max_connections(mut self, most: usize) -> Self {
        self.options.max_connections = most;
        self
    }

    /// Writes the configuration to this file, and has the gateway read it there.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Starts the providers, then the gateway.
    ///
    /// # Panics
    /// The configuration is bad, or there is no free port.
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
    /// The gateway.
    pub server: Server,
    /// Its address.
    pub addr: SocketAddr,
    /// The providers, in the order of their making.
    pub providers: Vec<Provider>,
    /// What the gateway was started with.
    pub loaded: Loaded,
    /// The same as a text.
    pub toml: Toml,
}

/// A configuration as a text, which `Debug` keeps to itself since keys stand in it.
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
    /// A gateway in the making.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A gateway over one provider, `a`.
    pub async fn single() -> Self {
        Self::builder().provider("a").start().await
    }

    /// A connection to it.
    pub async fn connect(&self) -> Connection {
        soon(Connection::open(self.addr)).await.expect("the gateway listens")
    }

    /// Asks on a connection of its own.
    pub async fn ask(&self, ask: &Ask) -> Reply {
        let mut connection = self.connect().await;
        soon(connection.ask(ask)).await.expect("an answer")
    }

    /// A plain chat with the pool.
    pub async fn plain(&self) -> Reply {
        self.ask(&Ask::chat("pool", false)).await
    }

    /// A streamed chat with the pool.
    pub async fn stream(&self) -> Reply {
        self.ask(&Ask::chat("pool", true)).await
    }

    /// How often the provider was asked for an answer.
    #[must_use]
    pub fn calls(&self, provider: usize) -> u64 {
        self.providers[provider].counts().calls
    }
}
