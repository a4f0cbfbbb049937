//! The connections to upstreams: a pool for each destination, which keeps those that are free.
//!
//! On the path of a request are a search in a short list, a lock that is held for a pop or a push,
//! and hyper itself. [Making](connect) and [closing](reap) connections is off that path.

mod config;
mod connect;
mod connection;
mod connector;
mod destination;
mod exchange;
mod handover;
mod idle;
mod io;
mod reap;
mod settings;
mod slots;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{
    Uri,
    uri::{Authority, Scheme},
};
use rustls::ClientConfig;

pub(super) use self::{
    config::Config,
    exchange::{Exchange, Pooled},
};
use self::{connection::BoxConnection, connector::Connector, destination::Destination, idle::Idle, slots::Waiters};
use super::{resolver::Resolver, tls::Trust};
use crate::error::Failure;

/// The pools of all destinations.
#[derive(Default)]
pub(super) struct Pools {
    config: Arc<Config>,
    trust: Trust,
    /// In the order of their keys.
    list: ArcSwap<Vec<Entry>>,
    tls: OnceLock<Arc<ClientConfig>>,
    resolver: Resolver,
    /// Whether a task closes unused connections.
    is_reaped: AtomicBool,
}

/// A pool, and its key.
#[derive(Clone)]
struct Entry {
    authority: Authority,
    tls: bool,
    timeout: Duration,
    pool: Arc<Pool>,
}

impl Entry {
    fn key(&self) -> (&str, bool, Duration) {
        (self.authority.as_str(), self.tls, self.timeout)
    }
}

/// The connections to one destination.
pub(super) struct Pool {
    destination: Destination,
    connector: Connector,
    config: Arc<Config>,
    /// How long connecting may take.
    timeout: Duration,
    idle: Idle,
    /// The requests that wait for a connection, new or free.
    waiters: Arc<Waiters>,
    /// Whether a connection is being made for all waiters.
    is_connecting: AtomicBool,
    /// The number of failed attempts to make a connection for all waiters.
    failures: AtomicUsize,
    /// Whether the upstream's connections carry one request at a time.
    is_exclusive: AtomicBool,
    home: Weak<Pools>,
}

impl Pools {
    pub(super) fn new(config: Config, trust: Trust) -> Self {
        Self { config: Arc::new(config), trust, ..Self::default() }
    }

    /// Returns the pool for an address that is to be reached within this time.
    ///
    /// # Errors
    ///
    /// The address is not one of HTTP, or TLS cannot be set up.
    pub(super) fn find(self: &Arc<Self>, to: &Uri, timeout: Duration) -> Result<Arc<Pool>, Failure> {
        let (Some(scheme), Some(authority)) = (to.scheme(), to.authority()) else {
            return Err(Failure::ConnectionLost("an address without a scheme or a host".into()));
        };
        let tls = *scheme == Scheme::HTTPS;
        if !tls && *scheme != Scheme::HTTP {
            return Err(Failure::Connect("an address that is neither http nor https".into()));
        }
        let key = (authority.as_str(), tls, timeout);
        let search = |list: &[Entry]| list.binary_search_by(|entry| entry.key().cmp(&key));
        let list = self.list.load();
        if let Ok(at) = search(&list) {
            return Ok(list[at].pool.clone());
        }
        let destination = Destination::new(scheme, authority)?;
        let connector = self.connector(tls, timeout)?;
        let pool = Arc::new(Pool::new(destination, connector, self.config.clone(), timeout, Arc::downgrade(self)));
        let entry = Entry { authority: authority.clone(), tls, timeout, pool: pool.clone() };
        self.list.rcu(|list| {
            let mut list = Vec::clone(list);
            if let Err(at) = search(&list) {
                list.insert(at, entry.clone());
            }
            list
        });
        let list = self.list.load();
        Ok(search(&list).map_or(pool, |at| list[at].pool.clone()))
    }
}

impl Pool {
    fn new(
        destination: Destination,
        connector: Connector,
        config: Arc<Config>,
        timeout: Duration,
        home: Weak<Pools>,
    ) -> Self {
        Self {
            destination,
            connector,
            config,
            timeout,
            idle: Idle::default(),
            waiters: Arc::default(),
            is_connecting: AtomicBool::new(false),
            failures: AtomicUsize::new(0),
            is_exclusive: AtomicBool::new(false),
            home,
        }
    }

    /// Keeps a connection for the next request, for which it may not be ready yet.
    fn put(&self, connection: BoxConnection) {
        if connection.is_shared() || connection.is_closed() {
            return;
        }
        self.idle.put(connection, self.config.max_idle);
        self.waiters.notify_one();
    }
}
