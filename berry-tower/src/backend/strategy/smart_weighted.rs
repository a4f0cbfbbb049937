//! `smart_weighted_failover`: by weight, cut down while a backend recovers.

use super::{
    Candidate, Strategy,
    draw::{draw, shares},
};

/// By weight times the factor of the recovery's stage: 10, 30, 50, 100 %.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmartWeightedFailover;

impl Strategy for SmartWeightedFailover {
    fn name(&self) -> &'static str {
        "smart_weighted_failover"
    }

    fn pick(&self, candidates: &[Candidate<'_>], random: &mut dyn FnMut() -> f64) -> usize {
        draw(candidates.len(), |i| Some(self.effective_weight(&candidates[i])), random)
    }

    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        shares(candidates.len(), |i| Some(self.effective_weight(&candidates[i])))
    }

    fn effective_weight(&self, candidate: &Candidate<'_>) -> f64 {
        candidate.backend.weight() * candidate.view.stage.factor()
    }

    fn weighs_health(&self) -> bool {
        true
    }
}
