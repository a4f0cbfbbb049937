//! From a checked configuration to what the layers take: models, callers, settings.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    ops::Deref,
    sync::Arc,
    time::{Duration, SystemTime},
};

use berry_tower::{
    auth::ApiKey,
    backend::{self, Adjustments, Backend, BackendState, Dialect, Model, Provider, Timeouts, Tuning, strategy},
    breaker::BreakerPolicy,
    rate_limit::{Limits, Quota},
    retry::BackoffPolicy,
    select::TagPolicy,
    spend::Account,
};
use secrecy::ExposeSecret;

use super::{
    BackendType, Config, Settings, User,
    accounts::{self, TeamChain, Teams},
};

/// Who calls: a user, or a key that was made at run time.
#[derive(Debug)]
pub struct Caller {
    /// The user's id; `team:` and the team's id for a key without a user.
    pub id: Arc<str>,
    /// What the caller may do, which keys of one owner share.
    pub grants: Arc<Grants>,
    /// The key, if it was made at run time.
    #[cfg(feature = "database")]
    pub(crate) key: Option<Arc<crate::keys::RuntimeKey>>,
}

/// What a caller may do.
#[derive(Debug, Default)]
pub struct Grants {
    /// The tags.
    pub tags: Vec<Arc<str>>,
    /// Lists of public names and table ids of models, of which each must have a model that the caller may call.
    pub allowed: Vec<Arc<HashSet<String>>>,
    /// What the user has spent of its limits; `None` is no limit.
    pub quota: Option<Arc<Quota>>,
    /// Those whom requests are counted for.
    pub account: Account,
}

impl Deref for Caller {
    type Target = Grants;

    fn deref(&self) -> &Grants {
        &self.grants
    }
}

impl Caller {
    /// The id of the key, if it was made at run time.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        #[cfg(feature = "database")]
        return self.key.as_ref().map(|key| &*key.id);
        #[cfg(not(feature = "database"))]
        None
    }

    /// Whether the user may call `/admin/*`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.tags.iter().any(|tag| &**tag == berry_tower::select::candidates::ADMIN)
    }

    /// Whether the user's list holds the model.
    #[must_use]
    pub fn allows(&self, model: &Model) -> bool {
        let has = |list: &Arc<HashSet<String>>| list.contains(&**model.name()) || list.contains(&**model.id());
        self.allowed.iter().all(has)
    }
}

/// What a configuration builds.
#[derive(Debug)]
pub struct Built {
    /// The models, for a catalogue.
    pub models: Vec<Model>,
    /// How the state of backends moves.
    pub tuning: Tuning,
    /// Whether and when a failed attempt is followed by another.
    pub plan: BackoffPolicy,
    /// The users' keys.
    pub keys: Vec<ApiKey<Arc<Caller>>>,
    /// The users, by table id.
    pub callers: HashMap<String, Arc<Caller>>,
    /// What users without tags may use.
    pub tag_policy: TagPolicy,
}

/// Builds what the layers take. Users whose limits did not change keep what they have spent of
/// them in `before`.
///
/// # Errors
/// A value that passed the checks of the file and is refused all the same, with its path.
pub fn build(config: &Config, before: &HashMap<String, Arc<Caller>>) -> Result<Built, String> {
    let settings = &config.settings;
    let tuning = tuning(settings);
    let mut providers = HashMap::new();
    for (id, provider) in &config.providers {
        let built = self::provider(id, provider, settings).map_err(|e| format!("providers.{id}: {e}"))?;
        providers.insert(id.as_str(), Arc::new(built));
    }
    let models = config.models.iter().map(|(id, model)| self::model(id, model, &providers, &tuning, settings));
    let models: Vec<Model> = models.collect::<Result<_, _>>()?;
    let teams = Teams::new(config);
    let mut callers = HashMap::new();
    let mut keys = Vec::new();
    for (id, user) in &config.users {
        let team = teams.of(user);
        let caller = Arc::new(caller(config, id, user, &team, before.get(id)));
        keys.push(key(user, &team, caller.clone()));
        callers.insert(id.clone(), caller);
    }
    let plan = BackoffPolicy::new()
        .with_max_retries(settings.max_retries)
        .with_max_same_backend_retries(settings.max_internal_retries);
    Ok(Built { models, tuning, plan, keys, callers, tag_policy: settings.tag_policy })
}

/// `None` where zero seconds mean "off".
#[must_use]
pub fn seconds(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn tuning(settings: &Settings) -> Tuning {
    let smart_ai = &settings.smart_ai;
    let adjustments = &smart_ai.confidence_adjustments;
    Tuning {
        recovery_interval: Duration::from_secs(settings.recovery_check_interval_seconds),
        breaker: BreakerPolicy::new()
            .with_failure_threshold(settings.circuit_breaker_failure_threshold)
            .with_open_for(Duration::from_secs(settings.circuit_breaker_timeout_seconds)),
        smart_ai: backend::SmartAi {
            initial_confidence: smart_ai.initial_confidence,
            min_confidence: smart_ai.min_confidence,
            time_decay: smart_ai.enable_time_decay,
            exploration_ratio: smart_ai.exploration_ratio,
            non_premium_stability_bonus: smart_ai.non_premium_stability_bonus,
            adjustments: Adjustments {
                success_boost: adjustments.success_boost,
                network_error_penalty: adjustments.network_error_penalty,
                auth_error_penalty: adjustments.auth_error_penalty,
                rate_limit_penalty: adjustments.rate_limit_penalty,
                server_error_penalty: adjustments.server_error_penalty,
                model_error_penalty: adjustments.model_error_penalty,
                timeout_penalty: adjustments.timeout_penalty,
            },
        },
    }
}

/// A provider as the layers know it.
pub(crate) fn provider(
    id: &str,
    file: &super::Provider,
    settings: &Settings,
) -> Result<Provider, backend::InvalidProvider> {
    let dialect = match file.backend_type {
        BackendType::OpenAi | BackendType::Azure => Dialect::OpenAi,
        BackendType::Claude => Dialect::Claude,
        BackendType::Gemini => Dialect::Gemini,
    };
    let mut provider = Provider::new(id, &file.base_url)?.with_dialect(dialect);
    if file.backend_type == BackendType::Azure {
        provider = provider.with_azure_deployments(file.api_version.clone().unwrap_or_default());
    }
    let timeouts = Timeouts::default()
        .with_connect(Duration::from_secs(file.connect_timeout_seconds))
        .with_stream_head(Duration::from_secs(file.timeout_seconds))
        .with_plain_head(Duration::from_secs(file.plain_timeout_seconds))
        .with_first_token(seconds(settings.first_token_timeout_seconds))
        .with_idle(Duration::from_secs(settings.stream_idle_timeout_seconds));
    let mut provider = provider
        .with_timeouts(timeouts)
        .with_enabled(file.enabled)
        .with_max_retries(file.max_retries)
        .with_stream_usage(file.stream_usage)
        .with_forward_user_agent(file.forward_user_agent)
        .with_max_connections(NonZeroU32::new(file.max_connections))
        .with_key(file.api_key.expose_secret())?;
    for (name, value) in &file.headers {
        let value = value.to_str().map_err(|_| backend::InvalidProvider("a header value is no visible ASCII"))?;
        provider = provider.with_header(name.clone(), value)?;
    }
    Ok(provider)
}

fn model(
    id: &str,
    file: &super::Model,
    providers: &HashMap<&str, Arc<Provider>>,
    tuning: &Tuning,
    settings: &Settings,
) -> Result<Model, String> {
    let strategy = strategy::by_name(file.strategy.as_str(), &tuning.smart_ai)
        .ok_or_else(|| format!("models.{id}.strategy: unknown strategy `{}`", file.strategy.as_str()))?;
    let mut backends = Vec::with_capacity(file.backends.len());
    for (i, entry) in file.backends.iter().enumerate() {
        let provider = providers.get(entry.provider.as_str());
        let provider = provider.ok_or_else(|| format!("models.{id}.backends[{i}].provider: unknown"))?;
        backends.push(
            Backend::new(provider.clone(), &*entry.model)
                .with_weight(entry.weight)
                .with_priority(entry.priority)
                .with_enabled(entry.enabled)
                .with_tags(entry.tags.iter().map(String::as_str))
                .with_billing(entry.billing_mode)
                .with_probe(entry.probe)
                .with_max_in_flight(entry.max_in_flight)
                .with_prefill(entry.supports_prefill)
                .with_sampling(entry.sampling)
                .with_thinking(entry.thinking)
                .with_think_tags(entry.think_tags)
                .with_openai_api(entry.openai_api)
                // The catalogue shares one state among those of the same provider and model.
                .with_state(Arc::new(BackendState::new(tuning.clone()))),
        );
    }
    Ok(Model::new(&*file.name, strategy, backends)
        .with_id(id)
        .with_enabled(file.enabled)
        .with_fallbacks(file.fallbacks.iter().map(String::as_str))
        .with_stream_recovery(file.stream_recovery)
        .with_on_unsupported(file.on_unsupported)
        .with_fallback_permission(file.fallback_permission.unwrap_or(settings.fallback_permission)))
}

fn caller(config: &Config, id: &str, user: &User, team: &TeamChain, before: Option<&Arc<Caller>>) -> Caller {
    let limit = &user.rate_limit;
    let limits = Limits::new()
        .per_minute(limit.requests_per_minute.map(NonZeroU32::get))
        .per_hour(limit.requests_per_hour.map(NonZeroU32::get))
        .per_day(limit.requests_per_day.map(NonZeroU32::get))
        .concurrent(limit.max_concurrent_requests.map(NonZeroU32::get));
    let old = before.and_then(|caller| caller.quota.as_ref());
    let allowed = (!user.allowed_models.is_empty()).then(|| Arc::new(user.allowed_models.iter().cloned().collect()));
    // With a store these limits are counted there.
    let has_quota = *limit != super::RateLimit::default() && config.store.is_none();
    let grants = Grants {
        tags: user.tags.iter().map(|tag| tag.as_str().into()).collect(),
        allowed: allowed.into_iter().chain(team.models.iter().cloned()).collect(),
        quota: has_quota.then(|| Quota::renew(old, limits)),
        account: accounts::account(config, id, user, team),
    };
    Caller {
        id: id.into(),
        grants: Arc::new(grants),
        #[cfg(feature = "database")]
        key: None,
    }
}

fn key(user: &User, team: &TeamChain, caller: Arc<Caller>) -> ApiKey<Arc<Caller>> {
    let expires = user.expires_at.map(SystemTime::from);
    ApiKey::from_digest(user.credential.digest(), caller).enabled(user.enabled && team.is_enabled).expires_at(expires)
}
