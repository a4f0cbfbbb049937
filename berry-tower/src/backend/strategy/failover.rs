//! `failover`: the first rank takes all, the next ones wait.

use super::{
    Candidate, Strategy,
    draw::{draw, shares},
};

/// The lowest priority; among equals by weight.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failover;

impl Failover {
    fn weights<'a>(&'a self, candidates: &'a [Candidate<'a>]) -> impl Fn(usize) -> Option<f64> + 'a {
        let first = candidates.iter().map(|c| c.backend.priority()).min();
        move |i| (Some(candidates[i].backend.priority()) == first).then(|| self.effective_weight(&candidates[i]))
    }
}

impl Strategy for Failover {
    fn name(&self) -> &'static str {
        "failover"
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
