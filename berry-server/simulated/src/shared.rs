//! The state shared by the connections of a provider, and the selection of behaviours.

use super::cache::{Cache, CachedRequest};
use super::config::Config;
use super::fault::{Behavior, Scope};
use super::model_request::{ModelRequest, Target};
use super::quirks::{self, Quirks};
use super::record::Record;
use super::refusal::Refusal;
use super::script::{Script, Step, Ticks};
use super::stored::StoredResponses;
use super::wire::Wire;
use super::words::Voice;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The state shared by all connections of a provider.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) record: Arc<Record>,
    pub(super) script: ArcSwap<Script>,
    pub(super) config: Config,
    pub(super) wire: &'static dyn Wire,
    pub(super) quirks: Option<&'static Quirks>,
    pub(super) voice: Voice,
    standing: Step,
    name_ticks: Ticks,
    pub(super) cache: Cache,
    /// The headers of every response.
    pub(super) headers: HeaderMap,
    /// The stored responses of the Responses API.
    pub(super) responses: StoredResponses,
}

fn voice(config: &Config) -> Voice {
    let mut voice = Voice::new(&config.name, config.created, &config.text, config.echo, config.tokens);
    let mut account = DefaultHasher::new();
    config.key.hash(&mut account);
    voice.account = account.finish();
    voice.task.clone_from(&config.task);
    voice
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        Self {
            record: Arc::new(Record::new(config.keep)),
            script: ArcSwap::default(),
            voice: voice(&config),
            responses: StoredResponses::default(),
            standing: Step::new(config.behavior.clone(), config.seed),
            name_ticks: Ticks::seeded(config.seed),
            cache: Cache::default(),
            headers: config.dialect.wire().headers(),
            wire: config.dialect.wire(),
            quirks: config.preset.and_then(quirks::by_name),
            config,
        }
    }

    /// Returns the behaviour in a model's name; `None` for an unknown model.
    pub(super) fn model(&self, name: &str) -> Option<Option<Behavior>> {
        if self.config.models.iter().any(|model| model == name) {
            return Some(None);
        }
        let behavior = self.config.models.iter().find_map(|model| {
            let tokens = name.strip_prefix(model.as_str())?.strip_prefix('-')?;
            Behavior::from_tokens(tokens)
        });
        behavior.map(Some)
    }

    pub(super) fn read(&self, place: &Target, body: &Bytes) -> (Result<ModelRequest, Refusal>, Option<Arc<Behavior>>) {
        let ask = match self.wire.read(place, body) {
            Ok(ask) => ask,
            Err(refusal) => return (Err(refusal), None),
        };
        let Some(behavior) = self.model(&ask.model) else {
            return (Err(Refusal::unknown_model(&ask.model)), None);
        };
        let checked = if self.config.lax { Ok(()) } else { self.check(&ask) };
        let checked = checked.and_then(|()| match self.config.lax {
            true => Ok(()),
            false => self.wire.check_account(&ask, self.voice.account),
        });
        (checked.map(|()| ask), behavior.map(Arc::new))
    }

    fn check(&self, ask: &ModelRequest) -> Result<(), Refusal> {
        match self.quirks {
            None => self.wire.check(ask),
            Some(quirks) if quirks.has_schema() => quirks.check(ask).and_then(|()| self.wire.check(ask)),
            Some(quirks) => quirks.check(ask),
        }
    }

    /// Returns the status and the body of an error.
    pub(super) fn refusal(&self, refusal: &Refusal) -> (u16, Bytes) {
        let own = self.quirks.and_then(|quirks| quirks.refusal(refusal));
        own.map_or_else(|| self.wire.refusal(refusal), |(status, body)| (status, body.into()))
    }

    /// Returns the behaviour of the script, of the model's name, or of the provider, in this order.
    pub(super) fn behavior(&self, scope: Scope, known: Option<&CachedRequest>) -> Arc<Behavior> {
        let by_name = || {
            let behavior = known?.by_name.as_ref()?;
            self.name_ticks.strikes(behavior.percent).then(|| Arc::clone(behavior))
        };
        self.script.load().next(scope).or_else(by_name).or_else(|| self.standing.behavior(scope)).unwrap_or_default()
    }
}
