//! The breaker's state machine: pure, and small enough to be one word.

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// All requests pass.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// No request passes.
    Open {
        /// The end of the open time, in milliseconds since the breaker was made.
        until: u64,
    },
    /// One request passes at a time.
    HalfOpen {
        /// Whether a trial is under way.
        trial: bool,
    },
}

impl State {
    /// The name used in logs and responses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::HalfOpen { .. } => "half_open",
            Self::Open { .. } => "open",
        }
    }

    /// 0 for closed, 1 for half-open, 2 for open, as in the gauge.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Closed { .. } => 0,
            Self::HalfOpen { .. } => 1,
            Self::Open { .. } => 2,
        }
    }

    /// Whether all requests pass.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// Whether no request passes.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Whether one request passes at a time.
    #[must_use]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::HalfOpen { .. })
    }
}

/// The outcome of an attempt that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The service did well.
    Success,
    /// The service failed.
    Failure,
    /// The service asked for fewer requests: no failure, but no proof of health either.
    RateLimited,
    /// It says nothing about the service.
    Neutral,
}

/// A caller's short fingerprint: at least [`LOWEST`](crate::caller::LOWEST), below 2²⁰.
pub(super) type Fingerprint = u32;

/// What a settled attempt says to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Success,
    RateLimited,
    Neutral,
    /// A failure that counts for every caller.
    Failure,
    /// A failure of a caller beside whom others are known. It counts once in a row.
    FailureOf(Fingerprint),
    /// The same, and the request failed on another backend in the same way. It does not count.
    SharedFailureOf(Fingerprint),
}

/// What happens to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A request asks to be let through.
    Acquire,
    /// An attempt that was let through in `generation` has ended; `trial` is the expiry of its trial.
    Settle { generation: u32, trial: Option<u64>, finding: Finding },
    /// The share of successes has fallen too low for requests of `generation`.
    Trip { generation: u32 },
    /// The service answered a probe as it should.
    ProbeSucceeded,
}

/// Whether a request may pass now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It passes.
    Pass,
    /// It passes as the only trial.
    Trial,
    /// It does not pass; `Some` says when one will again, `None` that a trial is under way.
    Refused { until: Option<u64> },
}

/// The policy in the machine's units; times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    /// Failures in a row that open it; 0 is taken as 1.
    pub(super) failure_threshold: u32,
    pub(super) open_for: u64,
    pub(super) trial_timeout: u64,
    /// The open time grows by this factor with each trial in a row that fails, up to `max_open_for`.
    pub(super) backoff: f64,
    pub(super) max_open_for: u64,
}

/// Whose failures are in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Run {
    /// Of no caller, or of callers that are not distinguished.
    #[default]
    Unknown,
    /// One caller's.
    One(Fingerprint),
    /// Those of several callers, so that the service is at fault.
    Several,
}

impl Run {
    const fn pack(self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Several => 1,
            Self::One(caller) => caller as u64,
        }
    }

    const fn unpack(word: u64) -> Self {
        match word as u32 {
            0 => Self::Unknown,
            1 => Self::Several,
            caller => Self::One(caller),
        }
    }
}

/// The kind of state with its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed {
        failures: u32,
        run: Run,
    },
    Open {
        /// Trials in a row that have failed.
        failed_trials: u8,
        until: u64,
    },
    HalfOpen {
        failed_trials: u8,
        /// When the trial that is under way expires.
        trial: Option<u64>,
    },
}

/// A state and how many there have been before it.
///
/// The generation distinguishes late outcomes from those that count: a request that began before the
/// breaker opened says nothing about whether it may close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) phase: Phase,
    /// Goes up with every change of the kind of state.
    pub(super) generation: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Self { phase: Phase::Closed { failures: 0, run: Run::Unknown }, generation: 0 }
    }
}

impl Machine {
    pub(super) const fn state(self) -> State {
        match self.phase {
            Phase::Closed { failures, .. } => State::Closed { failures },
            Phase::Open { until, .. } => State::Open { until },
            Phase::HalfOpen { trial, .. } => State::HalfOpen { trial: trial.is_some() },
        }
    }

    /// Returns whether a request may pass at `now`.
    pub(super) const fn admits(self, now: u64) -> Admission {
        match self.phase {
            Phase::Closed { .. } => Admission::Pass,
            Phase::Open { until, .. } if now < until => Admission::Refused { until: Some(until) },
            Phase::HalfOpen { trial: Some(expiry), .. } if now < expiry => Admission::Refused { until: None },
            Phase::Open { .. } | Phase::HalfOpen { .. } => Admission::Trial,
        }
    }

    /// The state after `event` at `now`.
    pub(super) fn step(self, event: Event, now: u64, limits: &Limits) -> Self {
        match event {
            Event::Acquire => match (self.admits(now), self.phase) {
                (Admission::Trial, Phase::Open { failed_trials, .. } | Phase::HalfOpen { failed_trials, .. }) => {
                    let expiry = now.saturating_add(limits.trial_timeout.max(1)).min(TIME);
                    self.to(Phase::HalfOpen { failed_trials, trial: Some(expiry) })
                }
                _ => self,
            },
            Event::ProbeSucceeded => match self.phase {
                Phase::Open { failed_trials, .. } => self.to(Phase::HalfOpen { failed_trials, trial: None }),
                _ => self,
            },
            Event::Trip { generation } | Event::Settle { generation, .. } if generation != self.generation => self,
            Event::Trip { .. } => match self.phase {
                Phase::Closed { .. } => self.open(now, 0, limits),
                _ => self,
            },
            Event::Settle { trial, finding, .. } => self.settle(trial, finding, now, limits),
        }
    }

    fn settle(self, trial: Option<u64>, finding: Finding, now: u64, limits: &Limits) -> Self {
        match self.phase {
            Phase::Closed { failures, run } => {
                let (counts, run) = match finding {
                    Finding::Success => return self.to(Phase::Closed { failures: 0, run: Run::Unknown }),
                    Finding::RateLimited | Finding::Neutral => return self,
                    Finding::Failure => (true, run),
                    Finding::FailureOf(caller) | Finding::SharedFailureOf(caller) => match run {
                        Run::Several => (true, run),
                        Run::One(first) if first != caller => (true, Run::Several),
                        Run::One(_) | Run::Unknown => {
                            let is_first = run == Run::Unknown || failures == 0;
                            (is_first && matches!(finding, Finding::FailureOf(_)), Run::One(caller))
                        }
                    },
                };
                match failures.saturating_add(u32::from(counts)).min(FAILURES) {
                    n if counts && n >= limits.failure_threshold => self.open(now, 0, limits),
                    failures => self.to(Phase::Closed { failures, run }),
                }
            }
            Phase::HalfOpen { failed_trials, trial: current } => match finding {
                Finding::Success => self.to(Phase::Closed { failures: 0, run: Run::Unknown }),
                Finding::Failure | Finding::FailureOf(_) | Finding::RateLimited => {
                    self.open(now, failed_trials.saturating_add(1).min(TRIALS), limits)
                }
                // A trial that has expired must not give back the slot of the next one.
                Finding::Neutral | Finding::SharedFailureOf(_) if current == trial => {
                    self.to(Phase::HalfOpen { failed_trials, trial: None })
                }
                Finding::Neutral | Finding::SharedFailureOf(_) => self,
            },
            // No request is let through an open breaker, so no outcome is of its generation.
            Phase::Open { .. } => self,
        }
    }

    fn open(self, now: u64, failed_trials: u8, limits: &Limits) -> Self {
        let grown = limits.open_for as f64 * limits.backoff.powi(failed_trials.into());
        // A cast of a float saturates.
        let open_for = (grown as u64).min(limits.max_open_for).max(limits.open_for);
        self.to(Phase::Open { failed_trials, until: now.saturating_add(open_for).min(TIME) })
    }

    fn to(self, phase: Phase) -> Self {
        let next = Self { phase, ..self };
        let changed = u32::from(next.state().index() != self.state().index());
        Self { phase, generation: self.generation.wrapping_add(changed) & GENERATION }
    }

    /// The word: 2 bits of kind, 18 of generation and 44 of data, which are 20 of failures and 20 of
    /// a caller, or 4 of failed trials and 40 of a time. 2⁴⁰ milliseconds are 34 years.
    pub(super) const fn pack(self) -> u64 {
        let data = match self.phase {
            Phase::Closed { failures, run } => run.pack() << 20 | failures as u64,
            Phase::Open { failed_trials, until } => (failed_trials as u64) << 40 | until,
            Phase::HalfOpen { failed_trials, trial: None } => (failed_trials as u64) << 40,
            // An expiry is at least 1.
            Phase::HalfOpen { failed_trials, trial: Some(expiry) } => (failed_trials as u64) << 40 | expiry,
        };
        (self.state().index() as u64) << 62 | (self.generation as u64) << 44 | data
    }

    pub(super) const fn unpack(word: u64) -> Self {
        let (failed_trials, time) = ((word >> 40) as u8 & TRIALS, word & TIME);
        let phase = match word >> 62 {
            0 => Phase::Closed { failures: word as u32 & FAILURES, run: Run::unpack(word >> 20 & FAILURES as u64) },
            1 if time == 0 => Phase::HalfOpen { failed_trials, trial: None },
            1 => Phase::HalfOpen { failed_trials, trial: Some(time) },
            _ => Phase::Open { failed_trials, until: time },
        };
        Self { phase, generation: (word >> 44) as u32 & GENERATION }
    }
}

const TIME: u64 = (1 << 40) - 1;
const GENERATION: u32 = (1 << 18) - 1;
const FAILURES: u32 = (1 << 20) - 1;
const TRIALS: u8 = (1 << 4) - 1;

#[cfg(test)]
mod tests;
