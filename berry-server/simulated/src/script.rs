//! Selects the behaviour of a request: that of the script, of the model's name, or of the provider.

use super::fault::{Behavior, Scope};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A sequence of behaviours. Each applies until its `times` are used up.
#[derive(Debug, Default)]
pub(super) struct Script(Vec<Step>);

/// A behaviour with the number of requests that it was considered for and applied to.
#[derive(Debug)]
pub(super) struct Step {
    behavior: Arc<Behavior>,
    ticks: Ticks,
    used: AtomicU64,
}

/// Counts requests and selects a percentage of them, evenly and deterministically.
#[derive(Debug, Default)]
pub(super) struct Ticks(AtomicU64);

/// The decision of a step for one request.
enum Decision {
    /// The behaviour applies.
    Mine(Arc<Behavior>),
    /// The step does not apply to this request, and the next step decides.
    Pass,
    /// The step applies, but the percentage excludes this request.
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

    fn turn(&self, scope: Scope) -> Decision {
        if self.behavior.scope != scope && self.behavior.scope != Scope::Everything {
            return Decision::Pass;
        }
        let left = |used| (self.behavior.times.is_none_or(|times| used < times)).then_some(used + 1);
        if left(self.used.load(Relaxed)).is_none() {
            return Decision::Pass;
        }
        if !self.ticks.strikes(self.behavior.percent) {
            return Decision::Spared;
        }
        match self.used.fetch_update(Relaxed, Relaxed, left) {
            Ok(_) => Decision::Mine(Arc::clone(&self.behavior)),
            Err(_) => Decision::Pass,
        }
    }

    /// Returns the behaviour if it applies to this request.
    pub(super) fn behavior(&self, scope: Scope) -> Option<Arc<Behavior>> {
        match self.turn(scope) {
            Decision::Mine(behavior) => Some(behavior),
            Decision::Pass | Decision::Spared => None,
        }
    }
}

impl Script {
    pub(super) fn new(behaviors: impl IntoIterator<Item = Behavior>, seed: u64) -> Self {
        let step = |behavior| Step::new(behavior, seed);
        Self(behaviors.into_iter().map(step).collect())
    }

    /// Returns the behaviour of the next request of the given scope.
    pub(super) fn next(&self, scope: Scope) -> Option<Arc<Behavior>> {
        for step in &self.0 {
            match step.turn(scope) {
                Decision::Mine(behavior) => return Some(behavior),
                Decision::Spared => return None,
                Decision::Pass => {}
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
    fn each_step_applies_to_its_number_of_requests() {
        let script = Script::new([Fault::Status(500).once(), Behavior::healthy().times(2), Fault::Reset.into()], 0);
        let seen: Vec<_> = (0..5).map(|_| script.next(Scope::Answers).unwrap().faults.clone()).collect();
        assert_eq!(seen, [vec![Fault::Status(500)], vec![], vec![], vec![Fault::Reset], vec![Fault::Reset]]);
    }

    #[test]
    fn percentage_applies_to_exactly_that_share() {
        for percent in 0..=100 {
            for seed in [0, 7, 12_345] {
                let ticks = Ticks::seeded(seed);
                let struck = (0..100).filter(|_| ticks.strikes(percent)).count();
                assert_eq!(struck, usize::from(percent), "seed {seed}");
            }
        }
    }

    #[test]
    fn model_scope_does_not_apply_to_lists() {
        let script = Script::new([Fault::Reset.into(), Fault::Silent.on(Scope::Lists)], 0);
        let next = |scope| script.next(scope).unwrap().faults.clone();
        assert_eq!(next(Scope::Lists), [Fault::Silent]);
        assert_eq!(next(Scope::Answers), [Fault::Reset]);
    }

    #[test]
    fn count_includes_only_affected_requests() {
        let script = Script::new([Fault::Reset.percent(50).times(3)], 0);
        let struck = (0..20).filter(|_| script.next(Scope::Answers).is_some());
        assert_eq!(struck.count(), 3);
    }
}
