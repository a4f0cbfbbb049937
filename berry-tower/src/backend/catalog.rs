//! The catalogue: which models there are and which backends serve them, swapped as a whole.

use std::{collections::HashMap, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;

use super::{Backend, BackendId, BackendState, Tuning};
use crate::{observe::Observer, select::strategy::Strategy};

/// What a gateway does when a committed stream breaks off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamRecovery {
    /// It tells the client.
    #[default]
    Off,
    /// It asks the next backend the same question, and goes on where the answers are equal.
    Replay,
    /// It asks a backend that can to go on from the text that the client has.
    Prefill,
}

/// A model as clients know it: a pool of backends and the strategy that chooses among them.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its id in the configuration; a second name.
    pub id: Arc<str>,
    /// Its public name.
    pub name: Arc<str>,
    /// Off: it does not exist for clients.
    pub enabled: bool,
    /// How a backend is chosen.
    pub strategy: Arc<dyn Strategy>,
    /// Who serves it.
    pub backends: Vec<Arc<Backend>>,
    /// Names of the models to ask when nobody here is left.
    pub fallbacks: Vec<Arc<str>>,
    /// What happens to a committed stream that breaks off.
    pub recovery: StreamRecovery,
    /// What happens to optional fields of a request that a backend's format cannot express.
    pub on_unsupported: OnUnsupported,
}

/// What happens to the optional fields of a request that a backend's format cannot express, such as tools that a
/// provider runs itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUnsupported {
    /// The backend answers without them, and the header `x-berry-dropped` names them.
    #[default]
    Drop,
    /// The backend is passed over.
    Refuse,
}

impl Model {
    /// A model of this name, which is its id too.
    pub fn new(
        name: impl Into<Arc<str>>,
        strategy: Arc<dyn Strategy>,
        backends: impl IntoIterator<Item = Backend>,
    ) -> Self {
        let name = name.into();
        Self {
            id: name.clone(),
            name,
            enabled: true,
            strategy,
            backends: backends.into_iter().map(Arc::new).collect(),
            fallbacks: Vec::new(),
            recovery: StreamRecovery::Off,
            on_unsupported: OnUnsupported::Drop,
        }
    }

    /// Sets the id, where it is not the name.
    #[must_use]
    pub fn id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets the names of the models to ask when nobody here is left.
    #[must_use]
    pub fn fallbacks<T: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.fallbacks = names.into_iter().map(Into::into).collect();
        self
    }
}

/// All models at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    models: Vec<Arc<Model>>,
    by_name: HashMap<Arc<str>, Arc<Model>, RandomState>,
    states: HashMap<BackendId, Arc<BackendState>>,
    observer: Option<Arc<dyn Observer>>,
}

impl Snapshot {
    fn new(models: impl IntoIterator<Item = Model>, tuning: &Tuning, before: &Self) -> Self {
        let mut states: HashMap<BackendId, Arc<BackendState>> = HashMap::new();
        let mut share = |backend: &mut Arc<Backend>| {
            let known = states.entry(backend.id.clone()).or_insert_with(|| {
                let kept = before.states.get(&backend.id).unwrap_or(&backend.state).clone();
                kept.retune(tuning.clone());
                kept
            });
            if !Arc::ptr_eq(known, &backend.state) {
                Arc::make_mut(backend).state = known.clone();
            }
        };
        let mut all = Vec::new();
        for mut model in models {
            model.backends.iter_mut().for_each(&mut share);
            if let Some(old) = before.models.iter().find(|old| old.id == model.id) {
                keep_counting(&mut model, old);
            }
            all.push(Arc::new(model));
        }
        // Names go over ids, whatever the order.
        let ids = all.iter().map(|m| (m.id.clone(), m.clone()));
        let mut by_name: HashMap<_, _, _> = ids.collect();
        by_name.extend(all.iter().map(|m| (m.name.clone(), m.clone())));
        Self { models: all, by_name, states, observer: None }.observed_by(before.observer.clone())
    }

    fn observed_by(mut self, observer: Option<Arc<dyn Observer>>) -> Self {
        if let Some(observer) = &observer {
            self.states.iter().for_each(|(id, states)| states.observe(|| observer.backend(id)));
        }
        self.observer = observer;
        self
    }

    /// All models, in the order in which they were given.
    #[must_use]
    pub fn models(&self) -> &[Arc<Model>] {
        &self.models
    }

    /// The enabled model of this name, or else of this id.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Model>> {
        self.by_name.get(name).filter(|m| m.enabled)
    }

    /// The state of every backend, each once however many models share it.
    pub fn states(&self) -> impl Iterator<Item = (&BackendId, &Arc<BackendState>)> {
        self.states.iter()
    }
}

/// A model that is replaced goes on counting how often its backends were chosen, unless another
/// strategy chooses now: the numbers are told as the strategy's.
fn keep_counting(model: &mut Model, old: &Model) {
    if model.strategy.name() != old.strategy.name() {
        return;
    }
    for backend in &mut model.backends {
        if let Some(old) = old.backends.iter().find(|old| old.id == backend.id)
            && !Arc::ptr_eq(&old.picks, &backend.picks)
        {
            Arc::make_mut(backend).picks = old.picks.clone();
        }
    }
}

/// A handle on the models that are served now; clones see the same ones.
///
/// Models that list the same provider and model share that backend's state, and the state outlives
/// a replacement for every backend that is still listed.
///
/// ```
/// use berry_tower::{backend::{Backend, Catalog, Model, Provider}, select::strategy::Random};
/// use std::sync::Arc;
///
/// let provider = Arc::new(Provider::new("local", "http://127.0.0.1:8080").unwrap());
/// let pool = || [Backend::new(provider.clone(), "llama")];
/// let catalog = Catalog::new([Model::new("fast", Arc::new(Random), pool()), Model::new("cheap", Arc::new(Random), pool())]);
/// let (fast, cheap) = (catalog.load().find("fast").unwrap().clone(), catalog.load().find("cheap").unwrap().clone());
/// assert!(Arc::ptr_eq(&fast.backends[0].state, &cheap.backends[0].state));
/// assert!(catalog.load().find("dear").is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Catalog(Arc<ArcSwap<Snapshot>>);

impl Catalog {
    /// A catalogue of these models, with the default [`Tuning`].
    pub fn new(models: impl IntoIterator<Item = Model>) -> Self {
        Self::tuned(models, &Tuning::default())
    }

    /// A catalogue of these models.
    pub fn tuned(models: impl IntoIterator<Item = Model>, tuning: &Tuning) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Snapshot::new(models, tuning, &Snapshot::default()))))
    }

    /// Tells `observer` of what happens to the backends, and to those that replace them later on.
    /// A backend whose state has an observer already keeps that one.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        let observer = Some(observer);
        self.0.rcu(|now| {
            let (models, by_name, states) = (now.models.clone(), now.by_name.clone(), now.states.clone());
            Snapshot { models, by_name, states, observer: None }.observed_by(observer.clone())
        });
        self
    }

    /// Replaces all models in one step. An attempt under way finishes with what it has; the next
    /// one of its request chooses among the new models.
    pub fn replace(&self, models: impl IntoIterator<Item = Model>, tuning: &Tuning) {
        let next = Snapshot::new(models, tuning, &self.0.load());
        self.0.store(Arc::new(next));
    }

    /// Another catalogue, with the state that this one's backends have; this one stays as it is.
    #[must_use]
    pub fn successor(&self, models: impl IntoIterator<Item = Model>, tuning: &Tuning) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Snapshot::new(models, tuning, &self.0.load()))))
    }

    /// The models at this moment.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::{
        backend::Provider,
        select::strategy::{Failover, Random},
    };

    #[test]
    fn a_successor_goes_on_counting_the_choices_for_each_model_apart() {
        let provider = Arc::new(Provider::new("local", "http://127.0.0.1:8080").unwrap());
        let models = || ["a", "b"].map(|m| Model::new(m, Arc::new(Random), [Backend::new(provider.clone(), "llama")]));
        let catalog = Catalog::new(models());
        let picks = |catalog: &Catalog, m: &str| catalog.load().find(m).unwrap().backends[0].picks.clone();
        picks(&catalog, "a").store(3, Relaxed);
        let next = catalog.successor(models(), &Tuning::default());
        picks(&catalog, "a").fetch_add(1, Relaxed);
        assert_eq!(["a", "b"].map(|m| picks(&next, m).load(Relaxed)), [4, 0]);
        // What another strategy chooses is counted anew.
        let other = Model::new("a", Arc::new(Failover), [Backend::new(provider.clone(), "llama")]);
        let next = next.successor([other], &Tuning::default());
        assert_eq!(picks(&next, "a").load(Relaxed), 0);
    }
}
