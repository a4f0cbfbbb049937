//! What a run is made of.

use std::{sync::Arc, time::Duration};

use berry_tower::{
    backend::{
        Backend, Catalog, Model, PREMIUM, Provider, Tuning, View,
        strategy::{Candidate, by_name},
    },
    probe::Settings,
    retry::BackoffPolicy,
};
use tokio::runtime;

use super::{Run, Site, engine::Engine};

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The strategy's name.
    pub strategy: String,
    /// The pool.
    pub sites: Vec<Site>,
    /// How long requests come.
    pub length: Duration,
    /// How many come a second, on average; they come independently of each other.
    pub rate: f64,
    /// All chance comes from this.
    pub seed: u64,
    /// How backends are probed, if they are.
    pub probes: Option<Settings>,
    /// The numbers of the backends' state.
    pub tuning: Tuning,
    /// Whether and when a failed attempt is followed by another.
    pub plan: BackoffPolicy,
}

/// The name of the one model.
pub(super) const MODEL: &str = "model";

impl Setup {
    /// Ten requests a second over a pool, with the gateway's defaults.
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

    /// The same with another seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Runs it to its end.
    ///
    /// The clock of tokio is held while it runs: the states of the backends and the engine begin at
    /// the same instant, however busy the machine is, and the run depends on the seed alone.
    ///
    /// # Panics
    /// There is no such strategy, or this is called on a thread of a runtime.
    #[must_use]
    pub fn run(&self) -> Run {
        let held = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        held.expect("a runtime without sockets").block_on(async { Engine::new(self).run() })
    }

    /// What share of the requests each site gets when all are well and have earned full trust.
    ///
    /// # Panics
    /// There is no such strategy.
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

    /// The pool as the gateway knows it. Each site is a provider of its own.
    pub(super) fn catalog(&self) -> Catalog {
        let strategy = by_name(&self.strategy, &self.tuning.smart_ai).expect("a strategy of this name");
        let backends = self.sites.iter().map(|site| {
            let provider = Provider::new(site.name.as_str(), "http://127.0.0.1:9").expect("a good address");
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
