//! A running provider, and the handle that steers and watches it.

use super::config::Config;
use super::connection::{Command, listen};
use super::fault::Behavior;
use super::record::{Counts, Seen};
use super::script::Script;
use super::shared::Shared;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// A provider that runs until this is dropped: then its port closes and its connections end.
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
    /// When the port cannot be had.
    pub async fn start(config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await?;
        let addr = listener.local_addr()?;
        let (key, seed) = (config.key.clone(), config.seed);
        let shared = Arc::new(Shared::new(config));
        let (commands, orders) = mpsc::channel(1);
        tokio::spawn(listen(listener, addr, Arc::clone(&shared), orders));
        Ok(Self { addr, shared, commands, key, seed })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL: what clients of such a provider are configured with. It ends with the version,
    /// save for Azure's, where the version is a parameter of each call.
    pub fn base_url(&self) -> String {
        format!("http://{}{}", self.addr, self.shared.wire.base())
    }

    /// The key that requests must bring.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// From now on, behaves like this (for as long as its `times` say).
    pub fn set(&self, behavior: impl Into<Behavior>) {
        self.script([behavior.into()]);
    }

    /// From now on, behaves like each of these in turn, as long as its `times` say; then as if
    /// there were no script. Requests that have begun go on as they are.
    pub fn script(&self, behaviors: impl IntoIterator<Item = Behavior>) {
        let script = Script::new(behaviors, self.seed);
        self.shared.script.store(Arc::new(script));
    }

    /// Ends the script.
    pub fn heal(&self) {
        self.script([]);
    }

    /// Closes the port, so that connections are refused, and resets the open ones. The port
    /// stays bound, so that no server that asks for a free one gets it. Returns when it has
    /// happened.
    ///
    /// # Errors
    ///
    /// When the port could not be kept; it is closed all the same.
    pub async fn down(&self) -> io::Result<()> {
        let held = self.order(false).await;
        self.wait_until(|counts| counts.open_connections == 0).await;
        held
    }

    /// Listens again.
    ///
    /// # Errors
    ///
    /// When the port cannot be had.
    pub async fn up(&self) -> io::Result<()> {
        self.order(true).await
    }

    async fn order(&self, up: bool) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        let gone = || io::Error::other("the simulated provider's runtime has ended");
        self.commands.send((up, done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The numbers of requests and connections.
    pub fn counts(&self) -> Counts {
        self.shared.record.counts()
    }

    /// The requests that are kept, oldest first; those that are being answered have no end yet.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.record.seen()
    }

    /// The requests for an answer (`POST`) that are kept, oldest first.
    pub fn calls(&self) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|request| request.method == http::Method::POST);
        seen
    }

    /// Forgets the requests that are kept. The numbers go on.
    pub fn clear(&self) {
        self.shared.record.clear();
    }

    /// Waits until so many requests for an answer have arrived since the start.
    pub async fn wait_for(&self, calls: u64) {
        self.wait_until(|counts| counts.calls >= calls).await;
    }

    /// Waits until no request is being answered.
    pub async fn wait_idle(&self) {
        self.wait_until(|counts| counts.in_flight == 0).await;
    }

    /// Waits until the numbers are as `is` wants them. It wakes at each change, without polling,
    /// and sets no limit of its own: put `tokio::time::timeout` around it.
    pub async fn wait_until(&self, is: impl FnMut(&Counts) -> bool) {
        self.shared.record.wait_until(is).await;
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("addr", &self.addr).field("counts", &self.counts()).finish_non_exhaustive()
    }
}
