//! `least_latency`: the one that has answered soonest.

use std::time::Duration;

use super::{
    Candidate, Strategy,
    draw::{draw, shares},
};

/// The lowest average time to the first byte; ties go to the fewest requests under way.
///
/// A candidate whose latency is not known comes first, by one request at a time: none starves
/// for want of a measurement, and none is flooded before there is one.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLatency;

/// Where a candidate stands in the queue.
type Place = (u8, Duration, u32);

fn place(candidate: &Candidate<'_>) -> Place {
    let view = &candidate.view;
    let (rank, latency) = match view.latency {
        None if view.trial_free => (0, Duration::ZERO),
        Some(latency) => (1, latency),
        None => (2, Duration::ZERO),
    };
    (rank, latency, view.in_flight)
}

impl LeastLatency {
    fn weights<'a>(&'a self, candidates: &'a [Candidate<'a>]) -> impl Fn(usize) -> Option<f64> + 'a {
        let first = candidates.iter().map(place).min();
        move |i| (Some(place(&candidates[i])) == first).then(|| self.effective_weight(&candidates[i]))
    }
}

impl Strategy for LeastLatency {
    fn name(&self) -> &'static str {
        "least_latency"
    }

    fn pick(&self, candidates: &[Candidate<'_>], random: &mut dyn FnMut() -> f64) -> usize {
        draw(candidates.len(), self.weights(candidates), random)
    }

    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        shares(candidates.len(), self.weights(candidates))
    }

    fn measures_latency(&self) -> bool {
        true
    }
}
