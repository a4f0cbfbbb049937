//! The streams of one HTTP/2 connection.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicU64, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use tokio::{sync::Notify, time::Instant};

/// The streams that a connection has before the peer's SETTINGS have come: the request that it was
/// made for. Others wait, rather than be refused.
const BEFORE_SETTINGS: usize = 1;

/// The requests that wait for a connection of a pool.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    count: AtomicUsize,
    freed: Notify,
}

impl Waiters {
    /// Counts a waiter until the guard is dropped.
    pub(super) fn enter(&self) -> Waiting<'_> {
        self.count.fetch_add(1, Relaxed);
        Waiting(self)
    }

    /// The number of waiters.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Notified when a connection or a stream becomes free.
    pub(super) const fn freed(&self) -> &Notify {
        &self.freed
    }

    /// Wakes one waiter, if there is any.
    pub(super) fn notify_one(&self) {
        if self.count.load(Relaxed) > 0 {
            self.freed.notify_one();
        }
    }

    /// Wakes all waiters.
    pub(super) fn notify_all(&self) {
        self.freed.notify_waiters();
    }
}

/// A counted waiter.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Waiters);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
}

/// How many streams a connection carries and may carry.
#[derive(Debug)]
pub(super) struct StreamSlots {
    active: AtomicUsize,
    limit: AtomicUsize,
    /// The number of streams that this side allows itself.
    own_limit: usize,
    made: Instant,
    /// When the last response head came, in milliseconds since the connection was made.
    last_head: AtomicU64,
    /// The peer's SETTINGS have come.
    has_settings: AtomicBool,
    /// No further stream is to be opened.
    retired: AtomicBool,
    /// The connection was made for one request, and opens no other stream until that has its response head.
    held: AtomicBool,
    /// A response head has come.
    has_answered: AtomicBool,
    /// A request has failed with the connection.
    has_failed: AtomicBool,
    waiters: Arc<Waiters>,
}

impl StreamSlots {
    pub(super) fn new(own_limit: usize, waiters: Arc<Waiters>) -> Self {
        Self {
            active: AtomicUsize::new(0),
            limit: AtomicUsize::new(own_limit.min(BEFORE_SETTINGS)),
            own_limit,
            made: Instant::now(),
            last_head: AtomicU64::new(0),
            has_settings: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            held: AtomicBool::new(false),
            has_answered: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            waiters,
        }
    }

    /// Holds the connection for the next stream, until that has its response head or is dropped: what the upstream
    /// does to another stream must not fail a request a second time.
    pub(super) fn hold(&self) {
        self.held.store(true, Release);
    }

    fn release(&self) {
        if self.held.swap(false, AcqRel) {
            self.waiters.notify_all();
        }
    }

    /// Applies the peer's limit.
    pub(super) fn set_peer_limit(&self, limit: u32) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.limit.store(limit.min(self.own_limit), Release);
        self.has_settings.store(true, Release);
        self.waiters.notify_all();
    }

    /// Whether the peer's limit is known.
    pub(super) fn has_settings(&self) -> bool {
        self.has_settings.load(Acquire)
    }

    /// The number of open streams.
    pub(super) fn active(&self) -> usize {
        self.active.load(Acquire)
    }

    /// Whether no further stream may be opened.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// The age of the connection at an instant, in milliseconds.
    fn age(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.made).as_millis()).unwrap_or(u64::MAX)
    }

    /// Opens no further stream.
    pub(super) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    /// Notes that a request has failed with the connection. Returns whether that is known: one had
    /// failed before. While the peer has never answered, each failure is news, since the peer may be
    /// at fault rather than the connection.
    fn fail(&self) -> bool {
        self.has_answered.load(Relaxed) && self.has_failed.swap(true, AcqRel)
    }

    /// Reserves a stream, if one is free.
    pub(super) fn reserve(self: &Arc<Self>) -> Option<StreamSlot> {
        let limit = self.limit.load(Acquire);
        let limit = if self.held.load(Acquire) { limit.min(1) } else { limit };
        let next = |active: usize| (active < limit).then_some(active + 1);
        self.active.fetch_update(AcqRel, Acquire, next).ok()?;
        Some(StreamSlot { slots: self.clone(), unanswered: None, has_found_deaf: false })
    }
}

/// A reserved stream, free again when this is dropped.
#[derive(Debug)]
pub(super) struct StreamSlot {
    slots: Arc<StreamSlots>,
    /// While a response head is due: when half of the wait for it ends, and when all of it ends.
    unanswered: Option<(Instant, Instant)>,
    /// Whether this request is the first that found the connection deaf.
    has_found_deaf: bool,
}

impl StreamSlot {
    /// The request has been sent; its head is due by then.
    pub(super) fn sent(&mut self, head_due: Option<Instant>) {
        self.unanswered = head_due.map(|due| {
            let now = Instant::now();
            (now + due.saturating_duration_since(now) / 2, due)
        });
    }

    /// The response head has come.
    pub(super) fn answered(&mut self) {
        self.unanswered = None;
        self.slots.release();
        self.slots.has_answered.store(true, Relaxed);
        self.slots.last_head.store(self.slots.age(Instant::now()), Relaxed);
    }
}

impl StreamSlot {
    /// Whether the head is overdue, and none of another stream has come in the second half of the
    /// wait: the connection may be deaf, though its peer still acknowledges pings.
    fn is_deaf(&self) -> bool {
        self.unanswered.is_some_and(|(half, due)| {
            Instant::now() >= due && self.slots.last_head.load(Relaxed) <= self.slots.age(half)
        })
    }

    /// Whether the connection has gone deaf, and another request has found that before.
    pub(super) fn is_known_deaf(&mut self) -> bool {
        if self.has_found_deaf || !self.is_deaf() {
            return false;
        }
        let is_known = self.slots.fail();
        self.has_found_deaf = !is_known;
        is_known
    }

    /// Whether the connection has ended, and another request has failed with it before.
    pub(super) fn is_known_lost(&self) -> bool {
        self.slots.fail()
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.slots.release();
        // The streams that it has go on.
        if self.is_deaf() {
            self.slots.retire();
        }
        self.slots.active.fetch_sub(1, AcqRel);
        self.slots.waiters.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn slots(own_limit: usize) -> Arc<StreamSlots> {
        Arc::new(StreamSlots::new(own_limit, Arc::default()))
    }

    #[test]
    fn the_lower_limit_counts() {
        for (own, peer, expected) in [(100, 3, 3), (5, 250, 5), (100, u32::MAX, 100)] {
            let slots = slots(own);
            assert_eq!(std::iter::from_fn(|| slots.reserve()).take(200).collect::<Vec<_>>().len(), 1);
            slots.set_peer_limit(peer);
            let all: Vec<_> = std::iter::from_fn(|| slots.reserve()).take(200).collect();
            assert_eq!(all.len(), expected);
            drop(all);
            assert_eq!(slots.active(), 0);
        }
    }

    #[test]
    fn a_held_connection_has_one_stream_until_its_head_has_come() {
        let slots = slots(4);
        slots.set_peer_limit(4);
        slots.hold();
        let mut first = slots.reserve().unwrap();
        assert!(slots.reserve().is_none());
        first.answered();
        assert!(slots.reserve().is_some());
        drop(first);
        slots.hold();
        drop(slots.reserve().unwrap());
        let both = (slots.reserve(), slots.reserve());
        assert!(both.0.is_some() && both.1.is_some(), "the stream was dropped without a head");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_retired_when_a_head_is_overdue_and_none_has_come() {
        let wait = Duration::from_secs(3);
        let slots = slots(4);
        slots.set_peer_limit(4);
        let sent = |due| {
            let mut slot = slots.reserve().unwrap();
            slot.sent(due);
            slot
        };
        let due = || Some(Instant::now() + wait);
        drop(sent(due()));
        assert!(!slots.is_retired(), "it was given up early");
        let (silent, mut other) = (sent(due()), sent(due()));
        advance(wait).await;
        other.answered();
        drop(silent);
        assert!(!slots.is_retired(), "another stream was answered shortly before");
        drop(other);
        let without_limit = sent(None);
        advance(wait).await;
        drop(without_limit);
        assert!(!slots.is_retired());
        // The connection goes deaf between two of the requests that it carries.
        let (mut answered, unanswered) = (sent(due()), sent(due()));
        answered.answered();
        drop(answered);
        advance(wait).await;
        drop(unanswered);
        assert!(slots.is_retired());
    }
}
