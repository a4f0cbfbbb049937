//! Measures how long a request waits for others; the rest is the gateway's own time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// The time that a request spends waiting: for the client's body, between attempts, and for the
/// backends of all attempts until the first output of the response.
///
/// Put one into the request's extensions, keep a clone, and read it when the head of the response is
/// there. The layers that wait add to it.
///
/// ```
/// use berry_tower::upstream_time::UpstreamTime;
/// use std::time::Duration;
/// use tokio::time::advance;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let time = UpstreamTime::default();
/// assert_eq!(time.total(), None, "no upstream was asked");
/// let waiting = time.wait();
/// advance(Duration::from_secs(2)).await;
/// assert_eq!(time.total(), Some(Duration::from_secs(2)));
/// drop(waiting);
/// advance(Duration::from_secs(3)).await;
/// assert_eq!(time.total(), Some(Duration::from_secs(2)));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct UpstreamTime(Arc<Sum>);

#[derive(Debug)]
struct Sum {
    epoch: Instant,
    /// The sum of the waits that are over, in nanoseconds.
    waited: AtomicU64,
    /// The start of the present wait, in nanoseconds from the epoch plus one; 0 if there is none.
    since: AtomicU64,
    asked: std::sync::atomic::AtomicBool,
}

impl Default for UpstreamTime {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl UpstreamTime {
    /// Creates one for a request that arrived at `came`, which saves reading the clock.
    #[must_use]
    pub fn since(came: Instant) -> Self {
        let (waited, since, asked) = (AtomicU64::new(0), AtomicU64::new(0), false.into());
        Self(Arc::new(Sum { epoch: came, waited, since, asked }))
    }

    /// Begins a wait for a backend, which ends when the guard is dropped. The waits of one request must
    /// not overlap.
    pub fn wait(&self) -> Waiting {
        self.0.asked.store(true, Relaxed);
        self.pause()
    }

    /// Begins a wait for something else that is not the gateway's own work. It does not count as a call
    /// of a backend.
    pub fn pause(&self) -> Waiting {
        self.0.since.store(self.0.now() + 1, Relaxed);
        Waiting(self.clone())
    }

    /// Returns the sum of all waits, the present one included; `None` if no backend was called.
    #[must_use]
    pub fn total(&self) -> Option<Duration> {
        let Sum { waited, since, asked, .. } = &*self.0;
        let going_on = since.load(Relaxed).checked_sub(1).map_or(0, |since| self.0.now().saturating_sub(since));
        asked.load(Relaxed).then(|| Duration::from_nanos(waited.load(Relaxed).saturating_add(going_on)))
    }
}

impl Sum {
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

/// A guard that ends a wait when it is dropped.
#[derive(Debug)]
#[must_use = "the wait is over when it is dropped"]
pub struct Waiting(UpstreamTime);

impl Drop for Waiting {
    fn drop(&mut self) {
        let sum = &*self.0.0;
        if let Some(since) = sum.since.swap(0, Relaxed).checked_sub(1) {
            sum.waited.fetch_add(sum.now().saturating_sub(since), Relaxed);
        }
    }
}
