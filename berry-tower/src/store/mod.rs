//! Counters that several requests, and several processes, share.
//!
//! A [`Store`] has two calls. [`take`](Store::take) takes units of several counters, all or nothing;
//! [`settle`](Store::settle) replaces what was taken by what was used. [`Memory`] keeps the counters
//! in the process, and is the default. `Redis` (feature `redis`) shares them between processes.
//!
//! ```
//! use berry_tower::store::{Charge, Memory, Rule, Store, TakeError};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let store = Memory::new();
//! let minute = Rule::Rolling { period: Duration::from_secs(60), limit: 100 };
//! let charge = |units| [Charge::new("alice:tokens", minute, units)];
//!
//! let receipt = store.take("alice", &charge(80)).await.unwrap();
//! assert_eq!(receipt.usages()[0].remaining(), 20);
//! let refused = store.take("alice", &charge(30)).await.unwrap_err();
//! assert!(matches!(refused, TakeError::Exceeded { index: 0, .. }));
//!
//! store.settle(receipt, vec![10]).await;
//! assert!(store.take("alice", &charge(90)).await.is_ok());
//! # }
//! ```

#[cfg(any(test, feature = "redis"))]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "the model under test uses a part of it"))]
mod lease;
mod memory;
#[cfg(test)]
mod model;
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only a shared store grants more than is needed"))]
pub(crate) mod protocol;
#[cfg(feature = "redis")]
pub mod redis;
mod rule;

use std::{any::Any, error::Error, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

#[cfg(feature = "spend")]
pub(crate) use self::rule::civil;
pub use self::{
    memory::Memory,
    rule::{Calendar, Rule},
};

/// The future of a [`Store`].
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Units to take of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    key: Arc<str>,
    rule: Rule,
    amount: u64,
}

impl Charge {
    /// Creates a charge of `amount` units on the counter `key`. An amount of 0 takes nothing and
    /// reads how much is left.
    pub fn new(key: impl Into<Arc<str>>, rule: Rule, amount: u64) -> Self {
        Self { key: key.into(), rule, amount }
    }

    /// Returns the counter's key, unique within the store.
    #[must_use]
    pub const fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// Returns what the counter allows.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        self.rule
    }

    /// Returns the number of units.
    #[must_use]
    pub const fn amount(&self) -> u64 {
        self.amount
    }
}

/// How much of a counter is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterUsage {
    limit: u64,
    remaining: u64,
    reset: Duration,
}

impl CounterUsage {
    /// Creates a report: the limit, the units that are left, and the time until all are.
    #[must_use]
    pub const fn new(limit: u64, remaining: u64, reset: Duration) -> Self {
        Self { limit, remaining, reset }
    }

    /// Returns the limit.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the units that are left.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Returns the time until the whole limit is there again.
    #[must_use]
    pub const fn reset(&self) -> Duration {
        self.reset
    }
}

/// The proof that units were taken, with which they are settled.
///
/// If it is dropped instead, all of them count as used. Units of [`Rule::Concurrent`] then stay taken until
/// the store frees them.
pub struct Receipt {
    usages: Vec<CounterUsage>,
    state: Box<dyn Any + Send + Sync>,
}

impl Receipt {
    /// Creates a receipt: how much is left of each counter, and what the store needs to settle.
    pub fn new(usages: Vec<CounterUsage>, state: impl Any + Send + Sync) -> Self {
        Self { usages, state: Box::new(state) }
    }

    /// Returns how much is left of each counter, in the order of the charges.
    #[must_use]
    pub fn usages(&self) -> &[CounterUsage] {
        &self.usages
    }

    /// Returns what the store needs to settle, if it is of this type.
    #[must_use]
    pub fn into_state<T: 'static>(self) -> Option<T> {
        self.state.downcast().ok().map(|state| *state)
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("usages", &self.usages).finish_non_exhaustive()
    }
}

/// Returned when no units were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TakeError {
    /// A counter has too few units.
    Exceeded {
        /// The index of the charge.
        index: usize,
        /// The time until the units would be there.
        retry_after: Duration,
        /// How much is left.
        usage: CounterUsage,
    },
    /// The store cannot be asked, and nothing is allowed without it.
    Unavailable,
}

impl fmt::Display for TakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exceeded { .. } => "a limit is reached",
            Self::Unavailable => "the store of the limits is not available",
        })
    }
}

impl Error for TakeError {}

/// A message to the other processes that share a store: a topic, which is one word, and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    topic: Arc<str>,
    text: Arc<str>,
}

impl Notice {
    /// Creates a message. Spaces in the topic become underscores.
    pub fn new(topic: &str, text: impl Into<Arc<str>>) -> Self {
        Self { topic: topic.replace(' ', "_").into(), text: text.into() }
    }

    /// Returns the topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Returns the text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A function that is called with the messages of other processes.
pub type NoticeListener = Box<dyn Fn(&Notice) + Send + Sync>;

/// Keeps counters. It is used as an `Arc<dyn Store>`.
pub trait Store: fmt::Debug + Send + Sync {
    /// Takes the units of all charges, or of none. The counters of one `group` are changed in one
    /// step; a counter must always be used with the same group. No key occurs twice.
    ///
    /// # Errors
    /// A counter has too few units, or the store cannot be asked.
    fn take<'a>(&'a self, group: &'a str, charges: &'a [Charge]) -> StoreFuture<'a, Result<Receipt, TakeError>>;

    /// Replaces the units that were taken by those that were used, in the order of the charges. More
    /// than was taken counts, too, though it exceeds a limit. Units of [`Rule::Concurrent`] are given
    /// back by 0.
    fn settle(&self, receipt: Receipt, used: Vec<u64>) -> StoreFuture<'static, ()>;

    /// Sends a message to the other processes, without waiting. It arrives soon and once, or not at
    /// all. The default does nothing: a store of one process has no others.
    fn announce(&self, notice: Notice) {
        drop(notice);
    }

    /// Calls `listener` with what other processes announce from now on. It must neither block nor take
    /// long. The default does nothing.
    fn on_notice(&self, listener: NoticeListener) {
        drop(listener);
    }

    /// Returns the state of the store, for health checks. The default is that of a store that is
    /// always there.
    fn health(&self) -> StoreHealth {
        StoreHealth::default()
    }

    /// Gives back what this process holds beyond its requests, before it ends. The default does
    /// nothing.
    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The state of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreHealth {
    /// Whether the counters that processes share can be reached.
    pub is_available: bool,
    /// The number of outages since the start.
    pub outages: u64,
    /// The number of calls since the start that failed or had no answer in time. One that is late now and then begins
    /// no outage.
    pub errors: u64,
    /// The number of processes that shared the counters lately, this one included.
    pub replicas: u64,
}

impl Default for StoreHealth {
    fn default() -> Self {
        Self { is_available: true, outages: 0, errors: 0, replicas: 1 }
    }
}
