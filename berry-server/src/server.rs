//! A running gateway: start, reload and graceful shutdown.

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

/// The time for open streams to send their error event after the grace period.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the telemetry that is left may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a start waits for the keys of the database.
#[cfg(feature = "database")]
const FIRST_READ: Duration = Duration::from_secs(10);

/// The options of a server that are not part of its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address to listen on.
    pub bind: String,
    /// The maximum number of open connections.
    pub max_connections: usize,
    /// Whether a change of the configuration file causes a reload.
    pub watch: bool,
}

impl Options {
    /// Returns options for any free port of the loopback interface.
    #[must_use]
    pub fn loopback() -> Self {
        Self { bind: "127.0.0.1:0".to_owned(), ..Self::default() }
    }

    /// Lowers the limit of connections so that client connections and as many provider connections fit into the limit
    /// of open files. Returns whether it was lowered.
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

/// A gateway that runs in this process.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    app: App,
    closing: channel::Sender<bool>,
    task: JoinHandle<()>,
    _watch: Option<Watch>,
}

impl Server {
    /// Binds the address and starts serving. A configuration from a file is reloaded when the file changes.
    ///
    /// # Errors
    /// Returns an error when the address cannot be bound or the configuration cannot be built.
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
        #[cfg(feature = "database")]
        if let Some(directory) = &app.process().directory
            && timeout(FIRST_READ, directory.refresh()).await.map_or(true, |read| read.is_err())
        {
            tracing::warn!("the keys of the database could not be read; requests with such keys get a 503 until then");
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

    /// Returns the address that the server listens on.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the current models with the state of their backends.
    #[must_use]
    pub fn catalog(&self) -> berry_tower::backend::Catalog {
        self.app.snapshot().catalog.clone()
    }

    /// Replaces the configuration atomically. Requests in flight finish on the previous one. Backends that remain keep
    /// their state, and users keep the usage of limits that did not change.
    ///
    /// # Errors
    /// Returns an error when the configuration cannot be built. The previous one then stays in use.
    pub async fn reload(&self, loaded: Loaded) -> Result<Changes, Errors> {
        Ok(self.app.reloader().reload(loaded).await?.changes)
    }

    /// Reads the configuration file again and applies it. `cause` appears in the log.
    ///
    /// # Errors
    /// Returns every error of the file, or that the configuration has no file. The previous configuration then stays in
    /// use. The errors are also logged.
    pub async fn reload_file(&self, cause: &'static str) -> Result<Changes, Errors> {
        Ok(self.app.reloader().reload_file(cause).await?.changes)
    }

    /// Shuts down gracefully: reports not ready, closes the listener, lets requests in flight finish within the grace
    /// period, and ends the remaining streams with an error event.
    pub async fn shutdown(self) {
        self.app.process().drain();
        let settings = self.app.snapshot().config.settings.clone();
        sleep(Duration::from_secs(settings.shutdown_delay_seconds)).await;
        self.closing.send_replace(true);
        let mut task = self.task;
        if timeout(Duration::from_secs(settings.shutdown_grace_seconds), &mut task).await.is_err() {
            tracing::warn!("the grace period is over; open streams end with an error event");
            self.app.process().stop_streams();
            if timeout(STOP_TIMEOUT, &mut task).await.is_err() {
                task.abort();
            }
        }
        #[cfg(feature = "database")]
        if let Some(ledger) = &self.app.process().ledger {
            ledger.flush().await;
        }
        // The other replicas can use what this one holds of the limits.
        let store = self.app.snapshot().store.clone();
        if timeout(STOP_TIMEOUT, store.close()).await.is_err() {
            tracing::warn!("the store of the limits did not take back what this replica holds");
        }
        // A collector that does not answer delays the end no longer than this.
        let _ = timeout(FLUSH_TIMEOUT, self.app.flush_telemetry()).await;
    }
}
