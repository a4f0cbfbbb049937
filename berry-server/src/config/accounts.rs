//! From checked tables to what limits are counted with: accounts and prices.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    sync::Arc,
};

use berry_tower::{
    backend::BackendId,
    spend::{Account, Prices, Subject},
};

use super::{
    Config, User,
    file::{Backend, RateLimit},
    limits::Limits,
};

/// The teams of a configuration, with their parents.
#[derive(Debug, Default)]
pub(crate) struct Teams(HashMap<String, TeamChain>);

/// A team and its parents, as far as their members need to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct TeamChain {
    /// The team, its parent, and so on.
    pub(crate) subjects: Vec<Arc<Subject>>,
    /// The lists of models, each of which must hold a model that a member calls.
    pub(crate) models: Vec<Arc<HashSet<String>>>,
    /// Whether all of them are enabled.
    pub(crate) is_enabled: bool,
}

impl Teams {
    /// Builds the teams of a configuration that has passed its checks.
    pub(crate) fn new(config: &Config) -> Self {
        let name = |model: &str| public_name(config, model);
        let subject = |(id, team): (&String, &super::Team)| {
            let subject = Subject::new("team", id.as_str()).with_limits(team.limits.to_spend(&name));
            (id.clone(), Arc::new(subject))
        };
        let subjects: HashMap<String, Arc<Subject>> = config.teams.iter().map(subject).collect();
        let chain = |id: &String| {
            let mut chain = TeamChain { is_enabled: true, ..TeamChain::default() };
            let mut next = Some(id);
            while let Some((id, team)) = next.and_then(|id| config.teams.get_key_value(id)) {
                if chain.subjects.len() > config.teams.len() {
                    break;
                }
                chain.is_enabled &= team.enabled;
                chain.subjects.extend(subjects.get(id).cloned());
                if !team.models.is_empty() {
                    chain.models.push(Arc::new(team.models.iter().cloned().collect()));
                }
                next = team.parent.as_ref();
            }
            (id.clone(), chain)
        };
        Self(config.teams.keys().map(chain).collect())
    }

    /// Returns a team with its parents.
    pub(crate) fn get(&self, id: &str) -> Option<&TeamChain> {
        self.0.get(id)
    }

    /// Returns the user's team with its parents; an enabled chain without limits if the user has no team.
    pub(crate) fn of(&self, user: &User) -> TeamChain {
        let no_team = || TeamChain { is_enabled: true, ..TeamChain::default() };
        user.team.as_ref().and_then(|team| self.get(team)).map_or_else(no_team, Clone::clone)
    }
}

/// Returns those whom a user's requests are counted for.
pub(crate) fn account(config: &Config, id: &str, user: &User, team: &TeamChain) -> Account {
    let mut limits = user.limits.clone();
    // Replicas that share a store share the old limits, too.
    if config.store.is_some() {
        add_rate_limit(&mut limits, &user.rate_limit);
    }
    let limits = limits.to_spend(&|model| public_name(config, model));
    let own = Arc::new(Subject::new("user", id).with_limits(limits));
    Account::new([own].into_iter().chain(team.subjects.iter().cloned()))
}

fn add_rate_limit(limits: &mut Limits, old: &RateLimit) {
    let or = |new: &mut Option<u64>, old: Option<NonZeroU32>| *new = new.or(old.map(|old| u64::from(old.get())));
    or(&mut limits.requests_per_minute, old.requests_per_minute);
    or(&mut limits.requests_per_hour, old.requests_per_hour);
    or(&mut limits.requests_per_day, old.requests_per_day);
    or(&mut limits.max_concurrent_requests, old.max_concurrent_requests);
}

fn public_name(config: &Config, model: &str) -> String {
    config.models.get(model).map_or_else(|| model.to_owned(), |model| model.name.clone())
}

pub(super) fn backend_id(backend: &Backend) -> BackendId {
    BackendId { provider: backend.provider.as_str().into(), model: backend.model.as_str().into() }
}

/// Returns the prices of a configuration.
pub(crate) fn prices(config: &Config) -> Prices {
    let mut prices = Prices::new();
    for (name, price) in &config.prices {
        prices = prices.with(name.as_str(), price.clone());
    }
    for model in config.models.values() {
        for backend in model.backends.iter().filter(|backend| backend.enabled) {
            prices = prices.with_backend(model.name.as_str(), backend_id(backend), backend.price.clone());
        }
    }
    prices
}
