//! A backend: one provider's model, with the weight, priority and rules of the pool that lists it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::Uri;

use super::{
    options::{LearntApi, Lesson, OpenAiApi, OptionalField, ReasoningHistory, Refusals},
    provider::Provider,
    state::BackendState,
    tuning::Tuning,
};
use crate::{
    attempt::BackendId,
    dialect::{ClaudeThinking, Dialect, Efforts, Sampling, Seal},
    endpoint::Endpoint,
    named::named_enum,
};

/// The tag that marks a backend as expensive. It does not restrict who may use the backend.
pub const PREMIUM: &str = "premium";

named_enum! {
    /// What a provider charges for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum Billing {
        /// For each token: a probe costs next to nothing.
        #[default]
        PerToken = "per_token",
        /// For each request: a probe costs as much as a request, so there are no probes.
        PerRequest = "per_request",
    }
}

named_enum! {
    /// How a backend is probed while it is not in use.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum Probe {
        /// Requests the models list and, while the backend is unhealthy, a chat of one token.
        #[default]
        Chat = "chat",
        /// Requests the models list only.
        Models = "models",
        /// Sends no probe.
        None = "none",
    }
}

/// One way to serve a model: a provider's model, with the pool's weight, priority and rules.
///
/// The provider and the model are fixed when the backend is created, since its addresses follow
/// from them: a backend for another provider is another backend.
///
/// ```
/// use berry_tower::backend::{Backend, Provider};
/// use std::sync::Arc;
///
/// let provider = Provider::new("openai", "https://api.openai.com").unwrap().with_key("sk-secret").unwrap();
/// let backend = Backend::new(Arc::new(provider), "gpt-4o").with_weight(2.0);
/// assert_eq!(backend.id().to_string(), "openai:gpt-4o");
/// assert!(!format!("{backend:?}").contains("sk-secret"));
/// ```
#[derive(Clone, Debug)]
pub struct Backend {
    id: BackendId,
    provider: Arc<Provider>,
    weight: f64,
    priority: u8,
    enabled: bool,
    tags: Vec<Arc<str>>,
    premium: bool,
    billing: Billing,
    probe: Probe,
    max_in_flight: u32,
    supports_prefill: bool,
    sampling: Sampling,
    think_tags: bool,
    thinking: ClaudeThinking,
    state: Arc<BackendState>,
    picks: Arc<AtomicU64>,
    refusals: Arc<Refusals>,
    openai_api: OpenAiApi,
    learnt_api: Arc<LearntApi>,
    fingerprint: u64,
    addresses: [Option<Uri>; Endpoint::ALL.len()],
    /// The address for streamed conversations, which differs from the plain one at Google.
    stream_address: Option<Uri>,
    /// The address for conversations in the format of Responses.
    responses_address: Option<Uri>,
}

impl Backend {
    /// Creates a backend with weight 1 and priority 0, without tags, with a state of its own.
    pub fn new(provider: Arc<Provider>, model: impl Into<Arc<str>>) -> Self {
        let id = BackendId { provider: provider.id().clone(), model: model.into() };
        let addresses = Endpoint::ALL.map(|endpoint| provider.uri(endpoint, &id.model, false));
        let stream_address = provider.uri(Endpoint::ChatCompletions, &id.model, true);
        let responses_address = provider.uri_in(Dialect::Responses, Endpoint::Responses, &id.model, false);
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
            openai_api: OpenAiApi::Auto,
            learnt_api: Arc::default(),
            addresses,
            stream_address,
            responses_address,
            fingerprint: hasher.finish(),
        }
    }

    /// Sets the weight, which should be above 0; 0, a negative number and NaN count as no weight.
    #[must_use]
    pub const fn with_weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the priority; lower is preferred.
    #[must_use]
    pub const fn with_priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Enables or disables the backend. A disabled backend gets no requests.
    #[must_use]
    pub const fn with_enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Sets the tags, of which [`PREMIUM`] may be one.
    #[must_use]
    pub fn with_tags<T: Into<Arc<str>>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self.premium = self.tags.iter().any(|t| &**t == PREMIUM);
        self.tags.retain(|t| &**t != PREMIUM);
        self
    }

    /// Sets what the provider charges for.
    #[must_use]
    pub const fn with_billing(mut self, billing: Billing) -> Self {
        self.billing = billing;
        self
    }

    /// Sets how the backend is probed.
    #[must_use]
    pub const fn with_probe(mut self, probe: Probe) -> Self {
        self.probe = probe;
        self
    }

    /// Sets the maximum number of requests in flight; 0 means no maximum.
    #[must_use]
    pub const fn with_max_in_flight(mut self, max: u32) -> Self {
        self.max_in_flight = max;
        self
    }

    /// Says whether the backend continues an assistant's message that the request begins.
    #[must_use]
    pub const fn with_prefill(mut self, supported: bool) -> Self {
        self.supports_prefill = supported;
        self
    }

    /// Sets which sampling parameters a translated request may carry.
    #[must_use]
    pub const fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Says whether the model writes its thoughts between `<think>` and `</think>`, so that they are
    /// translated as reasoning.
    #[must_use]
    pub const fn with_think_tags(mut self, think_tags: bool) -> Self {
        self.think_tags = think_tags;
        self
    }

    /// Sets how a translated request asks a Claude model to think.
    #[must_use]
    pub const fn with_thinking(mut self, thinking: ClaudeThinking) -> Self {
        self.thinking = thinking;
        self
    }

    /// Sets the format in which a backend of OpenAI's type is asked for conversations. It has no effect on other
    /// backends.
    #[must_use]
    pub const fn with_openai_api(mut self, api: OpenAiApi) -> Self {
        self.openai_api = api;
        self
    }

    /// Shares the state of the same provider and model elsewhere.
    #[must_use]
    pub fn with_state(mut self, state: Arc<BackendState>) -> Self {
        state.set_label(&self.id);
        self.state = state;
        self
    }

    /// The ids of the provider and of its model.
    #[must_use]
    pub const fn id(&self) -> &BackendId {
        &self.id
    }

    /// The provider.
    #[must_use]
    pub const fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    /// The weight, relative to the other backends of the model.
    #[must_use]
    pub const fn weight(&self) -> f64 {
        self.weight
    }

    /// The priority; lower is preferred.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        self.priority
    }

    /// Whether the backend and its provider are enabled.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled && self.provider.is_enabled()
    }

    /// The tags, without [`PREMIUM`]. A user must share one of them, if there are any.
    #[must_use]
    pub fn tags(&self) -> &[Arc<str>] {
        &self.tags
    }

    /// Whether the backend has the tag [`PREMIUM`].
    #[must_use]
    pub const fn is_premium(&self) -> bool {
        self.premium
    }

    /// What the provider charges for.
    #[must_use]
    pub const fn billing(&self) -> Billing {
        self.billing
    }

    /// How the backend is probed.
    #[must_use]
    pub const fn probe(&self) -> Probe {
        self.probe
    }

    /// The maximum number of requests in flight; 0 means no maximum.
    #[must_use]
    pub const fn max_in_flight(&self) -> u32 {
        self.max_in_flight
    }

    /// Whether the backend continues an assistant's message that the request begins.
    #[must_use]
    pub const fn supports_prefill(&self) -> bool {
        self.supports_prefill
    }

    /// Which sampling parameters a translated request may carry.
    #[must_use]
    pub const fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// Whether the model writes its thoughts between `<think>` and `</think>`.
    #[must_use]
    pub const fn think_tags(&self) -> bool {
        self.think_tags
    }

    /// How a translated request asks a Claude model to think: as it was set, or for
    /// [`Auto`](ClaudeThinking::Auto) as the backend's refusals have taught.
    #[must_use]
    pub fn thinking(&self) -> ClaudeThinking {
        match self.thinking {
            ClaudeThinking::Auto => self.refusals.thinking().unwrap_or_default(),
            thinking => thinking,
        }
    }

    /// The values of `reasoning_effort` that the backend accepts, as far as it is known.
    #[must_use]
    pub fn efforts(&self) -> Efforts {
        self.refusals.efforts().unwrap_or(self.provider.request_options().efforts())
    }

    /// What becomes of `reasoning_content` in the history: what the provider's options say, or what its refusals have
    /// taught.
    #[must_use]
    pub fn reasoning_history(&self) -> ReasoningHistory {
        self.refusals.reasoning_history().unwrap_or(self.provider.request_options().reasoning_history())
    }

    /// The format in which a backend of OpenAI's type is asked for conversations: the one that was set, or the one that
    /// the backend has been found to need. [`OpenAiApi::Auto`] means that either is possible.
    #[must_use]
    pub fn openai_api(&self) -> OpenAiApi {
        match self.openai_api {
            OpenAiApi::Auto => self.learnt_api.get(),
            api => api,
        }
    }

    /// Whether the backend may still be found to need one of OpenAI's two formats.
    #[cfg_attr(not(feature = "client"), allow(dead_code, reason = "only the client calls it"))]
    pub(crate) fn may_learn_openai_api(&self) -> bool {
        self.provider.dialect() == Dialect::OpenAi && self.openai_api() == OpenAiApi::Auto
    }

    /// Whether the backend has refused to summarize its reasoning, for which OpenAI wants an organization to be verified.
    #[cfg_attr(not(feature = "client"), allow(dead_code, reason = "only the client calls it"))]
    pub(crate) fn refuses_reasoning_summary(&self) -> bool {
        self.learnt_api.refuses_summary()
    }

    /// Records that the backend refuses to summarize its reasoning.
    #[cfg_attr(not(feature = "client"), allow(dead_code, reason = "only the client calls it"))]
    pub(crate) fn record_reasoning_summary_refusal(&self) {
        self.learnt_api.refuse_summary();
    }

    /// Records the format that the backend has been found to need, where none was set.
    #[cfg_attr(not(feature = "client"), allow(dead_code, reason = "only the client calls it"))]
    pub(crate) fn record_openai_api(&self, api: OpenAiApi) {
        self.learnt_api.set(api);
    }

    /// The format in which the backend is asked for a conversation that comes to `endpoint`, and the provider's own
    /// format for any other request.
    #[must_use]
    pub fn dialect(&self, endpoint: Endpoint) -> Dialect {
        let dialect = self.provider.dialect();
        if dialect != Dialect::OpenAi || !endpoint.is_chat() {
            return dialect;
        }
        match self.openai_api() {
            OpenAiApi::Auto => self.provider.dialect_for(endpoint),
            OpenAiApi::Chat => Dialect::OpenAi,
            OpenAiApi::Responses => Dialect::Responses,
        }
    }

    /// Whether requests to this endpoint pass to the backend as they are.
    #[must_use]
    pub fn speaks(&self, endpoint: Endpoint) -> bool {
        if endpoint.is_chat() {
            self.dialect(endpoint).format().has_endpoint(endpoint)
        } else {
            self.provider.speaks(endpoint)
        }
    }

    /// What seals and opens the reasoning that the backend signs.
    pub(super) fn seal(&self) -> Seal {
        Seal::new(self.provider.seal_key().clone(), self.id.provider.clone(), self.id.model.clone())
    }

    /// The state, which all models that list the same provider and model share.
    #[must_use]
    pub const fn state(&self) -> &Arc<BackendState> {
        &self.state
    }

    /// How many times the backend was picked for this model.
    #[must_use]
    pub fn picks(&self) -> u64 {
        self.picks.load(Ordering::Relaxed)
    }

    /// Counts a pick.
    #[cfg(any(test, feature = "select"))]
    pub(crate) fn record_pick(&self) {
        self.picks.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether requests to this backend may have this field: the provider accepts it, and this
    /// backend has not refused it since it was made.
    #[must_use]
    pub fn accepts(&self, field: OptionalField) -> bool {
        self.provider.accepts(field) && !self.refusals.contains(field)
    }

    /// Records what a refusal of the backend's has taught about it.
    pub fn learn(&self, lesson: Lesson) {
        self.refusals.learn(lesson);
    }

    /// The address of an endpoint; `None` if the provider does not serve it.
    #[must_use]
    pub fn uri(&self, endpoint: Endpoint, stream: bool) -> Option<Uri> {
        self.uri_in(self.dialect(endpoint), endpoint, stream)
    }

    /// The address of an endpoint in this format.
    pub(crate) fn uri_in(&self, dialect: Dialect, endpoint: Endpoint, stream: bool) -> Option<Uri> {
        match dialect {
            Dialect::Responses if endpoint.is_chat() => self.responses_address.clone(),
            Dialect::OpenAi if endpoint.is_chat() => self.addresses[Endpoint::ChatCompletions.index()].clone(),
            _ if stream && endpoint.is_chat() && self.provider.has_stream_address() => self.stream_address.clone(),
            _ => self.addresses[endpoint.index()].clone(),
        }
    }

    /// A hash of the id, the same in every run of one build.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Replaces the state by the one that the catalogue shares.
    pub(super) fn set_state(&mut self, state: Arc<BackendState>) {
        self.state = state;
    }

    /// Continues the count of picks of `other`.
    pub(super) fn share_picks(&mut self, other: &Self) {
        self.picks = other.picks.clone();
    }
}
