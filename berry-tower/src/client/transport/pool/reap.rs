//! Closes connections that have been unused for long, off the path of any request.

use std::{
    sync::{Arc, Weak, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::time::sleep;

use super::{Entry, Pool, Pools};

/// How often the pools are swept.
const EVERY: Duration = Duration::from_secs(15);
/// The sweeps after which an unused connection is closed.
fn turns(idle_timeout: Duration) -> u32 {
    u32::try_from(idle_timeout.as_secs() / EVERY.as_secs()).unwrap_or(u32::MAX).max(1)
}

impl Pool {
    /// Starts the task that sweeps the pools, unless it runs.
    pub(super) fn watch(&self) {
        if let Some(reaper) = self.home.upgrade().and_then(|home| Reaper::new(&home)) {
            tokio::spawn(reaper.run());
        }
    }
}

/// The task that sweeps the pools, while there are any.
struct Reaper(Weak<Pools>);

impl Reaper {
    /// Returns `None` if it runs already.
    fn new(pools: &Arc<Pools>) -> Option<Self> {
        (!pools.is_reaped.swap(true, SeqCst)).then(|| Self(Arc::downgrade(pools)))
    }

    async fn run(self) {
        let mut reaper = self;
        loop {
            sleep(EVERY).await;
            // Held only for the sweep, so that the pools end with the last clone of the transport.
            let Some(pools) = reaper.0.upgrade() else { return };
            if pools.sweep() {
                continue;
            }
            drop(reaper);
            // A pool may have been added before this task was marked as ended.
            match Reaper::new(&pools).filter(|_| !pools.list.load().is_empty()) {
                Some(next) => reaper = next,
                None => return,
            }
        }
    }
}

/// Also runs when the runtime ends.
impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(pools) = self.0.upgrade() {
            pools.is_reaped.store(false, SeqCst);
        }
    }
}

impl Pools {
    /// Closes what is old, and removes unused pools. Returns whether any is left.
    fn sweep(&self) -> bool {
        for entry in self.list.load().iter() {
            entry.pool.idle.sweep(turns(entry.pool.config.idle_timeout));
        }
        let is_used = |entry: &&Entry| Arc::strong_count(&entry.pool) > 1 || !entry.pool.idle.is_empty();
        self.list.rcu(|list| list.iter().filter(is_used).cloned().collect::<Vec<_>>());
        !self.list.load().is_empty()
    }
}
