//! The eight strategies: which of the backends that may be asked is.
//!
//! | name | picks |
//! |---|---|
//! | `random` | uniformly |
//! | `weighted_random` | in proportion to the weight |
//! | `round_robin` | the next in turn |
//! | `least_latency` | the lowest average time to the first byte; one not measured lately comes first |
//! | `failover` | the lowest priority; among equals by weight |
//! | `weighted_failover` | by weight among the healthy; when none is, by weight among all |
//! | `smart_weighted_failover` | by weight, cut down while a backend recovers |
//! | `smart_ai` | mostly the one that has earned the most confidence, sparing the premium ones |

mod draw;
mod failover;
mod least_latency;
mod random;
mod round_robin;
mod smart_ai;
mod smart_weighted;
mod weighted;

use std::{fmt::Debug, sync::Arc};

use rand::Rng;

pub use failover::Failover;
pub use least_latency::LeastLatency;
pub use random::Random;
pub use round_robin::RoundRobin;
pub use smart_ai::SmartAiStrategy;
pub use smart_weighted::SmartWeightedFailover;
pub use weighted::{WeightedFailover, WeightedRandom};

use crate::backend::{Backend, SmartAi, View};

/// A backend that may be asked, and its state when this was found out.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The backend.
    pub backend: &'a Arc<Backend>,
    /// Its state.
    pub view: View,
}

impl<'a> Candidate<'a> {
    /// A backend in a certain state.
    #[must_use]
    pub const fn new(backend: &'a Arc<Backend>, view: View) -> Self {
        Self { backend, view }
    }
}

/// Picks one of the backends that may be asked.
///
/// A strategy decides by the candidates and the random source alone (`round_robin` has its turn
/// besides). It never sees a backend that it may not pick.
///
/// ```
/// use berry_tower::{
///     backend::{Backend, Provider, View},
///     select::strategy::{Candidate, Strategy},
/// };
/// use rand::Rng;
/// use std::sync::Arc;
///
/// /// Always the heaviest.
/// #[derive(Debug)]
/// struct Heaviest;
///
/// impl Strategy for Heaviest {
///     fn name(&self) -> &'static str {
///         "heaviest"
///     }
///     fn pick(&self, candidates: &[Candidate<'_>], _: &mut dyn Rng) -> usize {
///         let weight = |i: &usize| candidates[*i].backend.weight;
///         (0..candidates.len()).max_by(|a, b| weight(a).total_cmp(&weight(b))).unwrap_or(0)
///     }
///     fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
///         let pick = self.pick(candidates, &mut rand::rng());
///         (0..candidates.len()).map(|i| f64::from(u8::from(i == pick))).collect()
///     }
///     fn effective_weight(&self, candidate: &Candidate<'_>) -> f64 {
///         candidate.backend.weight
///     }
/// }
///
/// let provider = Arc::new(Provider::new("local", "http://127.0.0.1:8080").unwrap());
/// let [light, heavy] = [1.0, 2.0].map(|w| Arc::new(Backend::new(provider.clone(), "m").weight(w)));
/// let candidates = [Candidate::new(&light, View::default()), Candidate::new(&heavy, View::default())];
/// assert_eq!(Heaviest.pick(&candidates, &mut rand::rng()), 1);
/// assert_eq!(Heaviest.probabilities(&candidates), [0.0, 1.0]);
/// ```
pub trait Strategy: Send + Sync + Debug {
    /// The name used in the configuration, in logs and in metrics.
    fn name(&self) -> &'static str;

    /// The index of the one to ask. Called with at least one candidate; an index beyond the last
    /// is taken as the last.
    fn pick(&self, candidates: &[Candidate<'_>], rng: &mut dyn Rng) -> usize;

    /// With what probability [`pick`](Self::pick) picks each, now or, for one that takes turns,
    /// in the long run. They add up to 1.
    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64>;

    /// The number by which it weighs a candidate against the others: the very one that
    /// [`pick`](Self::pick) uses. Strategies that weigh nothing have 1.
    fn effective_weight(&self, candidate: &Candidate<'_>) -> f64;

    /// Whether it weighs ill health itself, and wants to see unhealthy candidates too.
    fn weighs_health(&self) -> bool {
        false
    }

    /// Whether it goes by latency: a candidate whose latency is not known is then asked for it by
    /// one request at a time, which holds the candidate's place for a trial.
    fn measures(&self) -> bool {
        false
    }
}

/// The names of the eight.
pub const NAMES: [&str; 8] = [
    "random",
    "weighted_random",
    "round_robin",
    "least_latency",
    "failover",
    "weighted_failover",
    "smart_weighted_failover",
    "smart_ai",
];

/// A new strategy by its name; `tuning` matters to `smart_ai` alone.
///
/// ```
/// use berry_tower::{backend::SmartAi, select::strategy::{NAMES, by_name}};
///
/// for name in NAMES {
///     assert_eq!(by_name(name, &SmartAi::default()).unwrap().name(), name);
/// }
/// assert!(by_name("best", &SmartAi::default()).is_none());
/// ```
#[must_use]
pub fn by_name(name: &str, tuning: &SmartAi) -> Option<Arc<dyn Strategy>> {
    Some(match name {
        "random" => Arc::new(Random),
        "weighted_random" => Arc::new(WeightedRandom),
        "round_robin" => Arc::new(RoundRobin::default()),
        "least_latency" => Arc::new(LeastLatency),
        "failover" => Arc::new(Failover),
        "weighted_failover" => Arc::new(WeightedFailover),
        "smart_weighted_failover" => Arc::new(SmartWeightedFailover),
        "smart_ai" => Arc::new(SmartAiStrategy::new(tuning)),
        _ => return None,
    })
}
