//! How long a request has waited for others, so that what is left is the gateway's own time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// The time that a request spends waiting for upstreams, over all its attempts, until the first
/// output of the answer; and for its caller's body, and between attempts. Whoever wants to know puts
/// one into the request's extensions, keeps a clone, and reads it when the answer's head has come;
/// the layers that wait fill it in.
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
    /// In nanoseconds, of the waits that are over.
    waited: AtomicU64,
    /// Since when the wait goes on that is not over, in nanoseconds from the epoch, plus one; 0: none.
    since: AtomicU64,
    asked: std::sync::atomic::AtomicBool,
}

impl Default for UpstreamTime {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl UpstreamTime {
    /// For a request that came at this moment, for those who have read the clock already.
    #[must_use]
    pub fn since(came: Instant) -> Self {
        let (waited, since, asked) = (AtomicU64::new(0), AtomicU64::new(0), false.into());
        Self(Arc::new(Sum { epoch: came, waited, since, asked }))
    }

    /// Begins to wait for an upstream; the wait is over when what this gives is dropped. Waits of one
    /// request come one after the other.
    pub fn wait(&self) -> Waiting {
        self.0.asked.store(true, Relaxed);
        self.pause()
    }

    /// Begins to wait for something else that is no work of the gateway's. That alone asks no
    /// upstream.
    pub fn pause(&self) -> Waiting {
        self.0.since.store(self.0.now() + 1, Relaxed);
        Waiting(self.clone())
    }

    /// All waits so far, one that goes on included; `None` where no upstream was asked.
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

/// A wait, over when it is dropped.
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
