//! How a shared store is reached and used.

use std::{fmt, time::Duration};

use redis::{Client, TlsCertificates, cluster::ClusterClient};

use super::roots::system_roots;

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer is waited for at all, by those who need not be quick.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How much the store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Once for each request.
    Strict,
    /// For a part of a limit at a time, which the process then spends by itself.
    Leased {
        /// The part, in millionths of the limit; at most 50,000, a twentieth. Limits that are less
        /// than 20 of these parts are strict.
        millionths: u32,
    },
}

/// What is allowed while the store cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// What was left of each limit, divided by the number of processes that were seen last.
    #[default]
    Share,
    /// All of each limit, in each process.
    Local,
    /// Nothing.
    Deny,
}

/// Returned when a store's address cannot be used. It does not hold the address, which may have a
/// password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress(pub(super) String);

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidAddress {}

#[derive(Clone)]
pub(super) enum Server {
    Single(Box<Client>),
    /// A client of the whole cluster, and one of each node that was named.
    Cluster(Box<ClusterClient>, Vec<Client>),
}

impl Server {
    /// Returns clients of single nodes.
    pub(super) fn nodes(&self) -> Vec<Client> {
        match self {
            Self::Single(client) => vec![Client::clone(client)],
            Self::Cluster(_, nodes) => nodes.clone(),
        }
    }
}

/// Opens a client of one server. It verifies a server's certificate by those of the system, and by
/// Mozilla's where the system has none.
fn client(url: &str) -> redis::RedisResult<Client> {
    match tls(url) {
        Some(certificates) => Client::build_with_tls(url, certificates),
        None => Client::open(url),
    }
}

fn tls(url: &str) -> Option<TlsCertificates> {
    let root_cert = url.starts_with("rediss").then(system_roots).flatten()?;
    Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
}

/// The settings of a [`Redis`](super::Redis).
#[derive(Clone)]
pub struct RedisConfig {
    pub(super) server: Server,
    pub(super) mode: Mode,
    pub(super) on_error: OnError,
    pub(super) timeout: Duration,
    pub(super) prefix: String,
}

impl RedisConfig {
    /// Reads an address: `redis://`, `rediss://` for TLS, or `redis+cluster://` and `rediss+cluster://` with the nodes of
    /// a cluster, separated by commas. A user and a password may be in it.
    ///
    /// # Errors
    /// It is no such address.
    pub fn from_url(url: &str) -> Result<Self, InvalidAddress> {
        let invalid = |_| InvalidAddress("must be an address like `redis://127.0.0.1:6379/0`".to_owned());
        let cluster = ["redis", "rediss"].iter().find_map(|scheme| {
            let rest = url.strip_prefix(scheme)?.strip_prefix("+cluster://")?;
            Some((*scheme, rest))
        });
        let server = match cluster {
            Some((scheme, rest)) => cluster_of(scheme, rest)?,
            None => Server::Single(Box::new(client(url).map_err(invalid)?)),
        };
        Ok(Self {
            server,
            mode: Mode::Strict,
            on_error: OnError::Share,
            timeout: Duration::from_millis(50),
            prefix: "berry".to_owned(),
        })
    }

    /// Sets how much the store is asked. Default: [`Mode::Strict`].
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = match mode {
            Mode::Leased { millionths } => Mode::Leased { millionths: millionths.min(50_000) },
            Mode::Strict => Mode::Strict,
        };
        self
    }

    /// Sets what is allowed while the store cannot be reached. Default: [`OnError::Share`].
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Sets how long a request waits for the store. Default: 50 ms.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the beginning of all keys, without braces. Default: `berry`.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.replace(['{', '}'], "_").clone_into(&mut self.prefix);
        self
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("mode", &self.mode)
            .field("on_error", &self.on_error)
            .field("timeout", &self.timeout)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A user and a password before the first node hold for all nodes.
fn cluster_of(scheme: &str, rest: &str) -> Result<Server, InvalidAddress> {
    let invalid =
        || InvalidAddress("must name a cluster's nodes like `redis+cluster://10.0.0.1:6379,10.0.0.2:6379`".to_owned());
    let (login, nodes) = rest.rsplit_once('@').map_or(("", rest), |(login, nodes)| (login, nodes));
    let nodes = nodes.split('/').next().unwrap_or_default();
    let login = if login.is_empty() { String::new() } else { format!("{login}@") };
    let nodes: Vec<String> =
        nodes.split(',').filter(|node| !node.is_empty()).map(|node| format!("{scheme}://{login}{node}")).collect();
    let clients = nodes.iter().map(|node| client(node)).collect::<redis::RedisResult<Vec<_>>>();
    let clients = clients.ok().filter(|clients| !clients.is_empty()).ok_or_else(invalid)?;
    let mut builder =
        ClusterClient::builder(nodes).connection_timeout(CONNECT_TIMEOUT).response_timeout(RESPONSE_TIMEOUT).retries(1);
    if let Some(certificates) = tls(scheme) {
        builder = builder.certs(certificates);
    }
    Ok(Server::Cluster(Box::new(builder.build().map_err(|_| invalid())?), clients))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_and_tells_nothing_of_them() {
        for url in [
            "redis://127.0.0.1:6379/0",
            "rediss://user:secret@store.example:6380/1",
            "redis+cluster://10.0.0.1:6379,10.0.0.2:6379",
            "redis+cluster://user:p@10.0.0.1:6379,10.0.0.2:6379",
        ] {
            assert!(RedisConfig::from_url(url).is_ok(), "{url}");
        }
        for url in ["", "http://x", "redis://:secret@[", "redis+cluster://", "127.0.0.1:6379"] {
            let error = RedisConfig::from_url(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        let config = RedisConfig::from_url("redis://:secret@127.0.0.1").unwrap();
        assert!(!format!("{config:?}").contains("secret"));
    }
}
