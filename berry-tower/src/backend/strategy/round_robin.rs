//! `round_robin`: the next in turn.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Candidate, Strategy};

const TURNS: usize = 32;

/// The next in turn: of any run of picks among the same candidates each gets the same number.
///
/// Each set of candidates has a turn of its own. With a single one, a retry among those that are
/// left would move on the turn of the next request: of two backends, one that always fails would
/// be asked first every time.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turns: [AtomicUsize; TURNS],
}

impl RoundRobin {
    fn turn(&self, candidates: &[Candidate<'_>]) -> &AtomicUsize {
        let mix = |hash: u64, c: &Candidate<'_>| {
            (hash.rotate_left(5) ^ c.backend.fingerprint()).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        };
        // The upper bits are the well mixed ones; two sets that meet in one turn share it.
        &self.turns[(candidates.iter().fold(0, mix) >> 59) as usize % TURNS]
    }
}

impl Strategy for RoundRobin {
    fn name(&self) -> &'static str {
        "round_robin"
    }

    fn pick(&self, candidates: &[Candidate<'_>], _: &mut dyn FnMut() -> f64) -> usize {
        match candidates.len() {
            0 => 0,
            n => self.turn(candidates).fetch_add(1, Ordering::Relaxed) % n,
        }
    }

    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        vec![1.0 / candidates.len() as f64; candidates.len()]
    }
}
