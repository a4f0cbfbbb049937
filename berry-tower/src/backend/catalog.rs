//! The catalogue: the models that exist and the backends that serve them, replaced as a whole.

use std::{collections::HashMap, fmt, ops::Deref, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;

use super::{definition::Backend, state::BackendState, strategy::Strategy, tuning::Tuning};
use crate::{attempt::BackendId, dialect::Seal, named::named_enum, observe::Observer};

named_enum! {
    /// What happens to a stream that is cut after its head has gone to the client.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum StreamRecovery {
        /// It ends with an error event.
        #[default]
        Off = "off",
        /// Another backend answers the same request anew; what the client already has is skipped.
        Replay = "replay",
        /// Another backend that supports it continues from the text that the client has.
        Prefill = "prefill",
    }
}

named_enum! {
    /// What happens to the optional fields of a request that a backend's format cannot express, such
    /// as tools that a provider runs itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum OnUnsupported {
        /// The backend answers without them, and the header `x-berry-dropped` names them.
        #[default]
        Drop = "drop",
        /// The backend is passed over.
        Refuse = "refuse",
    }
}

named_enum! {
    /// The name of the model in responses.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum AnswerModel {
        /// The provider's own, so that the bytes of a response pass as they are.
        #[default]
        Backend = "backend",
        /// The public name of the model that has answered.
        Public = "public",
    }
}

named_enum! {
    /// Whether a caller needs permission for the fallbacks of a model.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum FallbackPermission {
        /// A caller who may use the model may use its fallbacks.
        #[default]
        Inherit = "inherit",
        /// A caller whose own request leads to a fallback, since it is too long or has a part that the
        /// model's backends cannot express, must be permitted to use that fallback too.
        Required = "required",
    }
}

/// A model as clients know it: a pool of backends and the strategy that picks one of them.
#[derive(Clone, Debug)]
pub struct Model {
    id: Arc<str>,
    name: Arc<str>,
    enabled: bool,
    strategy: Arc<dyn Strategy>,
    backends: Vec<Arc<Backend>>,
    fallbacks: Vec<Arc<str>>,
    stream_recovery: StreamRecovery,
    on_unsupported: OnUnsupported,
    /// What seals and opens the reasoning that its backends sign.
    #[cfg_attr(not(feature = "select"), expect(dead_code, reason = "only a selection gives them to a conversation"))]
    seals: Arc<[Seal]>,
    answer_model: AnswerModel,
    fallback_permission: FallbackPermission,
}

impl Model {
    /// Creates a model whose id is its name.
    pub fn new(
        name: impl Into<Arc<str>>,
        strategy: Arc<dyn Strategy>,
        backends: impl IntoIterator<Item = Backend>,
    ) -> Self {
        let name = name.into();
        let backends: Vec<_> = backends.into_iter().map(Arc::new).collect();
        let seals = backends.iter().map(|backend: &Arc<Backend>| backend.seal()).collect();
        Self {
            seals,
            id: name.clone(),
            name,
            enabled: true,
            strategy,
            backends,
            fallbacks: Vec::new(),
            stream_recovery: StreamRecovery::Off,
            on_unsupported: OnUnsupported::Drop,
            answer_model: AnswerModel::Backend,
            fallback_permission: FallbackPermission::Inherit,
        }
    }

    /// Sets the id, a second name under which the model is found.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = id.into();
        self
    }

    /// Enables or disables the model. A disabled model does not exist for clients.
    #[must_use]
    pub const fn with_enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Sets the names of the models to use, in order, when none of the backends is left.
    #[must_use]
    pub fn with_fallbacks<T: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.fallbacks = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets what happens to a stream that is cut.
    #[must_use]
    pub const fn with_stream_recovery(mut self, recovery: StreamRecovery) -> Self {
        self.stream_recovery = recovery;
        self
    }

    /// Sets whether callers need permission for the fallbacks.
    #[must_use]
    pub const fn with_fallback_permission(mut self, permission: FallbackPermission) -> Self {
        self.fallback_permission = permission;
        self
    }

    /// Sets what happens to optional fields of a request that a backend's format cannot express.
    #[must_use]
    pub const fn with_on_unsupported(mut self, on_unsupported: OnUnsupported) -> Self {
        self.on_unsupported = on_unsupported;
        self
    }

    /// What seals and opens the reasoning that the model's backends sign.
    #[cfg(feature = "select")]
    pub(crate) const fn seals(&self) -> &Arc<[Seal]> {
        &self.seals
    }

    /// Sets the name of the model in responses.
    #[must_use]
    pub const fn with_answer_model(mut self, answer_model: AnswerModel) -> Self {
        self.answer_model = answer_model;
        self
    }

    /// The id in the configuration, a second name.
    #[must_use]
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The public name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether the model exists for clients.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The strategy that picks a backend.
    #[must_use]
    pub fn strategy(&self) -> &dyn Strategy {
        &*self.strategy
    }

    /// The backends, in the order in which they were given.
    #[must_use]
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// The names of the fallback models, in the order in which they are used.
    #[must_use]
    pub fn fallbacks(&self) -> &[Arc<str>] {
        &self.fallbacks
    }

    /// What happens to optional fields of a request that a backend's format cannot express.
    #[must_use]
    pub const fn on_unsupported(&self) -> OnUnsupported {
        self.on_unsupported
    }

    /// The name of the model in responses.
    #[must_use]
    pub const fn answer_model(&self) -> AnswerModel {
        self.answer_model
    }

    /// Whether callers need permission for the fallbacks.
    #[must_use]
    pub const fn fallback_permission(&self) -> FallbackPermission {
        self.fallback_permission
    }

    /// What happens to a stream that is cut.
    #[must_use]
    pub const fn stream_recovery(&self) -> StreamRecovery {
        self.stream_recovery
    }
}

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
        self.by_name.get(name).filter(|m| m.enabled)
    }

    /// The state of every backend, each once however many models share it.
    pub fn states(&self) -> impl Iterator<Item = (&BackendId, &Arc<BackendState>)> {
        self.states.iter()
    }
}

/// Keeps the counts of picks of a model that is replaced, unless another strategy picks now: the
/// counts are reported as the strategy's.
fn keep_picks(model: &mut Model, old: &Model) {
    if model.strategy.name() != old.strategy.name() {
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
/// address or key begins [anew](BackendState::restarted). A catalogue never changes the [`Tuning`] of
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
