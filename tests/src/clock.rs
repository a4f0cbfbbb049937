//! Time in tests: waits bounded by the wall clock, and a tokio clock that a test advances.

use std::{future::Future, sync::mpsc, thread, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle, time};

/// The longest wait. It is measured by the wall clock, so that it also holds while the tokio clock
/// is paused.
const LONG: Duration = Duration::from_secs(60);

/// Returns the result of a future that completes soon.
///
/// # Panics
/// Panics when the future takes more than a minute.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    let (expire, expired) = oneshot::channel();
    let (done, finished) = mpsc::channel::<()>();
    thread::spawn(move || {
        if finished.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = expire.send(());
        }
    });
    tokio::select! {
        biased;
        value = future => { drop(done); value }
        Ok(()) = expired => panic!("the future did not complete within a minute"),
    }
}

/// Yields until every task that is ready has run. Use it only to assert that nothing happens; wait
/// for an expected event instead.
pub async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// Holds the tokio clock of a single-threaded runtime until it is advanced, while sockets keep
/// working. A clock that is only paused jumps to the next timer whenever the runtime waits for a
/// socket. A running blocking task prevents that, so this type keeps one.
#[derive(Debug)]
pub struct HeldClock {
    _release: mpsc::Sender<()>,
    _holder: JoinHandle<()>,
}

impl HeldClock {
    /// Stops the clock.
    #[must_use]
    pub fn new() -> Self {
        time::pause();
        let (release, released) = mpsc::channel::<()>();
        let holder = tokio::task::spawn_blocking(move || {
            let _ = released.recv();
        });
        Self { _release: release, _holder: holder }
    }

    /// Advances the clock.
    pub async fn advance(&self, by: Duration) {
        time::advance(by).await;
    }

    /// Advances the clock by whole seconds.
    pub async fn seconds(&self, seconds: u64) {
        self.advance(Duration::from_secs(seconds)).await;
    }
}

impl Default for HeldClock {
    fn default() -> Self {
        Self::new()
    }
}
