//! Which backends of a model are available to a request, and why the others are not.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    attempt::{Attempt, RetryEligibility},
    backend::{
        Backend, Model, View,
        strategy::{Candidate, Strategy},
    },
    dialect::{Conversation, Dialect},
    endpoint::Endpoint,
    error::Unroutable,
    named::named_enum,
};

/// The tag of a user who may use every backend.
pub const ADMIN: &str = "admin";

named_enum! {
    /// Which backends users without tags may use.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum TagPolicy {
        /// The backends without tags.
        #[default]
        Strict = "strict",
        /// All backends.
        Open = "open",
    }
}

/// The facts of a request that decide which backends are available to it.
///
/// The default is a request for an unknown endpoint, of a user without tags, at its first attempt.
#[derive(Clone, Copy, Debug, Default)]
pub struct SelectionContext<'a> {
    endpoint: Option<Endpoint>,
    tags: &'a [Arc<str>],
    tag_policy: TagPolicy,
    attempt: Option<&'a Attempt>,
    conversation: Option<&'a Conversation>,
}

impl<'a> SelectionContext<'a> {
    /// Sets the endpoint; `None` is an endpoint that is not in [`Endpoint`].
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<Option<Endpoint>>) -> Self {
        self.endpoint = endpoint.into();
        self
    }

    /// Sets the user's tags.
    #[must_use]
    pub const fn with_tags(mut self, tags: &'a [Arc<str>]) -> Self {
        self.tags = tags;
        self
    }

    /// Sets which backends users without tags may use.
    #[must_use]
    pub const fn with_tag_policy(mut self, policy: TagPolicy) -> Self {
        self.tag_policy = policy;
        self
    }

    /// Sets the attempt, which knows the backends that the request has tried.
    #[must_use]
    pub fn with_attempt(mut self, attempt: impl Into<Option<&'a Attempt>>) -> Self {
        self.attempt = attempt.into();
        self
    }

    /// Sets the parsed request, for backends of another format. A backend that is not known to be
    /// unable to express it counts as able.
    #[must_use]
    pub fn with_conversation(mut self, conversation: impl Into<Option<&'a Conversation>>) -> Self {
        self.conversation = conversation.into();
        self
    }
}

/// Whether a backend is available to a request, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Eligibility {
    /// It is healthy or recovering.
    Eligible,
    /// It is unhealthy and due for a trial, which one request at a time may make.
    Trial,
    /// It is unhealthy; it is picked only if no better backend is available.
    Unhealthy,
    /// It or its provider is disabled.
    Disabled,
    /// The user shares none of its tags.
    TagsDiffer,
    /// Its provider does not serve the endpoint.
    EndpointNotServed,
    /// Its format cannot express the request.
    Inexpressible,
    /// The request has tried it, and may try it again after this time.
    RetryLater(Duration),
    /// The request has tried it, and may not try it again.
    AlreadyTried,
    /// Its breaker is open for this time, or half-open with its trial in flight.
    BreakerOpen(Duration),
    /// It asked for this time without requests.
    CoolingDown(Duration),
    /// It has its maximum number of requests in flight.
    Full,
}

impl Eligibility {
    /// Whether the backend may be picked at all.
    #[must_use]
    pub const fn is_eligible(self) -> bool {
        matches!(self, Self::Eligible | Self::Trial | Self::Unhealthy)
    }

    /// The reason, for an operator.
    #[must_use]
    pub fn reason(self) -> String {
        match self {
            Self::Eligible => "healthy or recovering".into(),
            Self::Trial => "unhealthy, due for a trial".into(),
            Self::Unhealthy => "unhealthy".into(),
            Self::Disabled => "the backend or its provider is disabled".into(),
            Self::TagsDiffer => "the user shares none of its tags".into(),
            Self::EndpointNotServed => "its provider does not serve this endpoint".into(),
            Self::Inexpressible => "its format cannot express the request".into(),
            Self::RetryLater(_) | Self::AlreadyTried => "the request has tried it".into(),
            Self::BreakerOpen(left) => format!("its circuit breaker is open for {:.1} s", left.as_secs_f64()),
            Self::CoolingDown(left) => format!("it cools down for {:.1} s", left.as_secs_f64()),
            Self::Full => "it has its maximum number of requests in flight".into(),
        }
    }
}

/// Determines whether a backend in this state is available to a request.
#[must_use]
pub fn eligibility(backend: &Backend, view: &View, context: &SelectionContext<'_>) -> Eligibility {
    if !backend.is_enabled() {
        return Eligibility::Disabled;
    }
    if !shares_tags(backend, context) {
        return Eligibility::TagsDiffer;
    }
    let provider = backend.provider();
    if let Some(endpoint) = context.endpoint
        && !backend.speaks(endpoint)
    {
        if !provider.serves(endpoint) {
            return Eligibility::EndpointNotServed;
        }
        let known = |said: &Conversation| said.known_unsupported(backend.dialect(endpoint)).is_some();
        if context.conversation.is_some_and(known) {
            return Eligibility::Inexpressible;
        }
    }
    let tried = tried(backend, context.attempt);
    if tried == Some(RetryEligibility::Never) {
        return Eligibility::AlreadyTried;
    }
    // The request's own back-off replaces a cool-down that no provider asked for.
    let backed_off = tried == Some(RetryEligibility::AfterBackoff) && view.cooling_default;
    let cooling = if backed_off { None } else { view.cooling };
    if tried.is_some() && !view.breaker_available() {
        return Eligibility::AlreadyTried;
    }
    if tried.is_some() && (cooling.is_some() || !context.attempt.is_some_and(Attempt::allows_repeats)) {
        return Eligibility::RetryLater(cooling.unwrap_or_default());
    }
    if view.breaker_reopens_in.is_some() {
        return Eligibility::BreakerOpen(view.free_in());
    }
    if let Some(left) = cooling {
        return Eligibility::CoolingDown(left);
    }
    if view.is_full(backend.max_in_flight()) {
        return Eligibility::Full;
    }
    match (view.is_healthy(), view.due_for_trial) {
        (true, _) => Eligibility::Eligible,
        (false, true) => Eligibility::Trial,
        (false, false) => Eligibility::Unhealthy,
    }
}

/// Whether the user's tags allow a backend.
#[must_use]
pub fn shares_tags(backend: &Backend, context: &SelectionContext<'_>) -> bool {
    backend.tags().is_empty()
        || (context.tags.is_empty() && context.tag_policy == TagPolicy::Open)
        || context.tags.iter().any(|tag| &**tag == ADMIN || backend.tags().contains(tag))
}

/// Whether a backend that the request has tried may be tried again; `None` if it was not tried.
fn tried(backend: &Backend, attempt: Option<&Attempt>) -> Option<RetryEligibility> {
    let attempt = attempt?;
    let (mut found, mut on_provider) = (None, 0);
    for tried in attempt.tried() {
        let Some(id) = &tried.backend else { continue };
        if id.provider != backend.id().provider {
            continue;
        }
        // Each fallback has attempts of its own.
        on_provider += u32::from(tried.fallback_index == attempt.fallback_index());
        if id.model == backend.id().model {
            // The latest try decides, unless an earlier one ruled the backend out.
            found = match found {
                Some(RetryEligibility::Never) => found,
                _ if tried.eligibility == RetryEligibility::Never => Some(RetryEligibility::Never),
                None => Some(tried.eligibility),
                earlier => earlier,
            };
        }
    }
    if on_provider > backend.provider().max_retries() { Some(RetryEligibility::Never) } else { found }
}

/// Returns the backends that a strategy picks from: those that are healthy, recovering or due for a
/// trial; if there are none, the unhealthy ones. A strategy that weighs health itself gets them all.
///
/// # Errors
/// No backend is available; the error says why.
pub fn candidates<'a>(
    model: &'a Model,
    context: &SelectionContext<'_>,
    now: Instant,
) -> Result<Candidates<'a>, Unroutable> {
    let mut all = Vec::with_capacity(model.backends().len());
    let mut rejections = RejectionSummary::default();
    let mut better = 0;
    for backend in model.backends() {
        let view = backend.state().view(now);
        let eligibility = eligibility(backend, &view, context);
        if eligibility.is_eligible() {
            better += usize::from(eligibility != Eligibility::Unhealthy);
            all.push(Candidate::new(backend, view));
        } else {
            rejections.add(backend, eligibility, context);
        }
    }
    if all.is_empty() {
        return Err(rejections.into_error(model, context));
    }
    let is_last_resort = all.len() == 1;
    if !model.strategy().weighs_health() && better > 0 && better < all.len() {
        all.retain(|c| c.view.is_healthy() || c.view.due_for_trial);
    }
    Ok(Candidates { list: all, is_last_resort })
}

/// Whether a request to this candidate is its trial or measures its latency, so that it must hold
/// the backend's one trial slot.
#[must_use]
pub fn needs_trial(candidate: &Candidate<'_>, strategy: &dyn Strategy) -> bool {
    let view = &candidate.view;
    let measures = strategy.measures_latency() && view.latency.is_none() && view.trial_free;
    (!view.is_healthy() && view.due_for_trial && !strategy.weighs_health()) || measures
}

/// The backends that a strategy picks from.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Candidates<'a> {
    /// The candidates; not empty if [`candidates`] has returned them.
    pub list: Vec<Candidate<'a>>,
    /// Whether one backend is available and no other, not even an unhealthy one.
    pub is_last_resort: bool,
}

/// Why no backend is available, gathered over all backends.
#[derive(Debug, Default)]
struct RejectionSummary {
    /// A backend shares a tag with the user.
    tags_shared: bool,
    /// A backend serves the endpoint and can express the request.
    served: bool,
    /// The format of a backend that serves the endpoint and cannot express the request.
    inexpressible: Option<Dialect>,
    /// The request has tried a backend.
    tried: bool,
    /// The shortest wait for a backend that the request has tried.
    retry_in: Option<Duration>,
    /// The shortest wait for another backend.
    available_in: Option<Duration>,
}

impl RejectionSummary {
    fn add(&mut self, backend: &Backend, eligibility: Eligibility, context: &SelectionContext<'_>) {
        use Eligibility::{
            AlreadyTried, BreakerOpen, CoolingDown, EndpointNotServed, Full, Inexpressible, RetryLater, TagsDiffer,
        };
        let shortest = |old: Option<Duration>, new: Duration| Some(old.map_or(new, |old| old.min(new)));
        self.tags_shared |= shares_tags(backend, context);
        self.served |= !matches!(eligibility, TagsDiffer | EndpointNotServed | Inexpressible);
        self.tried |= matches!(eligibility, RetryLater(_) | AlreadyTried);
        match eligibility {
            RetryLater(wait) => self.retry_in = shortest(self.retry_in, wait),
            BreakerOpen(wait) | CoolingDown(wait) => self.available_in = shortest(self.available_in, wait),
            Full => self.available_in = shortest(self.available_in, Duration::from_secs(1)),
            Inexpressible => {
                let dialect = context.endpoint.map(|endpoint| backend.dialect(endpoint));
                self.inexpressible = self.inexpressible.or(dialect);
            }
            _ => {}
        }
    }

    fn into_error(self, model: &Model, context: &SelectionContext<'_>) -> Unroutable {
        if let Some(retry_after) = self.retry_in {
            return Unroutable::OnlyTriedLeft { soonest: retry_after };
        }
        if self.tried {
            let fallback_index = context.attempt.map_or(0, Attempt::fallback_index);
            return Unroutable::NoCandidates { has_fallback: (fallback_index as usize) < model.fallbacks().len() };
        }
        if !self.tags_shared {
            return Unroutable::NoBackendForUser;
        }
        if !self.served {
            let request = self.inexpressible.zip(context.conversation);
            let what = request.and_then(|(dialect, conversation)| conversation.known_unsupported(dialect));
            return what.map_or(Unroutable::UnsupportedEndpoint, |what| what.clone().into());
        }
        Unroutable::NoneAvailable { retry_after: self.available_in.unwrap_or(Duration::from_secs(1)) }
    }
}

/// Describes how a strategy would pick among a model's backends now, for an operator. It picks
/// nothing and changes nothing.
#[must_use]
pub fn explain<'a>(model: &'a Model, context: &SelectionContext<'_>, now: Instant) -> Vec<Explained<'a>> {
    let candidates = candidates(model, context, now).unwrap_or_default().list;
    let probabilities = if candidates.is_empty() { Vec::new() } else { model.strategy().probabilities(&candidates) };
    let explain = |backend: &'a Arc<Backend>| {
        let index = candidates.iter().position(|c| Arc::ptr_eq(c.backend, backend));
        // The view that the strategy has seen, though the state may have changed since.
        let view = index.map_or_else(|| backend.state().view(now), |index| candidates[index].view);
        Explained {
            backend,
            view,
            eligibility: eligibility(backend, &view, context),
            is_candidate: index.is_some(),
            effective_weight: model.strategy().effective_weight(&Candidate::new(backend, view)),
            probability: index.and_then(|index| probabilities.get(index).copied()).unwrap_or(0.0),
        }
    };
    model.backends().iter().map(explain).collect()
}

/// One backend's part in the result of [`explain`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Explained<'a> {
    /// The backend.
    pub backend: &'a Arc<Backend>,
    /// Its state.
    pub view: View,
    /// Whether it is available to the request.
    pub eligibility: Eligibility,
    /// Whether the strategy picks among it and others.
    pub is_candidate: bool,
    /// The weight that the strategy gives it.
    pub effective_weight: f64,
    /// The probability with which the strategy picks it.
    pub probability: f64,
}

impl Explained<'_> {
    /// Why the backend is a candidate or not, for an operator.
    #[must_use]
    pub fn reason(&self) -> String {
        let reason = self.eligibility.reason();
        match (self.eligibility, self.is_candidate) {
            (Eligibility::Unhealthy, true) => reason + ", but no better backend is available",
            (Eligibility::Unhealthy, false) => reason + ", and better backends are available",
            _ => reason,
        }
    }
}
