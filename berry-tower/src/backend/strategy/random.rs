//! `random`: all alike.

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

    fn pick(&self, candidates: &[Candidate<'_>], random: &mut dyn FnMut() -> f64) -> usize {
        draw(candidates.len(), |_| Some(1.0), random)
    }

    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        shares(candidates.len(), |_| Some(1.0))
    }
}
