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
fn late_outcome_neither_closes_nor_counts() {
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
fn rate_limit_keeps_the_failure_count_but_fails_a_trial() {
    let once = settle(Machine::default(), Finding::Failure, 0);
    assert_eq!(settle(once, Finding::RateLimited, 0), once);
    let trial = Machine { phase: Phase::HalfOpen { failed_trials: 0, trial: Some(9) }, generation: 2 };
    assert_eq!(settle(trial, Finding::RateLimited, 7).state(), open_until(107));
    assert_eq!(settle(trial, Finding::Neutral, 7).state(), State::HalfOpen { trial: false });
}

#[test]
fn expired_trial_still_counts_at_its_late_end() {
    let open = Machine { phase: Phase::Open { failed_trials: 0, until: 100 }, generation: 1 };
    let first = open.step(Event::Acquire, 100, &LIMITS);
    assert_eq!(first.admits(129), Admission::Refused { until: None });
    assert_eq!(first.admits(130), Admission::Trial);
    let second = first.step(Event::Acquire, 130, &LIMITS);
    let late =
        |finding| second.step(Event::Settle { generation: first.generation, trial: Some(130), finding }, 140, &LIMITS);
    assert_eq!(late(Finding::Neutral), second, "the slot is the second one's now");
    assert!(late(Finding::Success).state().is_closed());
    assert_eq!(late(Finding::Failure).state(), open_until(240));
}

#[test]
fn open_time_grows_with_each_failed_trial_up_to_its_maximum() {
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
fn failures_of_one_caller_count_once_until_another_caller_fails() {
    let limits = Limits { failure_threshold: 4, ..LIMITS };
    let run = |findings: &[Finding]| {
        findings.iter().fold(Machine::default(), |machine, &finding| settle_by(machine, finding, 0, &limits)).state()
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
fn packs_and_unpacks_any_state() {
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
        /// Failures in a row since it last closed that count for every caller.
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
        fn allows_one_trial_and_opens_at_the_threshold(history in history()) {
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
        fn always_closes_after_good_trials(history in history()) {
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
        fn open_breaker_rejects_until_its_time(history in history(), ask in 0u64..200) {
            let mut world = World::default();
            history.iter().for_each(|step| world.live(step));
            if let State::Open { until } = world.machine.state() {
                let refused = matches!(world.machine.admits(world.now + ask), Admission::Refused { .. });
                prop_assert_eq!(refused, world.now + ask < until);
            }
        }
    }
}
