//! The connections to upstreams: a pool for each destination, which keeps those that are free.
//!
//! On the path of a request are a search in a short list, a lock that is held for a pop or a push,
//! and hyper itself. What is [made](connect) and [ended](reap) is off that path.

mod answer;
mod connect;
mod connection;
mod connector;
mod destination;
mod idle;
mod reap;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{
    Uri,
    uri::{Authority, Scheme},
};
use rustls::ClientConfig;
use tokio::sync::Notify;

pub(super) use self::answer::{Answer, Pooled};
use self::{connection::Boxed, connector::Connector, destination::Destination, idle::Idle};
use crate::error::Failure;

/// The pools of all destinations.
#[derive(Default)]
pub(super) struct Pools {
    /// In the order of their keys.
    list: ArcSwap<Vec<Entry>>,
    tls: OnceLock<Arc<ClientConfig>>,
    /// Whether somebody ends what is free for long.
    is_reaped: AtomicBool,
}

/// A pool, and what it is found by.
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
    /// How long it may take to connect.
    timeout: Duration,
    idle: Idle,
    /// How many wait for a connection, new or free.
    waiting: AtomicUsize,
    /// Told of each connection that becomes free while somebody waits.
    freed: Notify,
    /// Whether a connection is being made for all that wait.
    is_connecting: AtomicBool,
    /// Whether a connection was found to have room for one request only.
    is_exclusive: AtomicBool,
    home: Weak<Pools>,
}

impl Pools {
    /// The pool for an address, to which a connection may take so long.
    ///
    /// # Errors
    ///
    /// When it is no address of HTTP's, or TLS cannot be set up.
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
        let pool = Arc::new(Pool::new(destination, self.connector(tls, timeout)?, timeout, Arc::downgrade(self)));
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
    fn new(destination: Destination, connector: Connector, timeout: Duration, home: Weak<Pools>) -> Self {
        Self {
            destination,
            connector,
            timeout,
            idle: Idle::default(),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            is_connecting: AtomicBool::new(false),
            is_exclusive: AtomicBool::new(false),
            home,
        }
    }

    /// Keeps a connection for the next request, which it may not be ready for yet.
    fn put(&self, connection: Boxed) {
        if connection.is_shared() || connection.is_closed() {
            return;
        }
        self.idle.put(connection);
        if self.waiting.load(Relaxed) > 0 {
            self.freed.notify_one();
        }
    }
}
