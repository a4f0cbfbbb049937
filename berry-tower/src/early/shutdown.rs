//! A signal that ends open streams.

use tokio::sync::watch;

/// The sending side of a shutdown: [`start`](Self::start) ends the open streams of every layer that
/// has a [`signal`](Self::signal) of it.
///
/// ```
/// use berry_tower::early::{EarlyLayer, Shutdown};
///
/// let shutdown = Shutdown::new();
/// let layer = EarlyLayer::new(None).stop_on(shutdown.signal());
/// shutdown.start();
/// # let _ = layer;
/// ```
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Sender<bool>);

/// The receiving side of a [`Shutdown`]. If all of its senders are dropped, it never fires.
#[derive(Clone, Debug)]
pub struct ShutdownSignal(watch::Receiver<bool>);

impl Shutdown {
    /// Creates a shutdown that has not started.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Returns a signal for a layer.
    #[must_use]
    pub fn signal(&self) -> ShutdownSignal {
        ShutdownSignal(self.0.subscribe())
    }

    /// Ends the streams that are open, and those that are opened from now on.
    pub fn start(&self) {
        self.0.send_replace(true);
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl ShutdownSignal {
    /// Waits until the shutdown has started.
    pub(super) async fn started(mut self) {
        if self.0.wait_for(|started| *started).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
