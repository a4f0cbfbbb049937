//! The strategies: how a model picks one of the backends that are available to a request.
//!
//! | name | picks |
//! |---|---|
//! | `random` | uniformly |
//! | `weighted_random` | in proportion to the weight |
//! | `round_robin` | the next in turn |
//! | `least_latency` | the lowest average time to the first byte; an unmeasured backend comes first |
//! | `failover` | the lowest priority; among equals by weight |
//! | `weighted_failover` | by weight among the healthy backends; if none is healthy, by weight among all |
//! | `smart_weighted_failover` | by weight, reduced while a backend recovers |
//! | `smart_ai` | mostly the backend with the highest confidence, sparing premium backends |
//!
//! Each has a file of this folder and a row of `TABLE`, by which the configuration, the tests and the simulator find it.
//! A strategy is pure: it decides by its [`Candidate`]s and by the random numbers that it is given.

mod draw;
mod failover;
mod least_latency;
mod random;
mod round_robin;
mod smart_ai;
mod smart_weighted;
mod weighted;

use std::{fmt::Debug, sync::Arc};

pub use failover::Failover;
pub use least_latency::LeastLatency;
pub use random::Random;
pub use round_robin::RoundRobin;
pub use smart_ai::SmartAiStrategy;
pub use smart_weighted::SmartWeightedFailover;
pub use weighted::{WeightedFailover, WeightedRandom};

use super::{definition::Backend, tuning::SmartAi, view::View};

/// A backend that is available to a request, and its state when that was determined.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// The backend.
    pub backend: &'a Arc<Backend>,
    /// Its state.
    pub view: View,
}

impl<'a> Candidate<'a> {
    /// Creates a candidate from a backend and its state.
    #[must_use]
    pub const fn new(backend: &'a Arc<Backend>, view: View) -> Self {
        Self { backend, view }
    }
}

/// Picks one of the backends that are available to a request.
///
/// A strategy decides by the candidates and the random numbers alone (`round_robin` also keeps its
/// turn). Backends that must not be picked are never among the candidates.
///
/// ```
/// use berry_tower::backend::{Backend, Provider, View, strategy::{Candidate, Strategy}};
/// use std::sync::Arc;
///
/// /// Picks the backend with the highest weight.
/// #[derive(Debug)]
/// struct Heaviest;
///
/// impl Strategy for Heaviest {
///     fn name(&self) -> &'static str {
///         "heaviest"
///     }
///     fn pick(&self, candidates: &[Candidate<'_>], _: &mut dyn FnMut() -> f64) -> usize {
///         let weight = |i: &usize| candidates[*i].backend.weight();
///         (0..candidates.len()).max_by(|a, b| weight(a).total_cmp(&weight(b))).unwrap_or(0)
///     }
///     fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
///         let pick = self.pick(candidates, &mut || 0.0);
///         (0..candidates.len()).map(|i| f64::from(u8::from(i == pick))).collect()
///     }
/// }
///
/// let provider = Arc::new(Provider::new("local", "http://127.0.0.1:8080").unwrap());
/// let [light, heavy] = [1.0, 2.0].map(|w| Arc::new(Backend::new(provider.clone(), "m").with_weight(w)));
/// let candidates = [Candidate::new(&light, View::default()), Candidate::new(&heavy, View::default())];
/// assert_eq!(Heaviest.pick(&candidates, &mut || 0.0), 1);
/// assert_eq!(Heaviest.probabilities(&candidates), [0.0, 1.0]);
/// ```
pub trait Strategy: Send + Sync + Debug {
    /// The name used in the configuration, in logs and in metrics.
    fn name(&self) -> &'static str;

    /// Returns the index of the candidate to use. `random` returns uniformly distributed numbers in
    /// `0.0..1.0`.
    ///
    /// There is always at least one candidate. An index past the end selects the last candidate.
    fn pick(&self, candidates: &[Candidate<'_>], random: &mut dyn FnMut() -> f64) -> usize;

    /// Returns the probability with which [`pick`](Self::pick) picks each candidate: now or, for a
    /// strategy that takes turns, in the long run. The probabilities add up to 1.
    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64>;

    /// Returns the number by which [`pick`](Self::pick) weighs a candidate against the others, 1 by
    /// default.
    fn effective_weight(&self, _candidate: &Candidate<'_>) -> f64 {
        1.0
    }

    /// Whether the strategy weighs health itself, and is offered unhealthy candidates too.
    fn weighs_health(&self) -> bool {
        false
    }

    /// Whether the strategy needs each candidate's time to the first byte. A candidate without a
    /// measurement is then measured by one request at a time, which occupies the candidate's trial slot.
    fn measures_latency(&self) -> bool {
        false
    }
}

/// A strategy's name, and its constructor. Only `smart_ai` reads the parameters.
type Row = (&'static str, fn(&SmartAi) -> Arc<dyn Strategy>);

/// The strategies, in the order of [`NAMES`].
const TABLE: [Row; 8] = [
    ("random", |_| Arc::new(Random)),
    ("weighted_random", |_| Arc::new(WeightedRandom)),
    ("round_robin", |_| Arc::new(RoundRobin::default())),
    ("least_latency", |_| Arc::new(LeastLatency)),
    ("failover", |_| Arc::new(Failover)),
    ("weighted_failover", |_| Arc::new(WeightedFailover)),
    ("smart_weighted_failover", |_| Arc::new(SmartWeightedFailover)),
    ("smart_ai", |tuning| Arc::new(SmartAiStrategy::new(tuning))),
];

/// The names of the strategies.
pub const NAMES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = TABLE[i].0;
        i += 1;
    }
    names
};

/// Creates a strategy by its name; only `smart_ai` reads `tuning`.
///
/// ```
/// use berry_tower::{backend::{SmartAi, strategy::{NAMES, by_name}}};
///
/// for name in NAMES {
///     assert_eq!(by_name(name, &SmartAi::default()).unwrap().name(), name);
/// }
/// assert!(by_name("best", &SmartAi::default()).is_none());
/// ```
#[must_use]
pub fn by_name(name: &str, tuning: &SmartAi) -> Option<Arc<dyn Strategy>> {
    TABLE.iter().find(|(known, _)| *known == name).map(|(_, create)| create(tuning))
}
