//! Time in tests: bounded waits by the wall clock, and a tokio clock that stands still.

use std::{future::Future, sync::mpsc, thread, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle, time};

/// Everything here is over at once or never. Measured by the wall clock, so that it also holds
/// while the tokio clock stands still.
const LONG: Duration = Duration::from_secs(60);

/// The future's result.
///
/// # Panics
/// It takes more than a minute.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    let (hurry, late) = oneshot::channel();
    let (done, over) = mpsc::channel::<()>();
    thread::spawn(move || {
        if over.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = hurry.send(());
        }
    });
    tokio::select! {
        biased;
        value = future => { drop(done); value }
        Ok(()) = late => panic!("this should have been over long ago"),
    }
}

/// Lets what can happen without time passing happen. Only for tests that say that nothing does:
/// what has to happen is waited for.
pub async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// The tokio clock of this (single-threaded) runtime stands still until it is advanced, while
/// sockets work as ever. A paused clock alone would jump to the next timer whenever the runtime
/// waits for a socket; it does not while a blocking task runs, so one does.
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

    /// Lets the time pass.
    pub async fn advance(&self, by: Duration) {
        time::advance(by).await;
    }

    /// Lets so many seconds pass.
    pub async fn seconds(&self, seconds: u64) {
        self.advance(Duration::from_secs(seconds)).await;
    }
}

impl Default for HeldClock {
    fn default() -> Self {
        Self::new()
    }
}
