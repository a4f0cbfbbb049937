//! Backends: what they are, the state that each has, and the catalogue of models that they serve.

#[cfg(feature = "select")]
mod catalog;
mod clock;
pub mod confidence;
mod options;
mod provider;
mod recovery;
mod snapshot;
mod state;
mod tuning;
mod view;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, atomic::AtomicU64},
};

use http::Uri;

use crate::endpoint::Endpoint;

pub use crate::{
    attempt::BackendId,
    dialect::{ClaudeThinking, Dialect, Sampling},
};
#[cfg(feature = "select")]
pub use catalog::{Catalog, Model, OnUnsupported, Snapshot, StreamRecovery};
pub use options::OptionalField;
pub use provider::{InvalidProvider, Provider, Timeouts, secret_parts};
pub use recovery::{Event as HealthEvent, Recovery, Stage};
pub use snapshot::BackendStateSnapshot;
#[cfg(feature = "select")]
pub(crate) use state::Counted;
pub use state::{BackendState, DEFAULT_COOL_DOWN, HealthChange, ProbeOutcome, Trial};
pub use tuning::{Adjustments, SmartAi, Tuning};
pub use view::View;

/// The tag that marks a backend as dear; it never bars anyone.
pub const PREMIUM: &str = "premium";

/// How a provider charges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Billing {
    /// By tokens: probes cost next to nothing.
    #[default]
    PerToken,
    /// By requests: a probe costs as much as a request, so there are none.
    PerRequest,
}

/// How a backend is checked while nobody uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probe {
    /// The models list, and a chat of one token while it is unhealthy.
    #[default]
    Chat,
    /// The models list alone.
    Models,
    /// Not at all.
    None,
}

/// One way to serve a model: a provider's model, with this pool's weight, priority and rules.
///
/// ```
/// use berry_tower::backend::{Backend, Provider};
/// use std::sync::Arc;
///
/// let provider = Arc::new(Provider::new("openai", "https://api.openai.com").unwrap().key("sk-secret").unwrap());
/// let backend = Backend::new(provider, "gpt-4o").weight(2.0);
/// assert_eq!(backend.id.to_string(), "openai:gpt-4o");
/// assert!(!format!("{backend:?}").contains("sk-secret"));
/// ```
#[derive(Clone, Debug)]
pub struct Backend {
    /// Provider and model.
    pub id: BackendId,
    /// Where and how the provider is reached.
    pub provider: Arc<Provider>,
    /// Its share, relative to the others of the model; over 0.
    pub weight: f64,
    /// Its rank; lower is preferred.
    pub priority: u8,
    /// Off: it gets nothing.
    pub enabled: bool,
    /// Users must share one of these, if there are any; without [`PREMIUM`].
    pub tags: Vec<Arc<str>>,
    /// Whether it is dear.
    pub premium: bool,
    /// How it is charged.
    pub billing: Billing,
    /// How it is checked.
    pub probe: Probe,
    /// Most requests at once; 0 is no bound.
    pub max_in_flight: u32,
    /// Whether it goes on from an assistant's prefix.
    pub supports_prefill: bool,
    /// What of a request's sampling it takes, where it is Anthropic's.
    pub sampling: Sampling,
    /// Whether the model writes its thoughts between `<think>` and `</think>`; they are translated as reasoning then.
    pub think_tags: bool,
    /// How a translated request tells a Claude model to think.
    pub thinking: ClaudeThinking,
    /// What is known of it; all models that list the same provider and model share one.
    pub state: Arc<BackendState>,
    /// How often it was chosen for this model.
    pub picks: Arc<AtomicU64>,
    /// The parts of a request that it has refused; forgotten when the backend is made anew.
    refusals: Arc<options::Refusals>,
    fingerprint: u64,
    addresses: [Option<Uri>; Endpoint::ALL.len()],
    /// Where a conversation is streamed: at Google another one.
    streams: Option<Uri>,
}

impl Backend {
    /// A backend with weight 1, priority 0, open to everyone, with a state of its own.
    pub fn new(provider: Arc<Provider>, model: impl Into<Arc<str>>) -> Self {
        let id = BackendId { provider: provider.id.clone(), model: model.into() };
        let addresses = Endpoint::ALL.map(|endpoint| provider.uri(endpoint, &id.model, false));
        let streams = provider.uri(Endpoint::ChatCompletions, &id.model, true);
        let state = BackendState::new(Tuning::default());
        state.set_label(&id);
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        Self {
            id,
            provider,
            weight: 1.0,
            priority: 0,
            enabled: true,
            tags: Vec::new(),
            premium: false,
            billing: Billing::PerToken,
            probe: Probe::Chat,
            max_in_flight: 0,
            supports_prefill: false,
            sampling: Sampling::All,
            think_tags: false,
            thinking: ClaudeThinking::Auto,
            state: Arc::new(state),
            picks: Arc::default(),
            refusals: Arc::default(),
            addresses,
            streams,
            fingerprint: hasher.finish(),
        }
    }

    /// Shares the state of the same provider and model elsewhere.
    #[must_use]
    pub fn with_state(mut self, state: Arc<BackendState>) -> Self {
        state.set_label(&self.id);
        self.state = state;
        self
    }

    /// The address of an endpoint, made once.
    #[must_use]
    pub fn uri(&self, endpoint: Endpoint, stream: bool) -> Option<Uri> {
        self.address(endpoint, stream).clone()
    }

    fn address(&self, endpoint: Endpoint, stream: bool) -> &Option<Uri> {
        if stream && endpoint.is_chat() && self.provider.dialect.format().has_stream_address() {
            &self.streams
        } else {
            &self.addresses[endpoint.index()]
        }
    }

    /// Whether requests to this backend may hold a field: its provider accepts it, and the backend
    /// has not refused it.
    #[must_use]
    pub fn accepts(&self, field: OptionalField) -> bool {
        (field != OptionalField::StreamOptions || self.provider.stream_usage) && !self.refusals.contains(field)
    }

    /// Remembers that the backend refused a field.
    pub fn record_refusal(&self, field: OptionalField) {
        self.refusals.insert(field);
    }

    /// A number made of the id, for tables; the same in every run of one build.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Sets the weight.
    #[must_use]
    pub const fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the priority.
    #[must_use]
    pub const fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the tags, [`PREMIUM`] among them or not.
    #[must_use]
    pub fn tags<T: Into<Arc<str>>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self.premium = self.tags.iter().any(|t| &**t == PREMIUM);
        self.tags.retain(|t| &**t != PREMIUM);
        self
    }

    /// Sets the most requests at once; 0 is no bound.
    #[must_use]
    pub const fn max_in_flight(mut self, most: u32) -> Self {
        self.max_in_flight = most;
        self
    }
}
