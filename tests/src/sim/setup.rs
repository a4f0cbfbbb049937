//! The parameters of a run.

use std::{sync::Arc, time::Duration};

use berry_tower::{
    backend::{
        Backend, Catalog, Model, PREMIUM, Provider, Tuning, View,
        strategy::{Candidate, by_name},
    },
    probe::Settings,
    retry::BackoffPolicy,
};

use super::{Run, Site, engine::Engine};

/// The parameters of a run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The strategy's name.
    pub strategy: String,
    /// The pool.
    pub sites: Vec<Site>,
    /// The length of the run, during which requests arrive.
    pub length: Duration,
    /// The mean number of requests per second. Arrivals are independent of each other.
    pub rate: f64,
    /// The seed of all randomness.
    pub seed: u64,
    /// The settings of the probes; `None` disables them.
    pub probes: Option<Settings>,
    /// The parameters of breaker, health and confidence.
    pub tuning: Tuning,
    /// The retry policy.
    pub plan: BackoffPolicy,
}

/// The name of the only model.
pub(super) const MODEL: &str = "model";

impl Setup {
    /// Returns a run of ten requests per second with the gateway's defaults.
    #[must_use]
    pub fn new(strategy: &str, sites: Vec<Site>, length: Duration) -> Self {
        Self {
            strategy: strategy.to_owned(),
            sites,
            length,
            rate: 10.0,
            seed: 1,
            probes: Some(Settings::default()),
            tuning: Tuning::default(),
            plan: BackoffPolicy::default(),
        }
    }

    /// Sets the seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Runs the simulation to its end.
    ///
    /// The clock of tokio is held while it runs: the states of the backends and the engine begin at
    /// the same instant, however busy the machine is, and the run depends on the seed alone.
    ///
    /// # Panics
    /// Panics when the strategy is unknown, or on a thread of an async runtime.
    #[must_use]
    pub fn run(&self) -> Run {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime without sockets").block_on(async { Engine::new(self).run() })
    }

    /// Returns the share of requests that each site gets when all sites are healthy and have full
    /// confidence.
    ///
    /// # Panics
    /// Panics when the strategy is unknown.
    #[must_use]
    pub fn fair_shares(&self) -> Vec<f64> {
        let catalog = self.catalog();
        let snapshot = catalog.load();
        let model = &snapshot.models()[0];
        let latency = |i: usize| Some(self.sites[i].median);
        let candidates: Vec<_> = (model.backends().iter().enumerate())
            .map(|(i, b)| Candidate::new(b, View { confidence: 1.0, latency: latency(i), ..View::default() }))
            .collect();
        model.strategy().probabilities(&candidates)
    }

    /// Returns the catalog of the pool, with a provider per site.
    pub(super) fn catalog(&self) -> Catalog {
        let strategy = by_name(&self.strategy, &self.tuning.smart_ai).expect("a strategy of this name");
        let backends = self.sites.iter().map(|site| {
            let provider = Provider::new(site.name.as_str(), "http://127.0.0.1:9").expect("a valid URL");
            let tags = site.premium.then_some(PREMIUM);
            Backend::new(Arc::new(provider), "model")
                .with_weight(site.weight)
                .with_priority(site.priority)
                .with_tags(tags)
        });
        let catalog = Catalog::new([Model::new(MODEL, strategy, backends)]).expect("one model");
        catalog.retune(&self.tuning);
        catalog
    }
}
