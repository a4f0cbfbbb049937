//! Counters in Redis or Valkey, which several processes share.
//!
//! Every change is one script, by the clock of the store. In [`Mode::Strict`] each request asks it
//! once, and no limit is ever exceeded. In [`Mode::Leased`] a process takes a part of a limit, debited
//! at once, and spends it by itself; no limit is exceeded either, but for up to two seconds each
//! process may hold a part that others could use.
//!
//! While the store is away, what [`OnError`] says is allowed. A breaker keeps requests from waiting
//! for it; it is asked ten times a second, and used again when it answers. Units of
//! [`Rule::Concurrent`] that a process holds are free 30 seconds after it has died.
//!
//! ```no_run
//! use berry_tower::store::redis::{Mode, OnError, Redis, RedisConfig};
//!
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! let config = RedisConfig::from_url("redis://127.0.0.1:6379/0")?
//!     .mode(Mode::Leased { millionths: 50_000 })
//!     .on_error(OnError::Share);
//! let store = Redis::start(config);
//! # Ok(()) }
//! ```

mod config;
mod connection;
mod leased;
mod local;
mod scripts;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval, sleep},
};

pub use self::config::{InvalidAddress, Mode, OnError, RedisConfig};
use self::{connection::Link, scripts::Taken};
use super::{
    Charge, Memory, Receipt, Rule, Store, StoreFuture, StoreHealth, TakeError,
    lease::{Drawn, Lease, Leases, size},
    memory::Clock,
    protocol::{Level, Used, Want},
};

/// The time between two signs of life, and between two looks at a store that is away.
const BEAT: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_millis(100);
/// The beats between two signs that slots are still held.
const HOLD_EVERY: u64 = 8;
/// How long units wait to be given back to a store that is away.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);

/// A [`Store`] in Redis or Valkey. Clones share their state.
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

struct Shared {
    link: Link,
    mode: Mode,
    on_error: OnError,
    prefix: String,
    /// The name of this process.
    process: String,
    next_slot: AtomicU64,
    clock: Clock,
    groups: DashMap<Arc<str>, GroupLeases, RandomState>,
    /// What was left of each counter at the last response of the store.
    left: DashMap<Arc<str>, u64, RandomState>,
    /// The counters while the store is away, and those that have begun there with what was left.
    local: Memory,
    begun: DashMap<Arc<str>, (), RandomState>,
    /// The slots that are held, by the keys of their counters.
    slots: DashMap<Arc<str>, Vec<Arc<str>>, RandomState>,
}

struct GroupLeases {
    leases: Leases,
    /// One request at a time asks for more.
    turn: Arc<Semaphore>,
}

/// What a receipt stands for.
enum Origin {
    /// Units of the store itself or of leases.
    Store { group: Arc<str>, taken: Vec<Used>, leased: Vec<bool>, slot: Arc<str> },
    /// Units of this process, while the store is away.
    Local(Receipt),
}

impl Redis {
    /// Creates the store and the task that keeps it, which ends when the last clone is dropped. The
    /// connection is made in the background.
    ///
    /// # Panics
    /// If it is called outside of a Tokio runtime.
    #[must_use]
    pub fn start(config: RedisConfig) -> Self {
        let RedisConfig { server, mode, on_error, timeout, prefix } = config;
        let random = RandomState::default();
        let unique = std::hash::BuildHasher::hash_one(&random, std::process::id());
        let clock = Clock::new();
        let shared = Arc::new(Shared {
            link: Link::new(server, timeout, on_error),
            mode,
            on_error,
            prefix,
            process: format!("{:x}-{unique:x}", clock.now()),
            next_slot: AtomicU64::new(0),
            clock,
            groups: DashMap::default(),
            left: DashMap::default(),
            local: Memory::new(),
            begun: DashMap::default(),
            slots: DashMap::default(),
        });
        let kept = Arc::downgrade(&shared);
        tokio::spawn(async move {
            let mut ticks = interval(PROBE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let every = BEAT.as_millis() / PROBE.as_millis();
            for tick in 0_u64.. {
                ticks.tick().await;
                let Some(shared) = kept.upgrade() else { break };
                let is_beat = u128::from(tick) % every == 0;
                if is_beat || shared.link.is_away() {
                    shared.beat(is_beat && (u128::from(tick) / every).is_multiple_of(u128::from(HOLD_EVERY))).await;
                }
                shared.end_leases(shared.clock.now());
            }
        });
        Self(shared)
    }
}

impl Shared {
    async fn beat(&self, holds: bool) {
        let was_away = self.link.is_away();
        let alive: Option<u64> = self.link.probe(&scripts::beat(&self.prefix, &self.process)).await;
        let Some(alive) = alive else { return };
        self.link.replicas.store(alive.max(1), Relaxed);
        if was_away {
            // Counts go on from what the store has.
            self.begun.clear();
            self.local.clear();
        }
        if holds || was_away {
            let held: Vec<_> = self.slots.iter().map(|it| (it.key().clone(), it.value().clone())).collect();
            for (key, slots) in held {
                let _: Option<i64> = self.link.ask(&scripts::hold(&key, &self.process, &slots)).await;
            }
        }
    }

    /// Takes the units that leases still held out of them, when they have ended.
    fn ended(&self, now: u64) -> Vec<(Arc<str>, Vec<Used>)> {
        let mut all = Vec::new();
        for mut group in self.groups.iter_mut() {
            let ended = group.leases.end(now);
            if !ended.is_empty() {
                let used = |(key, lease): (Arc<str>, Lease)| Used {
                    rule: lease.rule,
                    position: lease.position,
                    taken: lease.units,
                    used: 0,
                    key,
                };
                all.push((group.key().clone(), ended.into_iter().map(used).collect()));
            }
        }
        all
    }

    fn end_leases(self: &Arc<Self>, now: u64) {
        for (group, taken) in self.ended(now) {
            tokio::spawn(self.clone().give_back(group, taken, "".into()));
        }
        self.groups.retain(|_, group| !group.leases.is_empty() || Arc::strong_count(&group.turn) > 1);
    }

    /// Settles units with the store, once. While it is away, they wait.
    async fn give_back(self: Arc<Self>, group: Arc<str>, settled: Vec<Used>, slot: Arc<str>) {
        let mut waited = Duration::ZERO;
        while self.link.is_away() && waited < SETTLE_WITHIN {
            sleep(PROBE).await;
            waited += PROBE;
        }
        let call = scripts::settle(&self.prefix, &group, &settled, &slot);
        let _: Option<i64> = self.link.ask(&call).await;
    }

    /// Returns the units of a counter that are leased at a time.
    fn lease_size(&self, rule: Rule) -> Option<u64> {
        match (self.mode, rule) {
            (Mode::Strict, _) | (_, Rule::Concurrent { .. }) => None,
            (Mode::Leased { millionths }, rule) => size(rule.limit(), millionths),
        }
    }

    async fn take(&self, group: &str, charges: &[Charge]) -> Result<Receipt, TakeError> {
        let leased: Vec<Option<u64>> = charges.iter().map(|charge| self.lease_size(charge.rule)).collect();
        let result = if leased.iter().any(Option::is_some) {
            self.take_leased(group, charges, &leased).await
        } else {
            self.take_strict(group, charges).await
        };
        result.unwrap_or_else(|| self.take_locally(group, charges))
    }

    /// Asks the store; `None` if it does not answer.
    async fn ask(&self, group: &str, wants: &[Want], slot: &str) -> Option<Taken> {
        let answer: Vec<i64> = self.link.ask(&scripts::take(&self.prefix, group, wants, slot)).await?;
        let taken = scripts::taken(&answer, wants)?;
        match &taken {
            Taken::Granted(_, granted) => {
                for (want, granted) in wants.iter().zip(granted) {
                    self.heard(&want.key, granted.usage.remaining());
                }
            }
            Taken::Refused { index, level } => {
                if let Some(want) = wants.get(*index) {
                    self.heard(&want.key, want.rule.limit().saturating_sub(level.used));
                }
            }
        }
        Some(taken)
    }

    fn heard(&self, key: &Arc<str>, left: u64) {
        match self.left.get_mut(key) {
            Some(mut known) => *known = left,
            None => _ = self.left.insert(key.clone(), left),
        }
    }

    fn slot(&self) -> Arc<str> {
        format!("{}-{:x}", self.process, self.next_slot.fetch_add(1, Relaxed)).into()
    }

    /// Notes the slots of a request, so that they are held until it ends.
    fn hold(&self, group: &str, charges: &[Charge], slot: &Arc<str>) {
        for charge in charges.iter().filter(|it| it.amount > 0 && matches!(it.rule, Rule::Concurrent { .. })) {
            let key = scripts::key(&self.prefix, group, &charge.key);
            self.slots.entry(key.into()).or_default().push(slot.clone());
        }
    }

    fn release(&self, group: &str, taken: &[Used], slot: &Arc<str>) {
        for used in taken.iter().filter(|used| matches!(used.rule, Rule::Concurrent { .. })) {
            let key = scripts::key(&self.prefix, group, &used.key);
            if let Some(mut held) = self.slots.get_mut(&*key) {
                held.retain(|it| it != slot);
            }
            self.slots.remove_if(&*key, |_, held| held.is_empty());
        }
    }

    async fn take_strict(&self, group: &str, charges: &[Charge]) -> Option<Result<Receipt, TakeError>> {
        let want = |charge: &Charge| Want {
            key: charge.key.clone(),
            rule: charge.rule,
            need: charge.amount,
            wish: charge.amount,
        };
        let wants: Vec<Want> = charges.iter().map(want).collect();
        let slot = self.slot();
        Some(match self.ask(group, &wants, &slot).await? {
            Taken::Granted(_, granted) => {
                self.hold(group, charges, &slot);
                let usages = granted.iter().map(|granted| granted.usage).collect();
                let positions = granted.iter().map(|granted| granted.position);
                let taken = charges.iter().zip(positions).map(|(charge, position)| used(charge, position)).collect();
                let leased = vec![false; charges.len()];
                Ok(Receipt::new(usages, Origin::Store { group: group.into(), taken, leased, slot }))
            }
            Taken::Refused { index, level } => Err(refused(charges, index, &level)),
        })
    }

    fn settle(self: Arc<Self>, receipt: Receipt, used: Vec<u64>) -> StoreFuture<'static, ()> {
        let done = || -> StoreFuture<'static, ()> { Box::pin(std::future::ready(())) };
        match receipt.into_state::<Origin>() {
            None => done(),
            Some(Origin::Local(receipt)) => {
                self.local.settle_now(receipt, &used);
                done()
            }
            Some(Origin::Store { group, mut taken, leased, slot }) => {
                for (taken, used) in taken.iter_mut().zip(used) {
                    taken.used = used;
                }
                self.release(&group, &taken, &slot);
                let now = self.clock.now();
                let mut rest = Vec::with_capacity(taken.len());
                for (mut taken, leased) in taken.into_iter().zip(leased) {
                    let back = taken.taken.saturating_sub(taken.used);
                    let drawn = Drawn { units: back, position: taken.position };
                    if leased && back > 0 {
                        let is_back = self
                            .groups
                            .get_mut(&*group)
                            .is_some_and(|mut held| held.leases.put_back(&taken.key, drawn, now));
                        if is_back {
                            taken.taken = taken.used;
                        }
                    }
                    if taken.taken != taken.used {
                        rest.push(taken);
                    }
                }
                if rest.is_empty() { done() } else { Box::pin(self.give_back(group, rest, slot)) }
            }
        }
    }
}

fn used(charge: &Charge, position: u64) -> Used {
    Used { key: charge.key.clone(), rule: charge.rule, position, taken: charge.amount, used: charge.amount }
}

fn refused(charges: &[Charge], index: usize, level: &Level) -> TakeError {
    let Some(charge) = charges.get(index) else { return TakeError::Unavailable };
    let retry_after = level.wait(charge.rule, charge.amount);
    TakeError::Exceeded { index, retry_after, usage: level.usage(charge.rule) }
}

impl Store for Redis {
    fn take<'a>(&'a self, group: &'a str, charges: &'a [Charge]) -> StoreFuture<'a, Result<Receipt, TakeError>> {
        Box::pin(self.0.take(group, charges))
    }

    fn settle(&self, receipt: Receipt, used: Vec<u64>) -> StoreFuture<'static, ()> {
        self.0.clone().settle(receipt, used)
    }

    fn health(&self) -> StoreHealth {
        self.0.link.health()
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        let shared = &self.0;
        Box::pin(async move {
            for (group, taken) in shared.ended(u64::MAX) {
                let call = scripts::settle(&shared.prefix, &group, &taken, "");
                let _: Option<i64> = shared.link.ask(&call).await;
            }
        })
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("mode", &self.0.mode).field("health", &self.health()).finish_non_exhaustive()
    }
}
