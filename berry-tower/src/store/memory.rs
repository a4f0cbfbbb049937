//! Counters of this process.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::SystemTime,
};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::{
    Charge, Receipt, Store, StoreFuture, TakeError,
    protocol::{Effect, Event, Group, Used, Want, step},
};

/// The number of groups from which on unused ones are looked for.
const SWEEP_FROM: usize = 1_024;

/// A [`Store`] in this process, which never waits. Clones share their counters.
///
/// Counters that are as good as new are forgotten.
#[derive(Clone)]
pub struct Memory(Arc<Counters>);

struct Counters {
    groups: DashMap<Arc<str>, Group, RandomState>,
    /// The number of groups at which the next sweep is due.
    sweep_at: AtomicUsize,
    clock: Clock,
}

/// The time since 1970, which goes on by tokio's clock, so that tests can pause it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
    /// Microseconds since 1970 at the start.
    epoch: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch: u64::try_from(epoch.as_micros()).unwrap_or_default() }
    }

    pub(super) fn now(&self) -> u64 {
        self.epoch.saturating_add(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

impl Memory {
    /// Creates a store without any counter.
    #[must_use]
    pub fn new() -> Self {
        let (groups, sweep_at) = (DashMap::default(), AtomicUsize::new(SWEEP_FROM));
        Self(Arc::new(Counters { groups, sweep_at, clock: Clock::new() }))
    }

    /// Takes units at once.
    pub(super) fn try_take(&self, group: &str, charges: &[Charge]) -> Result<Receipt, TakeError> {
        let counters = &*self.0;
        let want = |charge: &Charge| Want {
            key: charge.key.clone(),
            rule: charge.rule,
            need: charge.amount,
            wish: charge.amount,
        };
        let wants: Vec<Want> = charges.iter().map(want).collect();
        let now = counters.clock.now();
        let known = counters.groups.get_mut(group);
        let effect = match known {
            Some(mut group) => step(&mut group, Event::Take(&wants), now),
            None => {
                self.sweep(now);
                step(&mut counters.groups.entry(group.into()).or_default(), Event::Take(&wants), now)
            }
        };
        match effect {
            Effect::Granted(grants) => {
                let used = |(want, grant): (Want, &super::protocol::Grant)| Used {
                    key: want.key,
                    rule: want.rule,
                    position: grant.position,
                    taken: grant.units,
                    used: grant.units,
                };
                let taken = wants.into_iter().zip(&grants).map(used).collect();
                let usages = grants.iter().map(|grant| grant.usage).collect();
                Ok(Receipt::new(usages, Taken { group: group.into(), taken }))
            }
            Effect::Refused { index, retry_after, usage } => Err(TakeError::Exceeded { index, retry_after, usage }),
            Effect::Settled => Err(TakeError::Unavailable),
        }
    }

    /// Settles units at once. A receipt of another store changes nothing.
    pub(super) fn settle_now(&self, receipt: Receipt, used: &[u64]) {
        let Some(Taken { group, mut taken }) = receipt.into_state() else { return };
        for (taken, used) in taken.iter_mut().zip(used) {
            taken.used = *used;
        }
        let now = self.0.clock.now();
        step(&mut self.0.groups.entry(group).or_default(), Event::Settle(&taken), now);
    }

    /// Forgets all counters.
    #[cfg(feature = "redis")]
    pub(super) fn clear(&self) {
        self.0.groups.clear();
    }

    /// Forgets groups whose counters are as good as new, when there are twice as many as after the
    /// last sweep.
    fn sweep(&self, now: u64) {
        let Counters { groups, sweep_at, .. } = &*self.0;
        let due = sweep_at.load(Relaxed);
        if groups.len() < due || sweep_at.compare_exchange(due, usize::MAX, Relaxed, Relaxed).is_err() {
            return;
        }
        groups.retain(|_, group| !group.is_idle(now));
        sweep_at.store((groups.len() * 2).max(SWEEP_FROM), Relaxed);
    }
}

/// What was taken of a group.
struct Taken {
    group: Arc<str>,
    taken: Vec<Used>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("groups", &self.0.groups.len()).finish_non_exhaustive()
    }
}

impl Store for Memory {
    fn take<'a>(&'a self, group: &'a str, charges: &'a [Charge]) -> StoreFuture<'a, Result<Receipt, TakeError>> {
        Box::pin(std::future::ready(self.try_take(group, charges)))
    }

    fn settle(&self, receipt: Receipt, used: Vec<u64>) -> StoreFuture<'static, ()> {
        self.settle_now(receipt, &used);
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;
    use crate::store::{Calendar, Rule};

    fn minute(limit: u64) -> Rule {
        Rule::Rolling { period: Duration::from_secs(60), limit }
    }

    fn charge(key: &str, rule: Rule, amount: u64) -> Charge {
        Charge::new(key, rule, amount)
    }

    #[tokio::test(start_paused = true)]
    async fn refill_is_even_and_says_when() {
        let store = Memory::new();
        let take = |amount| store.try_take("g", &[charge("a", minute(60), amount)]);
        assert!(take(60).is_ok());
        let Err(TakeError::Exceeded { retry_after, .. }) = take(10) else { panic!("nothing is left") };
        assert_eq!(retry_after, Duration::from_secs(10));
        advance(retry_after - Duration::from_millis(1)).await;
        assert!(take(10).is_err());
        advance(Duration::from_millis(1)).await;
        assert!(take(10).is_ok() && take(1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_takes_nothing_of_any_counter() {
        let store = Memory::new();
        let both = [charge("a", minute(10), 4), charge("b", minute(5), 4)];
        assert!(store.try_take("g", &both).is_ok());
        assert!(matches!(store.try_take("g", &both), Err(TakeError::Exceeded { index: 1, .. })));
        let left = store.try_take("g", &[charge("a", minute(10), 0)]).unwrap();
        assert_eq!(left.usages()[0].remaining(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn units_that_have_refilled_are_not_given_back_again() {
        let store = Memory::new();
        let take = |amount| store.try_take("g", &[charge("a", minute(60), amount)]);
        let early = take(30).unwrap();
        advance(Duration::from_secs(30)).await;
        assert!(take(60).is_ok());
        store.settle_now(early, &[0]);
        assert!(take(1).is_err(), "the first 30 have refilled before the others were taken");
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_units_are_free_after_the_end() {
        let store = Memory::new();
        let one = [charge("a", Rule::Concurrent { limit: 1 }, 1)];
        let held = store.try_take("g", &one).unwrap();
        assert!(store.try_take("g", &one).is_err());
        store.settle_now(held, &[0]);
        assert!(store.try_take("g", &one).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn calendar_window_begins_anew() {
        let store = Memory::new();
        let day = [charge("a", Rule::Calendar { window: Calendar::Day, limit: 5 }, 5)];
        let late = store.try_take("g", &day).unwrap();
        let Err(TakeError::Exceeded { retry_after, .. }) = store.try_take("g", &day) else { panic!("nothing is left") };
        advance(retry_after).await;
        assert!(store.try_take("g", &day).is_ok());
        store.settle_now(late, &[0]);
        assert!(store.try_take("g", &day).is_err(), "another day's units are not given back");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_counters_are_forgotten() {
        let store = Memory::new();
        for i in 0..SWEEP_FROM {
            assert!(store.try_take(&format!("g{i}"), &[charge("a", minute(1), 1)]).is_ok());
        }
        advance(Duration::from_secs(61)).await;
        assert!(store.try_take("new", &[charge("a", minute(1), 1)]).is_ok());
        assert_eq!(store.0.groups.len(), 1);
    }
}
