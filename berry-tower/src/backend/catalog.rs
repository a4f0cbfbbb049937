//! The catalogue: the models that exist and the backends that serve them, replaced as a whole.

use std::{collections::HashMap, fmt, ops::Deref, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;

use super::{definition::Backend, model::Model, state::BackendState, tuning::Tuning};
use crate::{attempt::BackendId, observe::Observer};

/// Returned when models cannot stand together in a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidCatalog {
    /// Two models have this name.
    DuplicateName(Arc<str>),
    /// Two models have this id.
    DuplicateId(Arc<str>),
    /// This is the name of one model and the id of another.
    NameIsOtherId(Arc<str>),
}

impl fmt::Display for InvalidCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateName(name) => write!(f, "two models have the name `{name}`; rename one of them"),
            Self::DuplicateId(id) => write!(f, "two models have the id `{id}`; rename one of them"),
            Self::NameIsOtherId(name) => {
                write!(f, "`{name}` is the name of one model and the id of another; rename one of them")
            }
        }
    }
}

impl std::error::Error for InvalidCatalog {}

/// The models of a catalogue at one moment.
#[derive(Clone, Debug, Default)]
pub struct CatalogSnapshot {
    models: Vec<Arc<Model>>,
    by_name: HashMap<Arc<str>, Arc<Model>, RandomState>,
    states: HashMap<BackendId, Arc<BackendState>>,
    observer: Option<Arc<dyn Observer>>,
}

impl CatalogSnapshot {
    /// The snapshot that has these models, with the states and the observer of this one.
    fn derive(&self, models: Vec<Model>) -> Result<Self, InvalidCatalog> {
        let mut next = Self { observer: self.observer.clone(), ..Self::default() };
        for mut model in models {
            for backend in &mut model.backends {
                let state = next.states.entry(backend.id().clone()).or_insert_with(|| self.state_for(backend));
                if !Arc::ptr_eq(state, backend.state()) {
                    Arc::make_mut(backend).set_state(state.clone());
                }
            }
            if let Some(old) = self.models.iter().find(|old| old.id == model.id) {
                keep_picks(&mut model, old);
            }
            next.add(Arc::new(model))?;
        }
        next.observe();
        Ok(next)
    }

    /// The state that a backend has from now on: the one it had, which begins anew if the provider
    /// has another address or key.
    fn state_for(&self, backend: &Backend) -> Arc<BackendState> {
        let Some(state) = self.states.get(backend.id()) else { return backend.state().clone() };
        let mut backends = self.models.iter().flat_map(|model| &model.backends);
        match backends.find(|old| old.id() == backend.id()) {
            Some(old) if !old.provider().is_same_account(backend.provider()) => {
                let state = Arc::new(state.restarted());
                state.set_label(backend.id());
                state
            }
            _ => state.clone(),
        }
    }

    fn add(&mut self, model: Arc<Model>) -> Result<(), InvalidCatalog> {
        for name in [&model.name, &model.id] {
            if let Some(other) = self.by_name.get(name)
                && !Arc::ptr_eq(other, &model)
            {
                let name = name.clone();
                return Err(match () {
                    () if other.name == name && model.name == name => InvalidCatalog::DuplicateName(name),
                    () if other.id == name && model.id == name => InvalidCatalog::DuplicateId(name),
                    () => InvalidCatalog::NameIsOtherId(name),
                });
            }
            self.by_name.insert(name.clone(), model.clone());
        }
        self.models.push(model);
        Ok(())
    }

    fn observe(&self) {
        if let Some(observer) = &self.observer {
            self.states.iter().for_each(|(id, state)| state.observe(|| observer.backend(id)));
        }
    }

    /// All models, in the order in which they were given.
    #[must_use]
    pub fn models(&self) -> &[Arc<Model>] {
        &self.models
    }

    /// The enabled model of this name or id.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Model>> {
        self.by_name.get(name).filter(|m| m.is_enabled())
    }

    /// The state of every backend, each once however many models share it.
    pub fn states(&self) -> impl Iterator<Item = (&BackendId, &Arc<BackendState>)> {
        self.states.iter()
    }
}

/// Keeps the counts of picks of a model that is replaced, unless another strategy picks now: the
/// counts are reported as the strategy's.
fn keep_picks(model: &mut Model, old: &Model) {
    if model.strategy().name() != old.strategy().name() {
        return;
    }
    for backend in &mut model.backends {
        if let Some(old) = old.backends.iter().find(|old| old.id() == backend.id()) {
            Arc::make_mut(backend).share_picks(old);
        }
    }
}

/// A read guard on the models of a catalogue. Keep it no longer than a request's selection; use
/// [`Catalog::snapshot`] for longer.
pub struct CatalogRef(Guard<Arc<CatalogSnapshot>>);

impl Deref for CatalogRef {
    type Target = CatalogSnapshot;

    fn deref(&self) -> &CatalogSnapshot {
        &self.0
    }
}

impl fmt::Debug for CatalogRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A handle on the models that are served now; clones see the same models.
///
/// Models that list the same provider and model share that backend's state: the state that the
/// first of them brings. [`replace`](Self::replace) is the one way to change the models; each
/// backend that is listed before and after keeps its state, but one whose provider has another
/// address or key begins anew: healthy, with a closed breaker, no cool-down and at least the initial
/// confidence, and with its counters, latencies and times. A catalogue never changes the [`Tuning`] of
/// a state, except by [`retune`](Self::retune).
///
/// ```
/// use berry_tower::backend::{Backend, Catalog, Model, Provider, strategy::Random};
/// use std::sync::Arc;
///
/// let provider = Arc::new(Provider::new("local", "http://127.0.0.1:8080").unwrap());
/// let model = |name: &str| Model::new(name, Arc::new(Random), [Backend::new(provider.clone(), "llama")]);
/// let catalog = Catalog::new([model("fast"), model("cheap")]).unwrap();
/// let (fast, cheap) = (catalog.load().find("fast").unwrap().clone(), catalog.load().find("cheap").unwrap().clone());
/// assert!(Arc::ptr_eq(fast.backends()[0].state(), cheap.backends()[0].state()));
/// assert!(catalog.load().find("dear").is_none());
///
/// assert!(catalog.replace([model("dear"), model("dear")]).is_err());
/// catalog.replace([model("dear")]).unwrap();
/// assert!(catalog.load().find("dear").is_some() && catalog.load().find("fast").is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Catalog(Arc<ArcSwap<CatalogSnapshot>>);

impl Catalog {
    /// Creates a catalogue of these models.
    ///
    /// # Errors
    /// Two models have the same name or id, or the name of one is the id of another.
    pub fn new(models: impl IntoIterator<Item = Model>) -> Result<Self, InvalidCatalog> {
        let catalog = Self::default();
        catalog.replace(models)?;
        Ok(catalog)
    }

    /// Notifies `observer` of what happens to the backends, and to those that are added later. A
    /// backend whose state has an observer already keeps that one.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        let observer = Some(observer);
        self.0.rcu(move |now| CatalogSnapshot { observer: observer.clone(), ..(**now).clone() });
        self.load().observe();
        self
    }

    /// Replaces all models in one atomic step. An attempt in flight finishes with the backend it
    /// has; the next attempt of its request picks among the new models.
    ///
    /// # Errors
    /// As for [`new`](Self::new); then nothing has changed.
    pub fn replace(&self, models: impl IntoIterator<Item = Model>) -> Result<(), InvalidCatalog> {
        let models: Vec<Model> = models.into_iter().collect();
        let mut now = self.0.load_full();
        loop {
            let next = Arc::new(now.derive(models.clone())?);
            let before = self.0.compare_and_swap(&now, next);
            if Arc::ptr_eq(&before, &now) {
                return Ok(());
            }
            // Another thread has replaced the models meanwhile: its states are the ones to keep.
            now = Guard::into_inner(before);
        }
    }

    /// Gives every backend's state another [`Tuning`].
    pub fn retune(&self, tuning: &Tuning) {
        self.load().states().for_each(|(_, state)| state.retune(tuning.clone()));
    }

    /// Creates an independent catalogue that begins with the models of this one and shares the
    /// states of their backends. Replacing the models of either leaves the other as it is.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(ArcSwap::new(self.0.load_full())))
    }

    /// The models at this moment.
    #[must_use]
    pub fn load(&self) -> CatalogRef {
        CatalogRef(self.0.load())
    }

    /// The models at this moment, to keep.
    #[must_use]
    pub fn snapshot(&self) -> Arc<CatalogSnapshot> {
        self.0.load_full()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::{
        backend::{
            Provider,
            strategy::{Failover, Random},
        },
        breaker::BreakerPolicy,
        classify::Class,
    };

    fn backend() -> Backend {
        Backend::new(Arc::new(Provider::new("local", "http://127.0.0.1:8080").unwrap()), "llama")
    }

    fn model(name: &str) -> Model {
        Model::new(name, Arc::new(Random), [backend()])
    }

    fn trips_at_once() -> Tuning {
        let breaker = BreakerPolicy::new().with_failure_threshold(1).with_open_for(Duration::from_secs(9));
        Tuning { breaker, ..Tuning::default() }
    }

    fn opens_after_one_failure(state: &BackendState) -> bool {
        let now = Instant::now();
        state.breaker().try_acquire(now).unwrap().settle(Class::Server, now);
        state.breaker().reopens_in(now).is_some()
    }

    fn state(catalog: &Catalog, name: &str) -> Arc<BackendState> {
        catalog.load().find(name).unwrap().backends()[0].state().clone()
    }

    #[test]
    fn a_fork_continues_the_counts_of_picks_of_each_model() {
        let catalog = Catalog::new(["a", "b"].map(model)).unwrap();
        let pick = |catalog: &Catalog, m: &str| catalog.load().find(m).unwrap().backends()[0].record_pick();
        let picks = |catalog: &Catalog, m: &str| catalog.load().find(m).unwrap().backends()[0].picks();
        (0..3).for_each(|_| pick(&catalog, "a"));
        let next = catalog.fork();
        next.replace(["a", "b"].map(model)).unwrap();
        pick(&catalog, "a");
        assert_eq!(["a", "b"].map(|m| picks(&next, m)), [4, 0]);
        // Picks of another strategy are counted from 0.
        next.replace([Model::new("a", Arc::new(Failover), [backend()])]).unwrap();
        assert_eq!(picks(&next, "a"), 0);
    }

    #[test]
    fn a_fork_leaves_the_models_and_the_tuning_of_its_origin_alone() {
        let catalog = Catalog::new([model("m")]).unwrap();
        let fork = catalog.fork();
        fork.replace([Model::new("other", Arc::new(Random), [backend()])]).unwrap();
        assert!(catalog.load().find("other").is_none() && fork.load().find("m").is_none());
        assert!(Arc::ptr_eq(&state(&catalog, "m"), &state(&fork, "other")));
        assert!(!opens_after_one_failure(&state(&catalog, "m")), "the default threshold is 5");
    }

    #[test]
    fn a_state_of_the_users_own_keeps_its_tuning() {
        let own = Arc::new(BackendState::new(trips_at_once()));
        let backend = backend().with_state(own.clone());
        let _catalog = Catalog::new([Model::new("m", Arc::new(Random), [backend])]).unwrap();
        assert!(opens_after_one_failure(&own));
    }

    #[test]
    fn another_key_or_address_is_a_new_start() {
        let with = |url: &str, key: &str| {
            let provider = Provider::new("local", url).unwrap().with_key(key).unwrap();
            [Model::new("m", Arc::new(Random), [Backend::new(Arc::new(provider), "llama")])]
        };
        let catalog = Catalog::new(with("http://127.0.0.1:1", "wrong")).unwrap();
        catalog.retune(&trips_at_once());
        let now = Instant::now();
        let old = state(&catalog, "m");
        assert!(opens_after_one_failure(&old));
        old.record(Class::Auth, now);
        catalog.replace(with("http://127.0.0.1:1", "wrong")).unwrap();
        assert!(!state(&catalog, "m").view(now).is_healthy(), "nothing was corrected");
        for corrected in [with("http://127.0.0.1:1", "right"), with("http://127.0.0.1:2", "right")] {
            state(&catalog, "m").record(Class::Auth, now);
            catalog.replace(corrected).unwrap();
            let (state, view) = (state(&catalog, "m"), state(&catalog, "m").view(now));
            assert!(view.is_healthy() && view.is_free() && view.confidence >= 0.8, "{view:?}");
            assert!(state.snapshot(now).errors() >= 1, "the counters stay");
        }
        assert!(opens_after_one_failure(&state(&catalog, "m")), "the tuning stays");
    }

    #[test]
    fn retune_reaches_every_state() {
        let catalog = Catalog::new([model("m")]).unwrap();
        catalog.retune(&trips_at_once());
        assert!(opens_after_one_failure(&state(&catalog, "m")));
    }

    #[test]
    fn rejects_models_that_one_name_finds() {
        let refused = |models: [Model; 2]| Catalog::new(models).unwrap_err();
        assert_eq!(refused([model("m"), model("m")]), InvalidCatalog::DuplicateName("m".into()));
        let ids = [model("a").with_id("x"), model("b").with_id("x")];
        assert_eq!(refused(ids), InvalidCatalog::DuplicateId("x".into()));
        let mixed = [model("a").with_id("x"), model("x").with_id("b")];
        assert_eq!(refused(mixed), InvalidCatalog::NameIsOtherId("x".into()));
        assert!(Catalog::new([model("a").with_id("x"), model("b").with_id("y")]).is_ok());
    }

    #[test]
    fn replacements_of_several_threads_lose_no_state() {
        let catalog = Catalog::new([model("m")]).unwrap();
        let kept = state(&catalog, "m");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let catalog = &catalog;
                scope.spawn(move || {
                    for _ in 0..100 {
                        catalog.replace([model("m"), model(&format!("of-{thread}"))]).unwrap();
                    }
                });
            }
        });
        assert!(Arc::ptr_eq(&state(&catalog, "m"), &kept));
    }
}
