//! `random`: all alike.

use rand::Rng;

use super::{
    Candidate, Strategy,
    draw::{draw, shares},
};

/// All alike.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Strategy for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn pick(&self, candidates: &[Candidate<'_>], rng: &mut dyn Rng) -> usize {
        draw(candidates.len(), |_| Some(1.0), rng)
    }

    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        shares(candidates.len(), |_| Some(1.0))
    }

    fn effective_weight(&self, _: &Candidate<'_>) -> f64 {
        1.0
    }
}
