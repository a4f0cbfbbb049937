//! The breaker itself: the state machine in one atomic word, with a clock.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    permit::Permit,
    state::{Admission, Event, Limits, Machine, Outcome, State},
};
use crate::{
    classify::Class,
    error::BreakerOpen,
    sync::{AtomicU64, Ordering},
};

/// What to wait for a trial that is under way: nobody knows when it ends.
const TRIAL_UNDER_WAY: Duration = Duration::from_secs(1);

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it; at least 1.
    pub failure_threshold: u32,
    /// How long it then lets nothing through.
    pub open_for: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failure_threshold: 5, open_for: Duration::from_secs(60) }
    }
}

impl BreakerPolicy {
    fn limits(self) -> Limits {
        Limits { failure_threshold: self.failure_threshold, open_for: millis(self.open_for) }
    }
}

/// A change from one kind of state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
}

impl From<Class> for Outcome {
    fn from(class: Class) -> Self {
        match class {
            Class::Success => Self::Success,
            Class::RateLimited { .. } => Self::RateLimited,
            c if c.is_backend_failure() => Self::Failure,
            _ => Self::Neutral,
        }
    }
}

/// A circuit breaker whose state is one atomic word.
///
/// Closed, it lets everything through; after `failure_threshold` failures in a row it is open and
/// lets nothing through for `open_for`; then it is half-open and lets one request through at a
/// time: a success closes it, a failure opens it again for the whole time. It writes a `warn` for
/// each of these changes.
///
/// ```
/// use berry_tower::{breaker::{Breaker, BreakerPolicy}, classify::Class};
/// use std::{sync::Arc, time::Duration};
/// use tokio::time::Instant;
///
/// let open_for = Duration::from_secs(60);
/// let breaker = Arc::new(Breaker::new(BreakerPolicy { failure_threshold: 1, open_for }));
/// let now = Instant::now();
/// breaker.try_acquire(now).unwrap().settle(Class::Server, now);
/// assert_eq!(breaker.try_acquire(now).unwrap_err().retry_after, open_for);
///
/// let later = now + open_for;
/// let trial = breaker.try_acquire(later).unwrap();
/// assert!(!breaker.available(later), "one trial at a time");
/// trial.settle(Class::Success, later);
/// assert!(breaker.available(later));
/// ```
#[derive(Debug)]
pub struct Breaker {
    word: AtomicU64,
    failure_threshold: std::sync::atomic::AtomicU64,
    open_for: std::sync::atomic::AtomicU64,
    /// Changes to closed, half-open, open.
    entered: [std::sync::atomic::AtomicU64; 3],
    epoch: Instant,
    label: OnceLock<Arc<str>>,
    on_change: OnChange,
}

/// Whom the breaker tells of its changes.
#[derive(Default)]
struct OnChange(OnceLock<Box<dyn Fn(Transition) + Send + Sync>>);

impl fmt::Debug for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnChange").field(&self.0.get().is_some()).finish()
    }
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        let Limits { failure_threshold, open_for } = policy.limits();
        Self {
            word: AtomicU64::new(Machine::default().pack()),
            failure_threshold: u64::from(failure_threshold).into(),
            open_for: open_for.into(),
            entered: Default::default(),
            epoch: Instant::now(),
            label: OnceLock::new(),
            on_change: OnChange::default(),
        }
    }

    /// Names it in the log; the first name stays.
    pub fn set_label(&self, label: impl Into<Arc<str>>) {
        let _ = self.label.set(label.into());
    }

    /// Calls `told` at every change from now on, on the path of the request that brings it about;
    /// the first one stays.
    pub fn on_change(&self, told: impl Fn(Transition) + Send + Sync + 'static) {
        let _ = self.on_change.0.set(Box::new(told));
    }

    /// Takes a new policy. The state stays, and so does the end of an open time.
    pub fn set_policy(&self, policy: BreakerPolicy) {
        let Limits { failure_threshold, open_for } = policy.limits();
        self.failure_threshold.store(u64::from(failure_threshold), Ordering::Relaxed);
        self.open_for.store(open_for, Ordering::Relaxed);
    }

    /// Lets a request through, or says when one will be.
    ///
    /// # Errors
    /// The breaker is open, or half-open with a trial under way.
    pub fn try_acquire(self: &Arc<Self>, now: Instant) -> Result<Permit, BreakerOpen> {
        let at = self.millis(now);
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let before = Machine::unpack(word);
            match before.admits(at) {
                Admission::Pass => return Ok(Permit::new(self.clone(), before.generation, false)),
                Admission::Refused { until } => return Err(BreakerOpen { retry_after: wait(until, at) }),
                Admission::Trial => {}
            }
            let after = before.step(Event::Acquire, at, self.limits());
            match self.word.compare_exchange(word, after.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.tell(before, after);
                    return Ok(Permit::new(self.clone(), after.generation, true));
                }
                Err(actual) => word = actual,
            }
        }
    }

    /// Whether a request that asks now would be let through. A hint: it reserves nothing.
    #[must_use]
    pub fn available(&self, now: Instant) -> bool {
        self.reopens_in(now).is_none()
    }

    /// Until a request will be let through; `None` when one would be now.
    #[must_use]
    pub fn reopens_in(&self, now: Instant) -> Option<Duration> {
        let at = self.millis(now);
        match self.machine().admits(at) {
            Admission::Refused { until } => Some(wait(until, at)),
            Admission::Pass | Admission::Trial => None,
        }
    }

    /// The state as a request would find it: an open time that is over is half-open.
    #[must_use]
    pub fn state(&self, now: Instant) -> State {
        let machine = self.machine();
        match machine.admits(self.millis(now)) {
            Admission::Trial => State::HalfOpen { trial: false },
            Admission::Pass | Admission::Refused { .. } => machine.state,
        }
    }

    /// A probe found the service well: an open breaker lets a trial through now.
    pub fn probe_succeeded(&self, now: Instant) -> Option<Transition> {
        self.apply(Event::ProbeSucceeded, self.millis(now))
    }

    /// How often it has become closed, half-open and open, by [`State::index`].
    #[must_use]
    pub fn transitions(&self) -> [u64; 3] {
        std::array::from_fn(|i| self.entered[i].load(Ordering::Relaxed))
    }

    pub(super) fn settle(&self, generation: u32, outcome: Outcome, now: Instant) -> Option<Transition> {
        self.apply(Event::Settle { generation, outcome }, self.millis(now))
    }

    /// Gives a trial's slot back; no time is needed for that.
    pub(super) fn release(&self, generation: u32) {
        self.apply(Event::Settle { generation, outcome: Outcome::Neutral }, 0);
    }

    fn apply(&self, event: Event, at: u64) -> Option<Transition> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let before = Machine::unpack(word);
            let after = before.step(event, at, self.limits());
            // Most requests succeed on a closed breaker, and need not write to the shared word.
            if after == before {
                return None;
            }
            match self.word.compare_exchange(word, after.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return self.tell(before, after),
                Err(actual) => word = actual,
            }
        }
    }

    fn tell(&self, before: Machine, after: Machine) -> Option<Transition> {
        let (from, to) = (before.state, after.state);
        if from.index() == to.index() {
            return None;
        }
        self.entered[to.index()].fetch_add(1, Ordering::Relaxed);
        let backend = self.label.get().map_or("", |l| &**l);
        tracing::warn!(backend, from = from.name(), to = to.name(), "circuit breaker changed");
        let transition = Transition { from, to };
        if let Some(told) = self.on_change.0.get() {
            told(transition);
        }
        Some(transition)
    }

    fn machine(&self) -> Machine {
        Machine::unpack(self.word.load(Ordering::Acquire))
    }

    fn limits(&self) -> Limits {
        Limits {
            failure_threshold: u32::try_from(self.failure_threshold.load(Ordering::Relaxed)).unwrap_or(u32::MAX),
            open_for: self.open_for.load(Ordering::Relaxed),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn wait(until: Option<u64>, at: u64) -> Duration {
    until.map_or(TRIAL_UNDER_WAY, |until| Duration::from_millis(until.saturating_sub(at)))
}
