//! A model as clients know it, and its settings.

use std::sync::Arc;

use super::{definition::Backend, strategy::Strategy};
use crate::{dialect::Seal, named::named_enum};

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
    pub(super) id: Arc<str>,
    pub(super) name: Arc<str>,
    enabled: bool,
    strategy: Arc<dyn Strategy>,
    pub(super) backends: Vec<Arc<Backend>>,
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
