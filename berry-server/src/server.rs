//! A running gateway: its start, its drain, its stop.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::TcpListener,
    sync::watch as channel,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    app::App,
    config::{Errors, Loaded},
    http::{listener, routes},
    reload::{Changes, Watch, watch},
};

/// How long streams that had to be stopped may take to tell their clients.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a server is run, beside its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address to listen on.
    pub bind: String,
    /// The most connections open at once.
    pub max_connections: usize,
    /// Whether a change of the configuration's file is a reload.
    pub watch: bool,
}

impl Options {
    /// Any free port of the loopback interface.
    #[must_use]
    pub fn loopback() -> Self {
        Self { bind: "127.0.0.1:0".to_owned(), ..Self::default() }
    }

    /// Lowers the limit of connections so that they, and as many connections to providers, fit into a limit of open
    /// files. Returns whether it was lowered.
    pub fn fit_to_file_limit(&mut self, files: u64) -> bool {
        let before = self.max_connections;
        self.max_connections = listener::fit_connections(before, files);
        self.max_connections < before
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { bind: "0.0.0.0:3000".to_owned(), max_connections: 10_000, watch: true }
    }
}

/// A gateway that is running in this process.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    app: App,
    closing: channel::Sender<bool>,
    task: JoinHandle<()>,
    _watch: Option<Watch>,
}

impl Server {
    /// Binds the address and serves from now on. A configuration that came from a file is reloaded
    /// when the file changes.
    ///
    /// # Errors
    /// The address cannot be bound, or the configuration cannot be built.
    pub async fn start(loaded: Loaded, options: Options) -> io::Result<Self> {
        let source = loaded.source.clone();
        let listener = TcpListener::bind(&options.bind)
            .await
            .map_err(|e| io::Error::new(e.kind(), format!("{} cannot be bound: {e}", options.bind)))?;
        let addr = listener.local_addr()?;
        let is_chosen = loaded.config.settings.public_status.is_some();
        let app = App::new(loaded, addr.ip().is_loopback()).map_err(io::Error::other)?;
        if !is_chosen && !app.snapshot().public_status {
            tracing::info!(
                %addr,
                "status pages need an admin's token, since the address is not loopback; \
                 set settings.public_status = true to open them"
            );
        }
        let (closing, closed) = channel::channel(false);
        let serve = {
            let app = app.clone();
            move |request| app.serve(request)
        };
        let task = listener::serve(
            listener,
            serve,
            routes::overloaded,
            options.max_connections,
            app.process().queued.clone(),
            closed,
        );
        let task = tokio::spawn(task);
        let _watch =
            source.filter(|_| options.watch).map(|file| watch(app.reloader().clone(), app.process().clone(), file));
        Ok(Self { addr, app, closing, task, _watch })
    }

    /// The address that it listens on.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The models in force, and the state of their backends.
    #[must_use]
    pub fn catalog(&self) -> berry_tower::backend::Catalog {
        self.app.snapshot().catalog.clone()
    }

    /// Goes over to another configuration in one step. Requests under way finish on the old one;
    /// backends that are still there keep their state, and users what they have spent of limits
    /// that did not change.
    ///
    /// # Errors
    /// It cannot be built; then the old one stays in force.
    pub async fn reload(&self, loaded: Loaded) -> Result<Changes, Errors> {
        Ok(self.app.reloader().reload(loaded).await?.changes)
    }

    /// Reads the configuration's file again and goes over to what it says now. `cause` is for the
    /// log.
    ///
    /// # Errors
    /// All that is wrong with the file, or that there is none; then the old configuration stays in
    /// force. It has been logged.
    pub async fn reload_file(&self, cause: &'static str) -> Result<Changes, Errors> {
        Ok(self.app.reloader().reload_file(cause).await?.changes)
    }

    /// Drains and stops: says that it is not ready, closes the listener, lets requests under way
    /// finish within the grace period, and then tells the streams that are left.
    pub async fn shutdown(self) {
        self.app.process().drain();
        let settings = self.app.snapshot().config.settings.clone();
        sleep(Duration::from_secs(settings.shutdown_delay_seconds)).await;
        self.closing.send_replace(true);
        let mut task = self.task;
        if timeout(Duration::from_secs(settings.shutdown_grace_seconds), &mut task).await.is_ok() {
            return;
        }
        tracing::warn!("the grace period is over; open streams are told and ended");
        self.app.process().stop_streams();
        if timeout(LAST_WORDS, &mut task).await.is_err() {
            task.abort();
        }
    }
}
