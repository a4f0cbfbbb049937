//! What ends connections that are free for long, off the path of any request.

use std::{
    sync::{Arc, Weak, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::time::sleep;

use super::{Entry, Pool, Pools};

/// How often the pools are looked through.
const EVERY: Duration = Duration::from_secs(15);
/// How often a connection may be found free: it is ended in the last 15 of 90 seconds.
const TURNS: u32 = 6;

impl Pool {
    /// Sees to it that somebody looks through the pools from now on.
    pub(super) fn watch(&self) {
        if let Some(reaper) = self.home.upgrade().and_then(|home| Reaper::new(&home)) {
            tokio::spawn(reaper.run());
        }
    }
}

/// The one that looks through the pools, while there are any.
struct Reaper(Weak<Pools>);

impl Reaper {
    /// Nothing if there is one already.
    fn new(pools: &Arc<Pools>) -> Option<Self> {
        (!pools.is_reaped.swap(true, SeqCst)).then(|| Self(Arc::downgrade(pools)))
    }

    async fn run(self) {
        let mut reaper = self;
        loop {
            sleep(EVERY).await;
            // Held only for the look, so that the pools end with the last who uses them.
            let Some(pools) = reaper.0.upgrade() else { return };
            if pools.sweep() {
                continue;
            }
            drop(reaper);
            // A pool may have come while there was still a reaper about.
            match Reaper::new(&pools).filter(|_| !pools.list.load().is_empty()) {
                Some(next) => reaper = next,
                None => return,
            }
        }
    }
}

/// When its runtime ends too.
impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(pools) = self.0.upgrade() {
            pools.is_reaped.store(false, SeqCst);
        }
    }
}

impl Pools {
    /// Ends what is old, and forgets the pools that nobody uses. Whether any is left.
    fn sweep(&self) -> bool {
        for entry in self.list.load().iter() {
            entry.pool.idle.turn(TURNS);
        }
        let is_used = |entry: &&Entry| Arc::strong_count(&entry.pool) > 1 || !entry.pool.idle.is_empty();
        self.list.rcu(|list| list.iter().filter(is_used).cloned().collect::<Vec<_>>());
        !self.list.load().is_empty()
    }
}
