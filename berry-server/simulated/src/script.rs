//! Which behaviour the next request gets: the script's, else its model name's, else the provider's.

use super::fault::{Behavior, Scope};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Behaviours in turn: each until its `times` are used up, then the next, then none.
#[derive(Debug, Default)]
pub(super) struct Script(Vec<Step>);

/// One behaviour and how often it has been asked for and used.
#[derive(Debug)]
pub(super) struct Step {
    behavior: Arc<Behavior>,
    ticks: Ticks,
    used: AtomicU64,
}

/// Counts requests and says which of them a percentage strikes: evenly spread, the same each time.
#[derive(Debug, Default)]
pub(super) struct Ticks(AtomicU64);

/// What a step says to one request.
enum Turn {
    /// This is the behaviour.
    Mine(Arc<Behavior>),
    /// Not for this request: ask the next step.
    Pass,
    /// For this request, but spared by the percentage.
    Spared,
}

impl Ticks {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed % 100))
    }

    pub(super) fn strikes(&self, percent: u8) -> bool {
        if percent >= 100 {
            return true;
        }
        let tick = self.0.fetch_add(1, Relaxed) % 100;
        let percent = u64::from(percent);
        (tick + 1) * percent / 100 > tick * percent / 100
    }
}

impl Step {
    pub(super) fn new(behavior: Behavior, seed: u64) -> Self {
        Self { behavior: Arc::new(behavior), ticks: Ticks::seeded(seed), used: AtomicU64::new(0) }
    }

    fn turn(&self, scope: Scope) -> Turn {
        if self.behavior.scope != scope && self.behavior.scope != Scope::Everything {
            return Turn::Pass;
        }
        let left = |used| (self.behavior.times.is_none_or(|times| used < times)).then_some(used + 1);
        if left(self.used.load(Relaxed)).is_none() {
            return Turn::Pass;
        }
        if !self.ticks.strikes(self.behavior.percent) {
            return Turn::Spared;
        }
        match self.used.fetch_update(Relaxed, Relaxed, left) {
            Ok(_) => Turn::Mine(Arc::clone(&self.behavior)),
            Err(_) => Turn::Pass,
        }
    }

    /// The behaviour, if it is for this request.
    pub(super) fn behavior(&self, scope: Scope) -> Option<Arc<Behavior>> {
        match self.turn(scope) {
            Turn::Mine(behavior) => Some(behavior),
            Turn::Pass | Turn::Spared => None,
        }
    }
}

impl Script {
    pub(super) fn new(behaviors: impl IntoIterator<Item = Behavior>, seed: u64) -> Self {
        let step = |behavior| Step::new(behavior, seed);
        Self(behaviors.into_iter().map(step).collect())
    }

    /// The behaviour for the next request of this scope.
    pub(super) fn next(&self, scope: Scope) -> Option<Arc<Behavior>> {
        for step in &self.0 {
            match step.turn(scope) {
                Turn::Mine(behavior) => return Some(behavior),
                Turn::Spared => return None,
                Turn::Pass => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    #[test]
    fn each_step_lasts_as_long_as_it_says() {
        let script = Script::new([Fault::Status(500).once(), Behavior::healthy().times(2), Fault::Reset.into()], 0);
        let seen: Vec<_> = (0..5).map(|_| script.next(Scope::Answers).unwrap().faults.clone()).collect();
        assert_eq!(seen, [vec![Fault::Status(500)], vec![], vec![], vec![Fault::Reset], vec![Fault::Reset]]);
    }

    #[test]
    fn a_percentage_strikes_exactly_so_many_of_a_hundred() {
        for percent in 0..=100 {
            for seed in [0, 7, 12_345] {
                let ticks = Ticks::seeded(seed);
                let struck = (0..100).filter(|_| ticks.strikes(percent)).count();
                assert_eq!(struck, usize::from(percent), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_list_is_not_touched_by_what_is_meant_for_answers() {
        let script = Script::new([Fault::Reset.into(), Fault::Silent.on(Scope::Lists)], 0);
        let next = |scope| script.next(scope).unwrap().faults.clone();
        assert_eq!(next(Scope::Lists), [Fault::Silent]);
        assert_eq!(next(Scope::Answers), [Fault::Reset]);
    }

    #[test]
    fn a_step_with_a_count_and_a_percentage_counts_what_it_struck() {
        let script = Script::new([Fault::Reset.percent(50).times(3)], 0);
        let struck = (0..20).filter(|_| script.next(Scope::Answers).is_some());
        assert_eq!(struck.count(), 3);
    }
}
