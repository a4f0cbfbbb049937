//! The state of one backend, in atomics that all models and requests share.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::{
    BackendId,
    clock::{AtomicTimestamp, Float, millis},
    confidence,
    made_ids::MadeIds,
    snapshot::BackendStateSnapshot,
    tuning::Tuning,
    view::View,
};
use crate::{
    breaker::Breaker,
    classify::{Class, MAX_RETRY_AFTER},
    health::{Event, HealthChange, Recovery, Stage},
    observe::{BackendObserver, Cause},
};

/// The cool-down after a 429 without `Retry-After`.
pub const DEFAULT_COOL_DOWN: Duration = Duration::from_secs(5);

/// The weight of the newest sample in the average of latencies.
const ALPHA: f64 = 0.3;

/// The slot of the one trial that a backend allows at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the slot is given back by `end_trial`"]
pub struct Trial(u64);

/// An outcome that has been counted and is still to be judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    class: Class,
    /// Milliseconds since the backend's last outcome before it.
    idle: u64,
}

/// The outcome of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The list of models came, or the provider has no such list.
    Listed {
        /// Whether no chat probe follows. Then the list ends the unhealthy stage.
        decides: bool,
    },
    /// The chat was answered; a refusal of the request proves that the backend works, too.
    Chatted,
    /// The probe failed. Only a class that [is a failure of the backend](Class::is_backend_failure) makes it unhealthy.
    Failed(Class),
}

/// The state of one backend, in atomics.
///
/// A change of health is returned for the caller to log; the circuit breaker logs its own changes. An
/// observer is called for both.
///
/// ```
/// use berry_tower::{backend::{BackendState, Stage, Tuning}, classify::Class};
/// use tokio::time::Instant;
///
/// let live = BackendState::new(Tuning::default());
/// let now = Instant::now();
/// assert!(live.record(Class::Server, now).is_some());
/// assert_eq!(live.view(now).stage, Stage::Unhealthy);
/// live.record(Class::ClientError, now);
/// assert_eq!(live.snapshot(now).requests(), 2);
/// ```
#[derive(Debug)]
pub struct BackendState {
    tuning: ArcSwap<Tuning>,
    epoch: Instant,
    breaker: Arc<Breaker>,
    recovery: AtomicU64,
    /// The expiry of the trial that is under way; 0 when there is none.
    trial: AtomicU64,
    in_flight: AtomicU32,
    /// Ends of the cool-downs that upstreams asked for, and of the default one.
    requested_cooldown: AtomicTimestamp,
    default_cooldown: AtomicTimestamp,
    /// The end of the doubt that another process has raised, in milliseconds; 0 when there is none.
    doubt: AtomicU64,
    /// The moving average of the time to the first byte, in seconds.
    average: Float,
    measured: AtomicTimestamp,
    /// The moving average of the time to the first output of a stream, in seconds; NaN at first.
    first_token: Float,
    confidence: Float,
    outcomes: [AtomicU64; Class::COUNT],
    /// Successes in a row, or failures in a row as a negative number.
    streak: AtomicI64,
    /// The index of its class plus one; 0 for none.
    last_error: AtomicU8,
    success: AtomicTimestamp,
    failure: AtomicTimestamp,
    request: AtomicTimestamp,
    probe: AtomicTimestamp,
    connectivity: AtomicU8,
    connected: AtomicTimestamp,
    observer: OnceLock<Arc<dyn BackendObserver>>,
    #[cfg_attr(not(feature = "select"), allow(dead_code, reason = "only a selection looks ids up"))]
    made_ids: MadeIds,
}

impl BackendState {
    /// Returns the state of a new, healthy backend.
    #[must_use]
    pub fn new(tuning: Tuning) -> Self {
        Self {
            epoch: Instant::now(),
            breaker: Arc::new(Breaker::new(tuning.breaker)),
            recovery: AtomicU64::new(Recovery::default().pack()),
            trial: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            requested_cooldown: AtomicTimestamp::default(),
            default_cooldown: AtomicTimestamp::default(),
            doubt: AtomicU64::new(0),
            average: Float::new(0.0),
            measured: AtomicTimestamp::default(),
            first_token: Float::new(f64::NAN),
            confidence: Float::new(tuning.smart_ai.initial_confidence),
            outcomes: Default::default(),
            streak: AtomicI64::new(0),
            last_error: AtomicU8::new(0),
            success: AtomicTimestamp::default(),
            failure: AtomicTimestamp::default(),
            request: AtomicTimestamp::default(),
            probe: AtomicTimestamp::default(),
            connectivity: AtomicU8::new(0),
            connected: AtomicTimestamp::default(),
            observer: OnceLock::new(),
            made_ids: MadeIds::default(),
            tuning: ArcSwap::from_pointee(tuning),
        }
    }

    /// Returns a state that begins anew, with the counters, latencies and times of this one: healthy,
    /// with a closed breaker, no cool-down, and at least the initial confidence.
    ///
    /// Requests that are in flight on this state do not count in the new one, so that a late failure
    /// of a wrong key does not tell against the corrected one.
    pub(crate) fn restarted(&self) -> Self {
        fn copy(of: &AtomicU64) -> AtomicU64 {
            AtomicU64::new(of.load(Ordering::Relaxed))
        }
        let tuning = Tuning::clone(&self.tuning.load());
        let confidence = self.confidence.get().max(tuning.smart_ai.initial_confidence);
        let state = Self {
            epoch: self.epoch,
            average: Float::new(self.average.get()),
            measured: self.measured.copied(),
            first_token: Float::new(self.first_token.get()),
            confidence: Float::new(confidence),
            outcomes: std::array::from_fn(|i| copy(&self.outcomes[i])),
            last_error: AtomicU8::new(self.last_error.load(Ordering::Relaxed)),
            success: self.success.copied(),
            failure: self.failure.copied(),
            request: self.request.copied(),
            probe: self.probe.copied(),
            ..Self::new(tuning)
        };
        if let Some(observer) = self.observer() {
            state.observe(|| observer.clone());
        }
        state
    }

    /// Names its circuit breaker in the log; the first name stays.
    pub(crate) fn set_label(&self, id: &BackendId) {
        self.breaker.set_label(id.to_string());
    }

    /// Sets the observer, which is called for all events from now on. The first one stays; `observer` is
    /// called only for that one.
    pub fn observe(&self, observer: impl FnOnce() -> Arc<dyn BackendObserver>) {
        let mut is_new = false;
        let observer = self.observer.get_or_init(|| {
            is_new = true;
            observer()
        });
        if is_new {
            let observer = observer.clone();
            let breaker = Arc::downgrade(&self.breaker);
            self.breaker.on_change(move |transition| {
                observer.breaker_changed(transition);
                let breaker = breaker.upgrade().filter(|_| transition.to.is_open());
                if let Some(left) = breaker.and_then(|breaker| breaker.reopens_in(Instant::now())) {
                    observer.paused(left);
                }
            });
        }
    }

    /// The ids that the backend has made and that only its account knows.
    #[cfg(feature = "select")]
    pub(crate) const fn made_ids(&self) -> &MadeIds {
        &self.made_ids
    }

    /// Records ids, by their hashes, that another process has seen this backend make. Requests that hold one of them go to
    /// a backend of the same provider.
    #[cfg(feature = "select")]
    pub fn learn_ids(&self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            self.made_ids.record(id);
        }
    }

    /// Whether an id, by its hash, is one of the latest that this backend is known to have made.
    #[cfg(feature = "select")]
    #[must_use]
    pub fn has_made(&self, id: u64) -> bool {
        self.made_ids.contains(id)
    }

    /// The observer.
    #[must_use]
    pub fn observer(&self) -> Option<&Arc<dyn BackendObserver>> {
        self.observer.get()
    }

    /// Replaces the parameters; the state stays. A backend without requests gets the new initial
    /// confidence.
    pub fn retune(&self, tuning: Tuning) {
        self.breaker.set_policy(tuning.breaker);
        if self.request.get().is_none() {
            let (old, new) = (self.tuning.load().smart_ai.initial_confidence, tuning.smart_ai.initial_confidence);
            self.confidence.update(|c| if c == old { new } else { c });
        }
        self.tuning.store(Arc::new(tuning));
    }

    /// The circuit breaker.
    #[must_use]
    pub const fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    /// Returns the state now.
    #[must_use]
    pub fn view(&self, now: Instant) -> View {
        let at = self.millis(now);
        let tuning = self.tuning.load();
        let interval = millis(tuning.recovery_interval);
        let recovery = Recovery::unpack(self.recovery.load(Ordering::Acquire));
        let trial_free = self.trial.load(Ordering::Acquire) <= at;
        let (requested_cooldown, default_cooldown) = (self.requested_cooldown.left(at), self.default_cooldown.left(at));
        let idle = self.request.get().map_or(0, |last| at.saturating_sub(last));
        let is_doubted = self.doubt.load(Ordering::Relaxed) > at;
        View {
            stage: if is_doubted { Stage::Unhealthy } else { recovery.stage() },
            due_for_trial: trial_free && (is_doubted || recovery.due(at, interval)),
            trial_free,
            cooling: requested_cooldown.max(default_cooldown),
            cooling_default: requested_cooldown.is_none() && default_cooldown.is_some(),
            breaker_reopens_in: self.breaker.reopens_in(now),
            in_flight: self.in_flight.load(Ordering::Acquire),
            latency: self.fresh_latency(at, interval),
            confidence: confidence::read(self.confidence.get(), idle, &tuning.smart_ai),
        }
    }

    /// Counts a request as in flight, unless there are `max_in_flight` already; 0 is no bound. Each
    /// request that was counted must [`leave`](Self::leave).
    pub fn try_enter(&self, max_in_flight: u32) -> bool {
        let enter = |n: u32| (max_in_flight == 0 || n < max_in_flight).then(|| n.saturating_add(1));
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_ok()
    }

    /// Ends a request that [`try_enter`](Self::try_enter) has counted.
    pub fn leave(&self) {
        let _ = self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
    }

    /// Takes the one slot for a trial, of an unhealthy backend or of one not measured lately.
    ///
    /// It is given back by [`end_trial`](Self::end_trial). A trial that takes longer than the
    /// [`trial_timeout`](crate::breaker::BreakerPolicy::with_trial_timeout) of the breaker's policy loses
    /// its slot, so that one which is stuck does not keep the backend out of service.
    #[must_use]
    pub fn try_trial(&self, now: Instant) -> Option<Trial> {
        let at = self.millis(now);
        let timeout = millis(self.tuning.load().breaker.trial_timeout()).max(1);
        let expiry = at.saturating_add(timeout);
        let take = |current: u64| (current <= at).then_some(expiry);
        self.trial.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok().map(|_| Trial(expiry))
    }

    /// Gives the slot for a trial back, unless it has expired and another request holds it.
    pub fn end_trial(&self, trial: Trial) {
        let _ = self.trial.compare_exchange(trial.0, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Doubts the backend for this time, since another process has found that it should not be asked.
    ///
    /// While it is doubted, it counts as unhealthy and due for a trial: one request at a time tries
    /// it, and others go elsewhere if they can. The first outcome of a request or chat probe that says
    /// something about it ends the doubt.
    pub fn doubt(&self, left: Duration, now: Instant) {
        let end = self.millis(now).saturating_add(millis(left.min(MAX_RETRY_AFTER)));
        self.doubt.fetch_max(end, Ordering::Relaxed);
    }

    fn end_doubt(&self) {
        // Most outcomes find none, and need not write.
        if self.doubt.load(Ordering::Relaxed) != 0 {
            self.doubt.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it is healthy, or on its way back to that.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        Recovery::unpack(self.recovery.load(Ordering::Acquire)).stage() != Stage::Unhealthy
    }

    /// Records the time to the first byte of a successful attempt.
    pub fn record_first_byte(&self, elapsed: Duration, now: Instant) {
        let at = self.millis(now);
        let interval = millis(self.tuning.load().recovery_interval);
        let stale = self.measured.get().is_none_or(|last| at.saturating_sub(last) > interval);
        let sample = elapsed.as_secs_f64();
        // An unused backend gets one sample per interval, which older ones must not outweigh.
        self.average.update(|average| if stale { sample } else { average + ALPHA * (sample - average) });
        // Stored last, so that no reader finds an average that is not there yet.
        self.measured.mark(at);
    }

    /// Records the time to the first output of a successful stream.
    #[cfg(feature = "select")]
    pub(crate) fn record_first_token(&self, elapsed: Duration) {
        let sample = elapsed.as_secs_f64();
        self.first_token.update(|a| if a.is_nan() { sample } else { a + ALPHA * (sample - a) });
    }

    /// Records the outcome of a user's attempt, for everything but the circuit breaker.
    pub fn record(&self, class: Class, now: Instant) -> Option<HealthChange> {
        let counted = self.count(class, now);
        self.judge(counted, now)
    }

    /// Counts the outcome of a user's attempt; what it says about the backend is for
    /// [`judge`](Self::judge), which may come later.
    pub(crate) fn count(&self, class: Class, now: Instant) -> Counted {
        self.outcomes[class.index()].fetch_add(1, Ordering::Relaxed);
        let at = self.millis(now);
        let idle = self.request.mark(at).map_or(0, |last| at.saturating_sub(last));
        Counted { class, idle }
    }

    /// The outcome that an attempt which is not over yet is going to have, for [`judge`](Self::judge).
    #[cfg(feature = "select")]
    pub(crate) fn foresee(&self, class: Class, now: Instant) -> Counted {
        let at = self.millis(now);
        Counted { class, idle: self.request.get().map_or(0, |last| at.saturating_sub(last)) }
    }

    /// Applies what an outcome says about the backend.
    pub(crate) fn judge(&self, Counted { class, idle }: Counted, now: Instant) -> Option<HealthChange> {
        if class.is_neutral() {
            return None;
        }
        self.end_doubt();
        let at = self.millis(now);
        let smart = &self.tuning.load().smart_ai;
        // The drifted value becomes the stored one, so that the outcome moves the confidence that was
        // read before, and in the right direction.
        self.confidence.update(|c| confidence::after(confidence::read(c, idle, smart), class, smart));
        if class == Class::Success {
            self.success.mark(at);
            self.count_streak(1);
            return self.step(Event::Success, at, Cause::Request);
        }
        self.failure.mark(at);
        self.last_error.store(class.index() as u8 + 1, Ordering::Relaxed);
        if let Class::RateLimited { retry_after } = class {
            self.cool_down(retry_after, at);
            return None;
        }
        self.count_streak(-1);
        self.step(Event::Failure, at, Cause::Request)
    }

    /// Records the outcome of a probe.
    pub fn probed(&self, outcome: ProbeOutcome, now: Instant) -> Option<HealthChange> {
        let at = self.millis(now);
        self.probe.mark(at);
        match outcome {
            ProbeOutcome::Listed { decides: false } => None,
            ProbeOutcome::Listed { decides: true } => self.step(Event::Alive, at, Cause::Probe),
            ProbeOutcome::Chatted => {
                self.end_doubt();
                self.breaker.probe_succeeded(now);
                if Recovery::unpack(self.recovery.load(Ordering::Acquire)).stage() != Stage::Healthy {
                    let smart = &self.tuning.load().smart_ai;
                    self.confidence.update(|c| confidence::proven(c, smart));
                }
                self.step(Event::Success, at, Cause::Probe)
            }
            ProbeOutcome::Failed(Class::RateLimited { retry_after }) => {
                self.cool_down(retry_after, at);
                None
            }
            ProbeOutcome::Failed(class) if class.is_backend_failure() => {
                self.step(Event::ProbeFailed, at, Cause::Probe)
            }
            ProbeOutcome::Failed(_) => None,
        }
    }

    /// Records the outcome of a connectivity check of `smart_ai`.
    pub fn record_connectivity(&self, ok: bool, now: Instant) {
        self.connected.mark(self.millis(now));
        self.connectivity.store(if ok { 1 } else { 2 }, Ordering::Relaxed);
        if !ok {
            let smart = &self.tuning.load().smart_ai;
            self.confidence.update(|c| confidence::halved(c, smart));
        }
    }

    /// Returns a snapshot of counters, times and states.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> BackendStateSnapshot {
        let at = self.millis(now);
        let streak = self.streak.load(Ordering::Relaxed);
        let last_error = usize::from(self.last_error.load(Ordering::Relaxed));
        BackendStateSnapshot {
            view: self.view(now),
            circuit: self.breaker.state(now),
            circuit_transitions: self.breaker.transitions(),
            outcomes: std::array::from_fn(|i| self.outcomes[i].load(Ordering::Relaxed)),
            consecutive_failures: streak.min(0).unsigned_abs(),
            consecutive_successes: streak.max(0).unsigned_abs(),
            last_error: last_error.checked_sub(1).and_then(|i| Class::NAMES.get(i).copied()),
            last_success: self.success.ago(at),
            last_failure: self.failure.ago(at),
            last_request: self.request.ago(at),
            last_probe: self.probe.ago(at),
            connectivity_ok: match self.connectivity.load(Ordering::Relaxed) {
                0 => None,
                found => Some(found == 1),
            },
            last_connectivity_check: self.connected.ago(at),
            average_latency: self.fresh_latency(at, u64::MAX),
            average_first_token: Duration::try_from_secs_f64(self.first_token.get()).ok(),
        }
    }

    fn cool_down(&self, retry_after: Option<Duration>, at: u64) {
        let (end, wait) = match retry_after {
            Some(wait) => (&self.requested_cooldown, wait.min(MAX_RETRY_AFTER)),
            None => (&self.default_cooldown, DEFAULT_COOL_DOWN),
        };
        end.mark(at.saturating_add(millis(wait)));
        if let (Some(_), Some(observer)) = (retry_after, self.observer()) {
            observer.paused(wait);
        }
    }

    fn count_streak(&self, by: i64) {
        let count = |n: i64| Some(if n.signum() == -by { by } else { n.saturating_add(by) });
        let _ = self.streak.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
    }

    fn fresh_latency(&self, at: u64, interval: u64) -> Option<Duration> {
        let last = self.measured.get()?;
        let fresh = at.saturating_sub(last) <= interval;
        fresh.then(|| Duration::try_from_secs_f64(self.average.get()).unwrap_or_default())
    }

    fn step(&self, event: Event, at: u64, cause: Cause) -> Option<HealthChange> {
        let step = |word| {
            let next = Recovery::unpack(word).step(event, at).pack();
            (next != word).then_some(next)
        };
        let before = self.recovery.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).ok()?;
        let from = Recovery::unpack(before);
        let (from, to) = (from.stage(), from.step(event, at).stage());
        let change = (from != to).then_some(HealthChange { from, to })?;
        if let Some(observer) = self.observer() {
            observer.health_changed(change, cause);
        }
        Some(change)
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }
}
