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
    /// A failure that counts whoever called.
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

/// What a request that asks now is told.
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
    /// Nobody's, or those of callers who are not told apart.
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
/// The generation tells late outcomes from those that count: a request that began before the
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

    /// What a request that asks at `now` is told.
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
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { failure_threshold: 2, open_for: 100, trial_timeout: 30, backoff: 1.0, max_open_for: u64::MAX };
    const FINDINGS: [Finding; 6] = [
        Finding::Success,
        Finding::RateLimited,
        Finding::Neutral,
        Finding::Failure,
        Finding::FailureOf(7),
        Finding::SharedFailureOf(7),
    ];

    fn settle(machine: Machine, finding: Finding, now: u64) -> Machine {
        settle_by(machine, finding, now, &LIMITS)
    }

    fn settle_by(machine: Machine, finding: Finding, now: u64, limits: &Limits) -> Machine {
        let trial = match machine.phase {
            Phase::HalfOpen { trial, .. } => trial,
            _ => None,
        };
        machine.step(Event::Settle { generation: machine.generation, trial, finding }, now, limits)
    }

    fn open_until(until: u64) -> State {
        State::Open { until }
    }

    #[test]
    fn a_late_outcome_neither_closes_nor_counts() {
        let early = Machine::default();
        let open = settle(settle(early, Finding::Failure, 0), Finding::Failure, 0);
        assert_eq!(open.state(), open_until(100));
        let trial = open.step(Event::Acquire, 100, &LIMITS);
        for finding in FINDINGS {
            let late = Event::Settle { generation: early.generation, trial: None, finding };
            assert_eq!(trial.step(late, 101, &LIMITS), trial);
            assert_eq!(open.step(late, 50, &LIMITS), open);
        }
        assert_eq!(open.step(Event::Trip { generation: early.generation }, 50, &LIMITS), open);
    }

    #[test]
    fn a_rate_limit_leaves_a_row_of_failures_as_it_is_but_fails_a_trial() {
        let once = settle(Machine::default(), Finding::Failure, 0);
        assert_eq!(settle(once, Finding::RateLimited, 0), once);
        let trial = Machine { phase: Phase::HalfOpen { failed_trials: 0, trial: Some(9) }, generation: 2 };
        assert_eq!(settle(trial, Finding::RateLimited, 7).state(), open_until(107));
        assert_eq!(settle(trial, Finding::Neutral, 7).state(), State::HalfOpen { trial: false });
    }

    #[test]
    fn a_trial_expires_and_its_late_end_still_counts() {
        let open = Machine { phase: Phase::Open { failed_trials: 0, until: 100 }, generation: 1 };
        let first = open.step(Event::Acquire, 100, &LIMITS);
        assert_eq!(first.admits(129), Admission::Refused { until: None });
        assert_eq!(first.admits(130), Admission::Trial);
        let second = first.step(Event::Acquire, 130, &LIMITS);
        let late = |finding| {
            second.step(Event::Settle { generation: first.generation, trial: Some(130), finding }, 140, &LIMITS)
        };
        assert_eq!(late(Finding::Neutral), second, "the slot is the second one's now");
        assert!(late(Finding::Success).state().is_closed());
        assert_eq!(late(Finding::Failure).state(), open_until(240));
    }

    #[test]
    fn the_open_time_grows_with_each_failed_trial_up_to_its_maximum() {
        let limits = Limits { backoff: 2.0, max_open_for: 350, ..LIMITS };
        let mut machine = Machine::default();
        (0..2).for_each(|_| machine = settle_by(machine, Finding::Failure, 0, &limits));
        let mut now = 0;
        for open_for in [100, 200, 350, 350] {
            assert_eq!(machine.state(), open_until(now + open_for));
            now += open_for;
            machine = settle_by(machine.step(Event::Acquire, now, &limits), Finding::Failure, now, &limits);
        }
        machine = machine.step(Event::Acquire, now + 350, &limits);
        machine = settle_by(machine, Finding::Success, now + 350, &limits);
        (0..2).for_each(|_| machine = settle_by(machine, Finding::Failure, now, &limits));
        assert_eq!(machine.state(), open_until(now + 100), "a success starts anew");
    }

    #[test]
    fn a_burst_of_one_caller_counts_once_until_another_caller_fails_too() {
        let limits = Limits { failure_threshold: 4, ..LIMITS };
        let run = |findings: &[Finding]| {
            findings
                .iter()
                .fold(Machine::default(), |machine, &finding| settle_by(machine, finding, 0, &limits))
                .state()
        };
        let (alice, bob) = (Finding::FailureOf(7), Finding::FailureOf(8));
        assert_eq!(run(&[alice; 9]), State::Closed { failures: 1 });
        assert_eq!(run(&[alice, alice, bob]), State::Closed { failures: 2 });
        assert_eq!(run(&[alice, bob, alice, alice]), open_until(100), "both fail");
        assert_eq!(run(&[alice, bob, Finding::Success, alice, alice]), State::Closed { failures: 1 });
        assert_eq!(run(&[Finding::Failure, Finding::Failure, alice, alice]), State::Closed { failures: 3 });
        let shared = Finding::SharedFailureOf(7);
        assert_eq!(run(&[shared; 9]), State::Closed { failures: 0 }, "the request's own fault");
        assert_eq!(run(&[shared, alice, alice]), State::Closed { failures: 1 });
        assert_eq!(run(&[shared, Finding::SharedFailureOf(8), shared]), State::Closed { failures: 2 });
    }

    #[test]
    fn a_word_holds_any_machine() {
        for generation in [0, 1, GENERATION] {
            for phase in [
                Phase::Closed { failures: 0, run: Run::Unknown },
                Phase::Closed { failures: FAILURES, run: Run::One(FAILURES) },
                Phase::Closed { failures: 1, run: Run::Several },
                Phase::Closed { failures: 1, run: Run::One(crate::caller::LOWEST) },
                Phase::Open { failed_trials: 0, until: 0 },
                Phase::Open { failed_trials: TRIALS, until: TIME },
                Phase::HalfOpen { failed_trials: 0, trial: None },
                Phase::HalfOpen { failed_trials: TRIALS, trial: Some(TIME) },
            ] {
                let machine = Machine { phase, generation };
                assert_eq!(Machine::unpack(machine.pack()), machine);
            }
        }
    }

    /// The machine under any history of requests, outcomes, probes and waits.
    mod histories {
        use proptest::prelude::*;

        use super::*;

        const LIMITS: Limits =
            Limits { failure_threshold: 3, open_for: 100, trial_timeout: 70, backoff: 1.0, max_open_for: u64::MAX };

        #[derive(Clone, Debug)]
        enum Step {
            Request,
            /// One of the requests under way ends.
            End(prop::sample::Index, Finding),
            Probe,
            Wait(u64),
        }

        fn finding() -> impl Strategy<Value = Finding> {
            prop_oneof![
                1 => Just(Finding::Success),
                3 => Just(Finding::Failure),
                1 => (5u32..8).prop_map(Finding::FailureOf),
                1 => (5u32..8).prop_map(Finding::SharedFailureOf),
                1 => Just(Finding::RateLimited),
                1 => Just(Finding::Neutral)
            ]
        }

        fn history() -> impl Strategy<Value = Vec<Step>> {
            let one = prop_oneof![
                4 => Just(Step::Request),
                4 => (any::<prop::sample::Index>(), finding()).prop_map(|(which, finding)| Step::End(which, finding)),
                1 => Just(Step::Probe),
                2 => (0u64..150).prop_map(Step::Wait),
            ];
            prop::collection::vec(one, 0..120)
        }

        /// A breaker and the requests that it has let through.
        #[derive(Default)]
        struct World {
            machine: Machine,
            now: u64,
            under_way: Vec<(u32, Option<u64>)>,
            /// Failures in a row since it last closed that count whoever called.
            row: u32,
            /// The others.
            doubtful: u32,
        }

        impl World {
            fn step(&mut self, event: Event) {
                self.machine = self.machine.step(event, self.now, &LIMITS);
            }

            fn trials(&self) -> usize {
                let live = |(generation, expiry): &&(u32, Option<u64>)| {
                    *generation == self.machine.generation && expiry.is_some_and(|expiry| self.now < expiry)
                };
                self.under_way.iter().filter(live).count()
            }

            fn live(&mut self, step: &Step) {
                match step {
                    Step::Wait(millis) => self.now += millis,
                    Step::Probe => self.step(Event::ProbeSucceeded),
                    Step::Request => {
                        let admission = self.machine.admits(self.now);
                        self.step(Event::Acquire);
                        let trial = match self.machine.phase {
                            Phase::HalfOpen { trial, .. } if admission == Admission::Trial => trial,
                            _ => None,
                        };
                        if !matches!(admission, Admission::Refused { .. }) {
                            self.under_way.push((self.machine.generation, trial));
                        }
                    }
                    Step::End(which, finding) if !self.under_way.is_empty() => {
                        let (generation, trial) = self.under_way.swap_remove(which.index(self.under_way.len()));
                        let counts = generation == self.machine.generation && self.machine.state().is_closed();
                        self.step(Event::Settle { generation, trial, finding: *finding });
                        match finding {
                            Finding::Failure if counts => self.row += 1,
                            Finding::FailureOf(_) | Finding::SharedFailureOf(_) if counts => self.doubtful += 1,
                            Finding::Success if counts => (self.row, self.doubtful) = (0, 0),
                            _ => {}
                        }
                    }
                    Step::End(..) => {}
                }
                if !self.machine.state().is_closed() {
                    (self.row, self.doubtful) = (0, 0);
                }
            }
        }

        proptest! {
            #[test]
            fn one_trial_at_most_and_exactly_the_threshold(history in history()) {
                let mut world = World::default();
                for step in &history {
                    let (before, row, doubtful) = (world.machine.state(), world.row, world.doubtful);
                    world.live(step);
                    prop_assert!(world.trials() <= 1);
                    if let (State::Closed { failures }, State::Open { until }) = (before, world.machine.state()) {
                        prop_assert_eq!(failures + 1, LIMITS.failure_threshold);
                        prop_assert!(row + doubtful + 1 >= LIMITS.failure_threshold);
                        prop_assert_eq!(until, world.now + LIMITS.open_for);
                    }
                    if let State::Closed { failures } = world.machine.state() {
                        prop_assert!((world.row..=world.row + world.doubtful).contains(&failures));
                    }
                }
            }

            #[test]
            fn it_always_closes_again(history in history()) {
                let mut world = World::default();
                history.iter().for_each(|step| world.live(step));
                // Whatever is under way is lost, and the time of an open one passes.
                world.now += LIMITS.open_for;
                let refused = matches!(world.machine.admits(world.now), Admission::Refused { .. });
                prop_assert!(!refused);
                world.step(Event::Acquire);
                let (generation, trial) = (world.machine.generation, match world.machine.phase {
                    Phase::HalfOpen { trial, .. } => trial,
                    _ => None,
                });
                world.step(Event::Settle { generation, trial, finding: Finding::Success });
                prop_assert_eq!(world.machine.state(), State::Closed { failures: 0 });
            }

            #[test]
            fn an_open_one_lets_nothing_through_before_its_time(history in history(), ask in 0u64..200) {
                let mut world = World::default();
                history.iter().for_each(|step| world.live(step));
                if let State::Open { until } = world.machine.state() {
                    let refused = matches!(world.machine.admits(world.now + ask), Admission::Refused { .. });
                    prop_assert_eq!(refused, world.now + ask < until);
                }
            }
        }
    }
}
