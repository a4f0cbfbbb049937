//! `weighted_random` and `weighted_failover`: by weight, among all or among the healthy.

use super::{
    Candidate, Strategy,
    draw::{draw, shares},
};

/// In proportion to the weight.
#[derive(Clone, Copy, Debug, Default)]
pub struct WeightedRandom;

impl Strategy for WeightedRandom {
    fn name(&self) -> &'static str {
        "weighted_random"
    }

    fn pick(&self, candidates: &[Candidate<'_>], random: &mut dyn FnMut() -> f64) -> usize {
        draw(candidates.len(), |i| Some(self.effective_weight(&candidates[i])), random)
    }

    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        shares(candidates.len(), |i| Some(self.effective_weight(&candidates[i])))
    }

    fn effective_weight(&self, candidate: &Candidate<'_>) -> f64 {
        candidate.backend.weight()
    }
}

/// By weight among the healthy; when none is, by weight among all, whatever their priority.
///
/// A backend that is due for a trial counts as healthy for that one request: one that is never
/// probed would not come back otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct WeightedFailover;

impl WeightedFailover {
    fn weights<'a>(&'a self, candidates: &'a [Candidate<'a>]) -> impl Fn(usize) -> Option<f64> + 'a {
        let well = |c: &Candidate<'_>| c.view.is_healthy() || c.view.due_for_trial;
        let any = candidates.iter().any(well);
        move |i| (!any || well(&candidates[i])).then(|| self.effective_weight(&candidates[i]))
    }
}

impl Strategy for WeightedFailover {
    fn name(&self) -> &'static str {
        "weighted_failover"
    }

    fn pick(&self, candidates: &[Candidate<'_>], random: &mut dyn FnMut() -> f64) -> usize {
        draw(candidates.len(), self.weights(candidates), random)
    }

    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        shares(candidates.len(), self.weights(candidates))
    }

    fn effective_weight(&self, candidate: &Candidate<'_>) -> f64 {
        candidate.backend.weight()
    }
}
