//! A running provider, and the handle that controls and observes it.

use super::config::Config;
use super::connection::{Command, is_shared, listen, listener};
use super::fault::Behavior;
use super::record::{Counts, RecordedRequest};
use super::script::Script;
use super::shared::Shared;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A running provider. When it is dropped, its port and its connections are closed.
pub struct Provider {
    addr: SocketAddr,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    key: String,
    seed: u64,
}

impl Provider {
    /// Starts a provider on the current runtime.
    ///
    /// # Errors
    ///
    /// Fails when the port cannot be bound.
    pub async fn start(config: Config) -> io::Result<Self> {
        let (listener, is_shared) = (listener(config.port)?, is_shared(config.port));
        let addr = listener.local_addr()?;
        let (key, seed) = (config.key.clone(), config.seed);
        let shared = Arc::new(Shared::new(config));
        let (commands, orders) = mpsc::channel(1);
        tokio::spawn(listen(listener, addr, is_shared, Arc::clone(&shared), orders));
        Ok(Self { addr, shared, commands, key, seed })
    }

    /// Returns the address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the base URL for clients. It ends with the version, except for Azure's, where the version is a parameter of
    /// each call.
    pub fn base_url(&self) -> String {
        format!("http://{}{}", self.addr, self.shared.wire.base())
    }

    /// Returns the key that requests must bring.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Sets the behaviour from now on, for as many requests as its `times` say.
    pub fn set(&self, behavior: impl Into<Behavior>) {
        self.script([behavior.into()]);
    }

    /// Sets a sequence of behaviours, each for as many requests as its `times` say. After them the provider behaves as
    /// without a script. Requests in progress are unaffected.
    pub fn script(&self, behaviors: impl IntoIterator<Item = Behavior>) {
        let script = Script::new(behaviors, self.seed);
        self.shared.script.store(Arc::new(script));
    }

    /// Ends the script.
    pub fn heal(&self) {
        self.script([]);
    }

    /// Stops listening, so that connections are refused, and resets the open ones. The port stays bound, so that no other
    /// server gets it. Returns when that has happened.
    ///
    /// # Errors
    ///
    /// Fails when the port could not stay bound; it is closed nevertheless.
    pub async fn down(&self) -> io::Result<()> {
        let held = self.order(false).await;
        self.wait_until(|counts| counts.open_connections == 0).await;
        held
    }

    /// Listens again.
    ///
    /// # Errors
    ///
    /// Fails when the port cannot be bound.
    pub async fn up(&self) -> io::Result<()> {
        self.order(true).await
    }

    async fn order(&self, up: bool) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        let gone = || io::Error::other("the runtime of the simulated provider has ended");
        self.commands.send((up, done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Returns the numbers of requests and connections.
    pub fn counts(&self) -> Counts {
        self.shared.record.counts()
    }

    /// Returns the recorded requests, the oldest first. Those in progress have no end yet.
    pub fn seen(&self) -> Vec<RecordedRequest> {
        self.shared.record.seen()
    }

    /// Returns the recorded model requests (`POST`), the oldest first.
    pub fn calls(&self) -> Vec<RecordedRequest> {
        let mut seen = self.seen();
        seen.retain(|request| request.method == http::Method::POST);
        seen
    }

    /// Clears the recorded requests, but not the numbers.
    pub fn clear(&self) {
        self.shared.record.clear();
    }

    /// Waits until this number of model requests has arrived since the start.
    pub async fn wait_for(&self, calls: u64) {
        self.wait_until(|counts| counts.calls >= calls).await;
    }

    /// Waits until no request is in progress.
    pub async fn wait_idle(&self) {
        self.wait_until(|counts| counts.in_flight == 0).await;
    }

    /// Waits until `is` returns true for the numbers. It has no timeout of its own; put `tokio::time::timeout` around it.
    pub async fn wait_until(&self, is: impl FnMut(&Counts) -> bool) {
        self.shared.record.wait_until(is).await;
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("addr", &self.addr).field("counts", &self.counts()).finish_non_exhaustive()
    }
}
