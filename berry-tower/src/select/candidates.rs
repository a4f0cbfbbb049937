//! Which backends a request may go to, and why not to the others.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::strategy::{Candidate, Strategy};
use crate::{
    attempt::{Attempt, RetryEligibility},
    backend::{Backend, Model, View},
    dialect::{Conversation, Dialect},
    endpoint::Endpoint,
    error::Unroutable,
};

/// The tag that opens every backend to a user.
pub const ADMIN: &str = "admin";

/// What users without tags may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagPolicy {
    /// The backends without tags.
    #[default]
    Strict,
    /// All of them.
    Open,
}

/// What is asked for, as far as it decides who may answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The endpoint; `None` is one that Berry does not know.
    pub endpoint: Option<Endpoint>,
    /// The user's tags.
    pub tags: &'a [Arc<str>],
    /// What users without tags may use.
    pub policy: TagPolicy,
    /// Who was tried before.
    pub attempt: Option<&'a Attempt>,
    /// What is said, for backends that speak another format. A backend that is not known to be
    /// unable to express it is taken to be able.
    pub conversation: Option<&'a Conversation>,
}

/// Where a backend stands for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be picked.
    In,
    /// It is unhealthy and due for a trial: it may be picked, by one request at a time.
    Trial,
    /// It is unhealthy; it may be picked when nobody better is there.
    Unhealthy,
    /// It or its provider is switched off.
    Disabled,
    /// The user's tags do not open it.
    Tags,
    /// Its type does not serve the endpoint.
    Endpoint,
    /// Its format has no words for the request.
    Inexpressible,
    /// The request has tried it, and it may be asked again after so long.
    Tried(Duration),
    /// The request has tried it and may not do so again.
    Spent,
    /// Its breaker is open for so long, or its trial is taken.
    Open(Duration),
    /// It asked to be left alone for so long.
    Cooling(Duration),
    /// It has as many requests as it may have.
    Full,
}

impl Standing {
    /// Whether it may be picked at all.
    #[must_use]
    pub const fn is_in(self) -> bool {
        matches!(self, Self::In | Self::Trial | Self::Unhealthy)
    }

    /// Why, in words for an operator.
    #[must_use]
    pub fn why(self) -> String {
        match self {
            Self::In => "healthy or recovering".into(),
            Self::Trial => "unhealthy, due for a trial".into(),
            Self::Unhealthy => "unhealthy".into(),
            Self::Disabled => "the backend or its provider is disabled".into(),
            Self::Tags => "the user's tags do not open it".into(),
            Self::Endpoint => "its type does not serve this endpoint".into(),
            Self::Inexpressible => "its format has no words for the request".into(),
            Self::Tried(_) | Self::Spent => "the request has tried it".into(),
            Self::Open(left) => format!("its circuit breaker is open for {:.1} s", left.as_secs_f64()),
            Self::Cooling(left) => format!("it asked to be left alone for {:.1} s", left.as_secs_f64()),
            Self::Full => "it has as many requests as it may have".into(),
        }
    }
}

/// Where a backend with this state stands for a request.
#[must_use]
pub fn standing(backend: &Backend, view: &View, ask: &Ask<'_>) -> Standing {
    if !backend.enabled || !backend.provider.enabled {
        return Standing::Disabled;
    }
    if !open_to(backend, ask) {
        return Standing::Tags;
    }
    if let Some(endpoint) = ask.endpoint
        && !backend.provider.speaks(endpoint)
    {
        if !backend.provider.serves(endpoint) {
            return Standing::Endpoint;
        }
        if ask.conversation.is_some_and(|said| said.known_unsupported(backend.provider.dialect).is_some()) {
            return Standing::Inexpressible;
        }
    }
    let tried = tried(backend, ask.attempt);
    if tried == Some(RetryEligibility::Never) {
        return Standing::Spent;
    }
    // A back-off of the request's own stands in for a cool-down that no upstream asked for.
    let backed_off = tried == Some(RetryEligibility::AfterBackoff) && view.cooling_default;
    let cooling = if backed_off { None } else { view.cooling };
    if tried.is_some() && !view.breaker_available() {
        return Standing::Spent;
    }
    if tried.is_some() && (cooling.is_some() || !ask.attempt.is_some_and(Attempt::allows_repeats)) {
        return Standing::Tried(cooling.unwrap_or_default());
    }
    if view.breaker_reopens_in.is_some() {
        return Standing::Open(view.free_in());
    }
    if let Some(left) = cooling {
        return Standing::Cooling(left);
    }
    if view.is_full(backend.max_in_flight) {
        return Standing::Full;
    }
    match (view.is_healthy(), view.due_for_trial) {
        (true, _) => Standing::In,
        (false, true) => Standing::Trial,
        (false, false) => Standing::Unhealthy,
    }
}

/// Whether the user's tags open a backend.
#[must_use]
pub fn open_to(backend: &Backend, ask: &Ask<'_>) -> bool {
    backend.tags.is_empty()
        || (ask.tags.is_empty() && ask.policy == TagPolicy::Open)
        || ask.tags.iter().any(|tag| &**tag == ADMIN || backend.tags.contains(tag))
}

/// How a backend that the request has tried may come back; `None`: it was not tried.
fn tried(backend: &Backend, attempt: Option<&Attempt>) -> Option<RetryEligibility> {
    let attempt = attempt?;
    let (mut found, mut on_provider) = (None, 0);
    for tried in attempt.tried() {
        let Some(id) = &tried.backend else { continue };
        if id.provider != backend.id.provider {
            continue;
        }
        // Each fallback has attempts of its own.
        on_provider += u32::from(tried.fallback_index == attempt.fallback_index());
        if id.model == backend.id.model {
            // The latest try decides, unless an earlier one barred it.
            found = match found {
                Some(RetryEligibility::Never) => found,
                _ if tried.eligibility == RetryEligibility::Never => Some(RetryEligibility::Never),
                None => Some(tried.eligibility),
                earlier => earlier,
            };
        }
    }
    if on_provider > backend.provider.max_retries { Some(RetryEligibility::Never) } else { found }
}

/// The backends that a strategy chooses from: those that are healthy, recovering or due for a
/// trial; when that leaves nobody, the unhealthy ones too, since a doubtful backend beats none.
/// A strategy that weighs health itself sees all of them.
///
/// # Errors
/// Why there is nobody.
pub fn candidates<'a>(model: &'a Model, ask: &Ask<'_>, now: Instant) -> Result<Candidates<'a>, Unroutable> {
    let mut all = Vec::with_capacity(model.backends.len());
    let mut out = Out::default();
    let mut better = 0;
    for backend in &model.backends {
        let view = backend.state.view(now);
        match standing(backend, &view, ask) {
            standing if standing.is_in() => {
                better += usize::from(standing != Standing::Unhealthy);
                all.push(Candidate { backend, view });
            }
            standing => {
                if standing == Standing::Inexpressible {
                    out.inexpressible = out.inexpressible.or(Some(backend.provider.dialect));
                }
                out.note(standing, open_to(backend, ask));
            }
        }
    }
    if all.is_empty() {
        return Err(out.why(model, ask));
    }
    let last = all.len() == 1;
    if !model.strategy.weighs_health() && better > 0 && better < all.len() {
        all.retain(|c| c.view.is_healthy() || c.view.due_for_trial);
    }
    Ok(Candidates { list: all, last })
}

/// Whether a request to this candidate is its trial, or the one that measures its latency: then it
/// must hold the backend's one place for that.
#[must_use]
pub fn needs_trial(chosen: &Candidate<'_>, strategy: &dyn Strategy) -> bool {
    let view = &chosen.view;
    let measures = strategy.measures() && view.latency.is_none() && view.trial_free;
    (!view.is_healthy() && view.due_for_trial && !strategy.weighs_health()) || measures
}

/// Whom a strategy chooses from.
#[derive(Debug, Default)]
pub struct Candidates<'a> {
    /// Never empty when [`candidates`] returns it.
    pub list: Vec<Candidate<'a>>,
    /// Whether there is one, and nobody doubtful behind it.
    pub last: bool,
}

/// Why nobody is there, gathered over all backends.
#[derive(Debug, Default)]
struct Out {
    /// Somebody is open to the user.
    open: bool,
    /// Somebody serves the endpoint, and can express the request.
    serves: bool,
    /// The format of somebody who serves the endpoint and cannot.
    inexpressible: Option<Dialect>,
    /// Somebody was tried, for good or not.
    tried: bool,
    /// The soonest of the tried ones.
    returns: Option<Duration>,
    /// The soonest of the others.
    available: Option<Duration>,
}

impl Out {
    fn note(&mut self, standing: Standing, open: bool) {
        let soonest = |old: Option<Duration>, new: Duration| Some(old.map_or(new, |old| old.min(new)));
        self.open |= open;
        self.serves |= !matches!(standing, Standing::Tags | Standing::Endpoint | Standing::Inexpressible);
        self.tried |= matches!(standing, Standing::Tried(_) | Standing::Spent);
        match standing {
            Standing::Tried(wait) => self.returns = soonest(self.returns, wait),
            Standing::Open(wait) | Standing::Cooling(wait) => self.available = soonest(self.available, wait),
            Standing::Full => self.available = soonest(self.available, Duration::from_secs(1)),
            _ => {}
        }
    }

    fn why(&self, model: &Model, ask: &Ask<'_>) -> Unroutable {
        if let Some(soonest) = self.returns {
            return Unroutable::OnlyTriedLeft { soonest };
        }
        if self.tried {
            let fallback_index = ask.attempt.map_or(0, Attempt::fallback_index);
            return Unroutable::NoCandidates { has_fallback: (fallback_index as usize) < model.fallbacks.len() };
        }
        if !self.open {
            return Unroutable::NoBackendForUser;
        }
        if !self.serves {
            let said = self.inexpressible.zip(ask.conversation);
            let what = said.and_then(|(dialect, said)| said.known_unsupported(dialect));
            return what.map_or(Unroutable::UnsupportedEndpoint, |what| what.clone().into());
        }
        Unroutable::NoneAvailable { retry_after: self.available.unwrap_or(Duration::from_secs(1)) }
    }
}

/// How a strategy would choose among a model's backends now, for an operator's eyes; it picks
/// nothing and changes nothing.
#[must_use]
pub fn explain<'a>(model: &'a Model, ask: &Ask<'_>, now: Instant) -> Vec<Explained<'a>> {
    let chosen = candidates(model, ask, now).unwrap_or_default().list;
    let odds = if chosen.is_empty() { Vec::new() } else { model.strategy.probabilities(&chosen) };
    let explain = |backend: &'a Arc<Backend>| {
        let at = chosen.iter().position(|c| Arc::ptr_eq(c.backend, backend));
        // What the strategy has seen, though it may have changed by now.
        let view = at.map_or_else(|| backend.state.view(now), |at| chosen[at].view);
        let standing = standing(backend, &view, ask);
        let effective_weight = model.strategy.effective_weight(&Candidate { backend, view });
        Explained {
            backend,
            view,
            standing,
            is_in: at.is_some(),
            effective_weight,
            probability: at.and_then(|at| odds.get(at).copied()).unwrap_or(0.0),
        }
    };
    model.backends.iter().map(explain).collect()
}

/// One backend's part in [`explain`].
#[derive(Clone, Copy, Debug)]
pub struct Explained<'a> {
    /// The backend.
    pub backend: &'a Arc<Backend>,
    /// Its state.
    pub view: View,
    /// Where it stands for the request.
    pub standing: Standing,
    /// Whether the strategy chooses among it and others.
    pub is_in: bool,
    /// The weight that the strategy gives it.
    pub effective_weight: f64,
    /// The probability with which it is chosen.
    pub probability: f64,
}

impl Explained<'_> {
    /// Why it is in or out, in words for an operator. What is unhealthy stands back behind others
    /// unless nobody better is there, or the strategy weighs health itself.
    #[must_use]
    pub fn why(&self) -> String {
        let why = self.standing.why();
        match (self.standing, self.is_in) {
            (Standing::Unhealthy, true) => why + ", but not barred",
            (Standing::Unhealthy, false) => why + ", and others are better",
            _ => why,
        }
    }
}
