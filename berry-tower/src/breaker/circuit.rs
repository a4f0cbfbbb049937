//! The breaker itself: the state machine in one atomic word, with a clock.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    permit::Permit,
    policy::{BreakerPolicy, millis},
    served::ServedCallers,
    state::{Admission, Event, Finding, Fingerprint, Limits, Machine, Outcome, Phase, State},
    window::Window,
};
use crate::{
    caller::{CallerId, RecentCallers, pack, unpack},
    classify::Class,
    error::BreakerOpen,
    evidence::Weight,
    sync::{AtomicU64, Ordering},
};

/// How long after a trial its caller leaves the next one to others, in milliseconds.
const YIELDS: u64 = 1_000;

/// The wait while a trial is under way, since its end is not known.
const TRIAL_UNDER_WAY: Duration = Duration::from_secs(1);

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
/// Closed, it lets every request through. It opens after [`failure_threshold`] failures in a row or,
/// if that is set, when the [`success_rate`] falls too low. Open, it refuses all requests for
/// [`open_for`]. Then it is half-open and lets one request through at a time, as a trial: a success
/// closes it, a failure opens it again. A trial that is lost gives its slot back, and one that is
/// stuck expires. Each change is logged at `warn`.
///
/// # Callers
///
/// A request may come with a [`CallerId`]. Then the breaker distinguishes a service that fails from a caller
/// whose requests fail, as long as another caller sent a request within five minutes by the breaker or by
/// the `Select` outside of it:
/// * The failures of one caller count once in a row, until a request of another caller fails too.
/// * A request that fails in the same way on several backends does not count, if the layers say so.
/// * Each failure of a request that another backend has served counts, unless this service has served
///   other callers at least twice within the last minute: then it may refuse this one caller only.
/// * A caller whose trial ended without a success leaves the next second to the trials of others.
///
/// Without a `CallerId`, and for the only caller, every failure counts.
///
/// [`failure_threshold`]: BreakerPolicy::with_failure_threshold
/// [`success_rate`]: BreakerPolicy::with_success_rate
/// [`open_for`]: BreakerPolicy::with_open_for
///
/// ```
/// use berry_tower::{breaker::{Breaker, BreakerPolicy}, classify::Class};
/// use std::{sync::Arc, time::Duration};
/// use tokio::time::Instant;
///
/// let open_for = Duration::from_secs(60);
/// let breaker = Arc::new(Breaker::new(BreakerPolicy::new().with_failure_threshold(1).with_open_for(open_for)));
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
    policy: Policy,
    window: Window,
    callers: RecentCallers,
    served: ServedCallers,
    /// The caller whose trial ended without a success, and until when others go first.
    yielding: std::sync::atomic::AtomicU64,
    /// Changes to closed, half-open, open.
    entered: [std::sync::atomic::AtomicU64; 3],
    epoch: Instant,
    label: OnceLock<Arc<str>>,
    listeners: Listeners,
}

/// The limits in atomics, so that they can change while requests pass.
#[derive(Debug, Default)]
struct Policy {
    failure_threshold: std::sync::atomic::AtomicU32,
    open_for: std::sync::atomic::AtomicU64,
    trial_timeout: std::sync::atomic::AtomicU64,
    /// The bits of an `f64`.
    backoff: std::sync::atomic::AtomicU64,
    max_open_for: std::sync::atomic::AtomicU64,
}

impl Policy {
    fn set(&self, limits: Limits) {
        self.failure_threshold.store(limits.failure_threshold, Ordering::Relaxed);
        self.open_for.store(limits.open_for, Ordering::Relaxed);
        self.trial_timeout.store(limits.trial_timeout, Ordering::Relaxed);
        self.backoff.store(limits.backoff.to_bits(), Ordering::Relaxed);
        self.max_open_for.store(limits.max_open_for, Ordering::Relaxed);
    }

    fn get(&self) -> Limits {
        Limits {
            failure_threshold: self.failure_threshold.load(Ordering::Relaxed),
            open_for: self.open_for.load(Ordering::Relaxed),
            trial_timeout: self.trial_timeout.load(Ordering::Relaxed),
            backoff: f64::from_bits(self.backoff.load(Ordering::Relaxed)),
            max_open_for: self.max_open_for.load(Ordering::Relaxed),
        }
    }
}

type Listener = Box<dyn Fn(Transition) + Send + Sync>;

/// The state-change listeners: a list that only grows.
#[derive(Default)]
struct Listeners(OnceLock<Box<(Listener, Listeners)>>);

impl Listeners {
    fn add(&self, listener: Listener) {
        let mut entry = Box::new((listener, Self::default()));
        let mut list = self;
        while let Err(back) = list.0.set(entry) {
            entry = back;
            match list.0.get() {
                Some(taken) => list = &taken.1,
                None => return,
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Listener> {
        std::iter::successors(self.0.get(), |entry| entry.1.0.get()).map(|entry| &entry.0)
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listeners").field(&self.iter().count()).finish()
    }
}

impl Breaker {
    /// Returns a closed breaker.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        let limits = Policy::default();
        limits.set(policy.limits());
        Self {
            word: AtomicU64::new(Machine::default().pack()),
            policy: limits,
            window: Window::new(policy.success_rate()),
            callers: RecentCallers::default(),
            served: ServedCallers::default(),
            yielding: Default::default(),
            entered: Default::default(),
            epoch: Instant::now(),
            label: OnceLock::new(),
            listeners: Listeners::default(),
        }
    }

    /// Names the breaker in the log; the first name stays.
    pub fn set_label(&self, label: impl Into<Arc<str>>) {
        let _ = self.label.set(label.into());
    }

    /// Adds a listener that is called at every change from now on, on the task of the request that
    /// brings the change about. It cannot be removed.
    pub fn on_change(&self, listener: impl Fn(Transition) + Send + Sync + 'static) {
        self.listeners.add(Box::new(listener));
    }

    /// Replaces the policy. The state stays, and so does the end of an open time.
    pub fn set_policy(&self, policy: BreakerPolicy) {
        self.policy.set(policy.limits());
        self.window.set(policy.success_rate());
    }

    /// Lets a request through, or says when one will be.
    ///
    /// # Errors
    /// The breaker is open, or half-open with a trial under way.
    pub fn try_acquire(self: &Arc<Self>, now: Instant) -> Result<Permit, BreakerOpen> {
        self.try_acquire_for(None, now)
    }

    /// Lets a request of this caller through, or says when one will be.
    ///
    /// # Errors
    /// The breaker is open, or half-open with a trial under way or in the second that this caller
    /// leaves to others.
    pub fn try_acquire_for(
        self: &Arc<Self>,
        caller: impl Into<Option<CallerId>>,
        now: Instant,
    ) -> Result<Permit, BreakerOpen> {
        let at = self.millis(now);
        let caller = caller.into();
        if let Some(caller) = caller {
            self.callers.hear(caller.short(), at);
        }
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let before = Machine::unpack(word);
            match before.admits(at) {
                Admission::Pass => return Ok(Permit::new(self.clone(), before.generation, None, caller)),
                Admission::Refused { until } => return Err(BreakerOpen { retry_after: wait(until, at) }),
                Admission::Trial => {}
            }
            if let Some(yields) = caller.and_then(|caller| self.yields_for(caller, at)) {
                return Err(BreakerOpen { retry_after: Duration::from_millis(yields) });
            }
            let after = before.step(Event::Acquire, at, &self.policy.get());
            match self.word.compare_exchange(word, after.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.report(before, after);
                    let expiry = match after.phase {
                        Phase::HalfOpen { trial, .. } => trial,
                        _ => None,
                    };
                    return Ok(Permit::new(self.clone(), after.generation, expiry, caller));
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

    /// Returns the time until a request will be let through; `None` when one would be now.
    #[must_use]
    pub fn reopens_in(&self, now: Instant) -> Option<Duration> {
        let at = self.millis(now);
        match self.machine().admits(at) {
            Admission::Refused { until } => Some(wait(until, at)),
            Admission::Pass | Admission::Trial => None,
        }
    }

    /// Returns the state as a request would find it: an open time that is over is half-open, and a
    /// trial that has expired is none.
    #[must_use]
    pub fn state(&self, now: Instant) -> State {
        let machine = self.machine();
        match machine.admits(self.millis(now)) {
            Admission::Trial => State::HalfOpen { trial: false },
            Admission::Pass | Admission::Refused { .. } => machine.state(),
        }
    }

    /// Notes that a probe found the service well: an open breaker lets a trial through now.
    pub fn probe_succeeded(&self, now: Instant) -> Option<Transition> {
        self.apply(Event::ProbeSucceeded, self.millis(now)).transition
    }

    /// Returns how often it has become closed, half-open and open, by [`State::index`].
    #[must_use]
    pub fn transitions(&self) -> [u64; 3] {
        std::array::from_fn(|i| self.entered[i].load(Ordering::Relaxed))
    }

    /// Whether another caller has sent a request recently, so that a failure of this one may be its own fault.
    pub(crate) fn is_one_of_several(&self, caller: CallerId, now: Instant) -> bool {
        self.has_others(caller, self.millis(now))
    }

    fn has_others(&self, caller: CallerId, at: u64) -> bool {
        caller.is_one_of_several() || self.callers.has_others(caller.short(), at)
    }

    /// Returns how many milliseconds from `at` on this caller leaves a trial to others.
    fn yields_for(&self, caller: CallerId, at: u64) -> Option<u64> {
        let (last, until) = unpack(self.yielding.load(Ordering::Relaxed));
        (last == caller.short() && at < until && self.has_others(caller, at)).then(|| until - at)
    }

    /// Leaves the trials from `at` on to other callers for a moment.
    fn let_others_try(&self, caller: Fingerprint, at: u64) {
        self.yielding.store(pack(caller, at.saturating_add(YIELDS)), Ordering::Relaxed);
    }

    /// Notes that the service serves a request of this caller.
    pub(super) fn record_served(&self, caller: CallerId, now: Instant) {
        self.served.record(caller.short(), self.millis(now));
    }

    /// Takes in the outcome of a permit. Returns the generation after it, if it was not too late.
    pub(super) fn settle(&self, permit: &Permit, outcome: Outcome, weight: Weight, now: Instant) -> Settled {
        let at = self.millis(now);
        let others = permit.caller.filter(|caller| self.has_others(*caller, at)).map(CallerId::short);
        let finding = match (outcome, others, weight) {
            (Outcome::Success, ..) => Finding::Success,
            (Outcome::RateLimited, ..) => Finding::RateLimited,
            (Outcome::Neutral, ..) => Finding::Neutral,
            (Outcome::Failure, Some(caller), Weight::Alone) => Finding::FailureOf(caller),
            (Outcome::Failure, Some(caller), Weight::ServedElsewhere) if self.served.has_others(caller, at) => {
                Finding::FailureOf(caller)
            }
            (Outcome::Failure, Some(caller), Weight::Shared) => Finding::SharedFailureOf(caller),
            (Outcome::Failure, ..) => Finding::Failure,
        };
        let (generation, trial) = (permit.generation, permit.trial);
        let settled = self.apply(Event::Settle { generation, trial, finding }, at);
        if let (Some(_), Some(caller), false) = (trial, others, outcome == Outcome::Success) {
            match settled.after.phase {
                Phase::HalfOpen { trial: None, .. } => self.let_others_try(caller, at),
                Phase::Open { until, .. } => self.let_others_try(caller, until),
                _ => {}
            }
        }
        let counts = match outcome {
            Outcome::Success => true,
            Outcome::Failure => finding == Finding::Failure || settled.has_changed,
            Outcome::RateLimited | Outcome::Neutral => false,
        };
        if !counts || self.window.is_off() || !matches!(settled.before.phase, Phase::Closed { .. }) {
            return settled;
        }
        if settled.was_in_time && self.window.count(outcome == Outcome::Failure, at) {
            return self.apply(Event::Trip { generation }, at);
        }
        settled
    }

    fn apply(&self, event: Event, at: u64) -> Settled {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let before = Machine::unpack(word);
            let after = before.step(event, at, &self.policy.get());
            let was_in_time = match event {
                Event::Settle { generation, .. } => generation == before.generation,
                _ => true,
            };
            let has_changed = after != before;
            let settled = |transition| Settled { before, after, was_in_time, has_changed, transition };
            // Most requests succeed on a closed breaker, and need not write to the shared word.
            if !has_changed {
                return settled(None);
            }
            match self.word.compare_exchange(word, after.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return settled(self.report(before, after)),
                Err(actual) => word = actual,
            }
        }
    }

    fn report(&self, before: Machine, after: Machine) -> Option<Transition> {
        let (from, to) = (before.state(), after.state());
        if from.index() == to.index() {
            return None;
        }
        if to.is_closed() {
            self.window.clear();
        }
        self.entered[to.index()].fetch_add(1, Ordering::Relaxed);
        let backend = self.label.get().map_or("", |l| &**l);
        tracing::warn!(backend, from = from.name(), to = to.name(), "circuit breaker changed");
        let transition = Transition { from, to };
        self.listeners.iter().for_each(|listener| listener(transition));
        Some(transition)
    }

    fn machine(&self) -> Machine {
        Machine::unpack(self.word.load(Ordering::Acquire))
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }
}

/// What an event came to.
pub(super) struct Settled {
    before: Machine,
    pub(super) after: Machine,
    /// Whether the outcome was of the machine's own generation.
    pub(super) was_in_time: bool,
    has_changed: bool,
    pub(super) transition: Option<Transition>,
}

fn wait(until: Option<u64>, at: u64) -> Duration {
    until.map_or(TRIAL_UNDER_WAY, |until| Duration::from_millis(until.saturating_sub(at)))
}
