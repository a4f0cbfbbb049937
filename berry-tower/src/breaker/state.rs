//! The breaker's state machine: pure, and small enough to be one word.

/// What a breaker does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// All pass.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// None passes.
    Open {
        /// Until when, in milliseconds since the breaker was made.
        until: u64,
    },
    /// One passes at a time.
    HalfOpen {
        /// Whether one is under way.
        trial: bool,
    },
}

impl State {
    /// The name used in logs and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::HalfOpen { .. } => "half_open",
            Self::Open { .. } => "open",
        }
    }

    /// 0 closed, 1 half-open, 2 open: the number that the gauge shows.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Closed { .. } => 0,
            Self::HalfOpen { .. } => 1,
            Self::Open { .. } => 2,
        }
    }
}

/// What an attempt that was let through came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It went well.
    Success,
    /// It tells against the service.
    Failure,
    /// The service asked to slow down: no failure, but no proof of health either.
    RateLimited,
    /// It says nothing about the service.
    Neutral,
}

/// What happens to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A request asks to be let through.
    Acquire,
    /// An attempt that was let through in `generation` has ended.
    Settle {
        /// The machine's generation when the attempt was let through.
        generation: u32,
        /// What came of it.
        outcome: Outcome,
    },
    /// The service answered a probe as it should.
    ProbeSucceeded,
}

/// What a request that asks now is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Admission {
    /// It passes.
    Pass,
    /// It passes as the only trial.
    Trial,
    /// It does not pass; `Some` says when one will again, `None` that a trial is under way.
    Refused {
        /// In milliseconds since the breaker was made.
        until: Option<u64>,
    },
}

/// The numbers that the machine goes by, times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Failures in a row that open it; 0 is taken as 1.
    pub failure_threshold: u32,
    /// How long it stays open.
    pub open_for: u64,
}

/// A state and how many there have been before it.
///
/// The generation tells late outcomes from those that count: a request that began before the
/// breaker opened says nothing about whether it may close.
///
/// ```
/// use berry_tower::breaker::{Event, Limits, Machine, Outcome, State};
///
/// let limits = Limits { failure_threshold: 1, open_for: 60_000 };
/// let failed = Event::Settle { generation: 0, outcome: Outcome::Failure };
/// let open = Machine::default().step(failed, 5, limits);
/// assert_eq!(open.state, State::Open { until: 60_005 });
/// assert_eq!(open.step(Event::Acquire, 60_005, limits).state, State::HalfOpen { trial: true });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    /// The state.
    pub state: State,
    /// Goes up with every change of the kind of state.
    pub generation: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Self { state: State::Closed { failures: 0 }, generation: 0 }
    }
}

impl Machine {
    /// What a request that asks at `now` is told.
    #[must_use]
    pub const fn admits(self, now: u64) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Pass,
            State::Open { until } if now < until => Admission::Refused { until: Some(until) },
            State::Open { .. } | State::HalfOpen { trial: false } => Admission::Trial,
            State::HalfOpen { trial: true } => Admission::Refused { until: None },
        }
    }

    /// The state after `event` at `now`.
    #[must_use]
    pub fn step(self, event: Event, now: u64, limits: Limits) -> Self {
        match (self.state, event) {
            (_, Event::Acquire) => match self.admits(now) {
                Admission::Trial => self.to(State::HalfOpen { trial: true }),
                Admission::Pass | Admission::Refused { .. } => self,
            },
            (State::Open { .. }, Event::ProbeSucceeded) => self.to(State::HalfOpen { trial: false }),
            (_, Event::ProbeSucceeded) => self,
            (_, Event::Settle { generation, .. }) if generation != self.generation => self,
            (State::Closed { failures }, Event::Settle { outcome, .. }) => match outcome {
                Outcome::Success => self.to(State::Closed { failures: 0 }),
                Outcome::Failure => match failures.saturating_add(1) {
                    n if n >= limits.failure_threshold => self.open(now, limits),
                    n => self.to(State::Closed { failures: n }),
                },
                Outcome::RateLimited | Outcome::Neutral => self,
            },
            (State::HalfOpen { .. }, Event::Settle { outcome, .. }) => match outcome {
                Outcome::Success => self.to(State::Closed { failures: 0 }),
                Outcome::Failure | Outcome::RateLimited => self.open(now, limits),
                Outcome::Neutral => self.to(State::HalfOpen { trial: false }),
            },
            // Nobody is let through an open breaker, so no outcome is of its generation.
            (State::Open { .. }, Event::Settle { .. }) => self,
        }
    }

    fn open(self, now: u64, limits: Limits) -> Self {
        self.to(State::Open { until: now.saturating_add(limits.open_for).min(PAYLOAD) })
    }

    fn to(self, state: State) -> Self {
        let changed = u32::from(state.index() != self.state.index());
        Self { state, generation: self.generation.wrapping_add(changed) & GENERATION }
    }

    /// The word: 2 bits of kind, 22 of generation, 40 of failures, deadline or trial. Forty bits
    /// of milliseconds are 34 years.
    pub(super) const fn pack(self) -> u64 {
        let payload = match self.state {
            State::Closed { failures } => failures as u64,
            State::Open { until } => until & PAYLOAD,
            State::HalfOpen { trial } => trial as u64,
        };
        (self.state.index() as u64) << 62 | (self.generation as u64) << 40 | payload
    }

    pub(super) const fn unpack(word: u64) -> Self {
        let payload = word & PAYLOAD;
        let state = match word >> 62 {
            0 => State::Closed { failures: payload as u32 },
            1 => State::HalfOpen { trial: payload != 0 },
            _ => State::Open { until: payload },
        };
        Self { state, generation: (word >> 40) as u32 & GENERATION }
    }
}

const PAYLOAD: u64 = (1 << 40) - 1;
const GENERATION: u32 = (1 << 22) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { failure_threshold: 2, open_for: 100 };

    fn settle(machine: Machine, outcome: Outcome, now: u64) -> Machine {
        machine.step(Event::Settle { generation: machine.generation, outcome }, now, LIMITS)
    }

    #[test]
    fn a_late_outcome_neither_closes_nor_counts() {
        let early = Machine::default();
        let open = settle(settle(early, Outcome::Failure, 0), Outcome::Failure, 0);
        assert_eq!(open.state, State::Open { until: 100 });
        let trial = open.step(Event::Acquire, 100, LIMITS);
        for outcome in [Outcome::Success, Outcome::Failure, Outcome::RateLimited, Outcome::Neutral] {
            let late = Event::Settle { generation: early.generation, outcome };
            assert_eq!(trial.step(late, 101, LIMITS), trial);
            assert_eq!(open.step(late, 50, LIMITS), open);
        }
    }

    #[test]
    fn a_rate_limit_leaves_a_row_of_failures_as_it_is_but_fails_a_trial() {
        let once = settle(Machine::default(), Outcome::Failure, 0);
        assert_eq!(settle(once, Outcome::RateLimited, 0), once);
        let trial = Machine { state: State::HalfOpen { trial: true }, generation: 2 };
        assert_eq!(settle(trial, Outcome::RateLimited, 7).state, State::Open { until: 107 });
        assert_eq!(settle(trial, Outcome::Neutral, 7).state, State::HalfOpen { trial: false });
    }

    #[test]
    fn a_word_holds_any_machine() {
        for generation in [0, 1, GENERATION] {
            for state in [
                State::Closed { failures: 0 },
                State::Closed { failures: u32::MAX },
                State::Open { until: 0 },
                State::Open { until: PAYLOAD },
                State::HalfOpen { trial: false },
                State::HalfOpen { trial: true },
            ] {
                let machine = Machine { state, generation };
                assert_eq!(Machine::unpack(machine.pack()), machine);
            }
        }
    }
}
