//! What to probe now, and what a list of models says: pure functions of the backends' state.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    backend::{Backend, BackendId, Billing, CatalogSnapshot, Model, Probe, ProbeOutcome, Provider},
    classify::Class,
};

/// One provider to ask for its list of models, and who hangs on the answer.
#[derive(Clone, Debug)]
pub struct ProviderCheck {
    /// The provider.
    pub provider: Arc<Provider>,
    /// Its backends that are probed, each once however many models share it.
    pub targets: Vec<ProbeTarget>,
}

/// A backend that is probed.
#[derive(Clone, Debug)]
pub struct ProbeTarget {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Whether a chat may be sent to it: it is set to, and its provider has chats.
    pub may_chat: bool,
    /// Whether the answer counts as its connectivity check too.
    pub connectivity: bool,
}

/// What came of asking for the list of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelListResult {
    /// It came, or there is no such list, or the request was at fault: the provider lives.
    Alive,
    /// The provider answered with an error of its own or a rate limit.
    Refused(Class),
    /// The provider did not answer.
    Silent(Class),
}

/// What follows for one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// The probe is over.
    Done(ProbeOutcome),
    /// A chat decides.
    Chat,
}

/// All that is to be probed at `now`: one check for each provider that has a backend to probe.
///
/// Nothing is sent to disabled providers, to backends that are off in every model, to those whose
/// probe is [`Probe::None`], and to those that any model lists as charged by the request: there a
/// probe costs money. Where two models disagree on the kind of probe, the lesser one holds.
#[must_use]
pub fn due(snapshot: &CatalogSnapshot, connectivity_interval: Duration, now: Instant) -> Vec<ProviderCheck> {
    let mut listed: Vec<Listed<'_>> = Vec::new();
    let mut at: HashMap<&BackendId, usize> = HashMap::new();
    for model in snapshot.models() {
        for backend in model.backends() {
            match at.get(backend.id()) {
                Some(&i) => listed[i].join(model, backend),
                None => {
                    at.insert(backend.id(), listed.len());
                    listed.push(Listed::new(model, backend));
                }
            }
        }
    }
    let mut checks: Vec<ProviderCheck> = Vec::new();
    for target in listed.iter().filter_map(|one| one.target(connectivity_interval, now)) {
        let provider = target.backend.provider();
        match checks.iter_mut().find(|check| check.provider.id() == provider.id()) {
            Some(check) => check.targets.push(target),
            None => checks.push(ProviderCheck { provider: provider.clone(), targets: vec![target] }),
        }
    }
    checks
}

/// What all models together say about a backend.
struct Listed<'a> {
    backend: &'a Arc<Backend>,
    in_use: bool,
    probe: Probe,
    smart: bool,
}

impl<'a> Listed<'a> {
    fn new(model: &Model, backend: &'a Arc<Backend>) -> Self {
        let mut this = Self { backend, in_use: false, probe: Probe::Chat, smart: false };
        this.join(model, backend);
        this
    }

    fn join(&mut self, model: &Model, backend: &Backend) {
        let in_use = model.is_enabled() && backend.is_enabled();
        self.in_use |= in_use;
        self.smart |= in_use && model.strategy().name() == "smart_ai";
        self.probe = match (backend.billing(), self.probe, backend.probe()) {
            (Billing::PerRequest, ..) | (_, Probe::None, _) | (.., Probe::None) => Probe::None,
            (_, Probe::Models, _) | (.., Probe::Models) => Probe::Models,
            (_, Probe::Chat, Probe::Chat) => Probe::Chat,
        };
    }

    fn target(&self, connectivity_interval: Duration, now: Instant) -> Option<ProbeTarget> {
        if !self.in_use || self.probe == Probe::None {
            return None;
        }
        let checked = self.backend.state().snapshot(now).last_connectivity_check;
        Some(ProbeTarget {
            backend: self.backend.clone(),
            may_chat: self.probe == Probe::Chat,
            connectivity: self.smart && checked.is_none_or(|ago| ago >= connectivity_interval),
        })
    }
}

impl ProbeTarget {
    /// What follows for this backend from its provider's list of models.
    ///
    /// A chat is sent to a backend that is not wholly well. Where the provider answers, but has an
    /// error for a list, the chat decides too: some gateways bar the list and nothing else.
    #[must_use]
    pub fn after(&self, listing: ModelListResult, now: Instant) -> NextStep {
        let view = self.backend.state().view(now);
        let may_chat = self.may_chat && view.cooling.is_none();
        match listing {
            ModelListResult::Alive if may_chat && view.wants_chat_probe() => NextStep::Chat,
            ModelListResult::Alive => NextStep::Done(ProbeOutcome::Listed { decides: !self.may_chat }),
            ModelListResult::Refused(class) if may_chat && class.is_backend_failure() => NextStep::Chat,
            ModelListResult::Refused(class) | ModelListResult::Silent(class) => {
                NextStep::Done(ProbeOutcome::Failed(class))
            }
        }
    }
}

impl ModelListResult {
    /// Whether a connectivity check is content with it.
    #[must_use]
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Alive | Self::Refused(Class::RateLimited { .. }))
    }
}
