//! The breaker's machine under any history of requests, outcomes, probes and waits.

use berry_tower::breaker::{Admission, Event, Limits, Machine, Outcome, State};
use proptest::prelude::*;

const LIMITS: Limits = Limits { failure_threshold: 3, open_for: 100 };

#[derive(Clone, Debug)]
enum Does {
    Ask,
    /// One of the requests under way ends.
    End(prop::sample::Index, Outcome),
    Probe,
    Wait(u64),
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        1 => Just(Outcome::Success),
        3 => Just(Outcome::Failure),
        1 => Just(Outcome::RateLimited),
        1 => Just(Outcome::Neutral)
    ]
}

fn history() -> impl Strategy<Value = Vec<Does>> {
    let one = prop_oneof![
        4 => Just(Does::Ask),
        4 => (any::<prop::sample::Index>(), outcome()).prop_map(|(which, outcome)| Does::End(which, outcome)),
        1 => Just(Does::Probe),
        2 => (0u64..150).prop_map(Does::Wait),
    ];
    prop::collection::vec(one, 0..120)
}

/// A breaker and the requests that it has let through.
#[derive(Default)]
struct World {
    machine: Machine,
    now: u64,
    under_way: Vec<(u32, bool)>,
    /// Failures in a row since it last closed, of requests that began after that.
    row: u32,
}

impl World {
    fn step(&mut self, event: Event) {
        self.machine = self.machine.step(event, self.now, LIMITS);
    }

    fn trials(&self) -> usize {
        self.under_way.iter().filter(|(_, trial)| *trial).count()
    }

    fn live(&mut self, does: &Does) {
        match does {
            Does::Wait(millis) => self.now += millis,
            Does::Probe => self.step(Event::ProbeSucceeded),
            Does::Ask => {
                let admission = self.machine.admits(self.now);
                self.step(Event::Acquire);
                if !matches!(admission, Admission::Refused { .. }) {
                    self.under_way.push((self.machine.generation, admission == Admission::Trial));
                }
            }
            Does::End(which, outcome) if !self.under_way.is_empty() => {
                let (generation, _) = self.under_way.swap_remove(which.index(self.under_way.len()));
                let counts = generation == self.machine.generation && self.machine.state.name() == "closed";
                self.step(Event::Settle { generation, outcome: *outcome });
                match outcome {
                    Outcome::Failure if counts => self.row += 1,
                    Outcome::Success if counts => self.row = 0,
                    _ => {}
                }
            }
            Does::End(..) => {}
        }
        if self.machine.state.name() != "closed" {
            self.row = 0;
        }
    }
}

proptest! {
    #[test]
    fn one_trial_at_most_and_exactly_the_threshold(history in history()) {
        let mut world = World::default();
        for does in &history {
            let (before, row) = (world.machine, world.row);
            world.live(does);
            prop_assert!(world.trials() <= 1);
            prop_assert_eq!(world.trials() == 1, world.machine.state == State::HalfOpen { trial: true });
            if let (State::Closed { .. }, State::Open { until }) = (before.state, world.machine.state) {
                prop_assert_eq!(row + 1, LIMITS.failure_threshold);
                prop_assert_eq!(until, world.now + LIMITS.open_for);
            }
            if let State::Closed { failures } = world.machine.state {
                prop_assert_eq!(failures, world.row);
            }
        }
    }

    #[test]
    fn it_always_closes_again(history in history()) {
        let mut world = World::default();
        history.iter().for_each(|does| world.live(does));
        // Whatever is under way ends without a verdict, and the time of an open one passes.
        for (generation, _) in std::mem::take(&mut world.under_way) {
            world.step(Event::Settle { generation, outcome: Outcome::Neutral });
        }
        world.now += LIMITS.open_for;
        let refused = matches!(world.machine.admits(world.now), Admission::Refused { .. });
        prop_assert!(!refused);
        world.step(Event::Acquire);
        let generation = world.machine.generation;
        world.step(Event::Settle { generation, outcome: Outcome::Success });
        prop_assert_eq!(world.machine.state, State::Closed { failures: 0 });
    }

    #[test]
    fn an_open_one_lets_nothing_through_before_its_time(history in history(), ask in 0u64..200) {
        let mut world = World::default();
        history.iter().for_each(|does| world.live(does));
        if let State::Open { until } = world.machine.state {
            let refused = matches!(world.machine.admits(world.now + ask), Admission::Refused { .. });
            prop_assert_eq!(refused, world.now + ask < until);
        }
    }
}
