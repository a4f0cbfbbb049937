//! Builds the models, callers and settings of the layers from a checked configuration.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    ops::Deref,
    sync::Arc,
    time::{Duration, SystemTime},
};

use berry_tower::{
    auth::ApiKey,
    backend::{
        self, Adjustments, Backend, BackendState, Dialect, Model, Provider, RotatingKey, Timeouts, Tuning, strategy,
    },
    breaker::BreakerPolicy,
    rate_limit::{Limits, Quota},
    retry::BackoffPolicy,
    select::TagPolicy,
    spend::Account,
};
use secrecy::ExposeSecret;

use super::{
    BackendType, Config, KeySource, ProviderRoute, Settings, User,
    accounts::{self, TeamChain, Teams},
    presets::Route,
};

/// An authenticated user, or the owner of a key that was created at run time.
#[derive(Debug)]
pub struct Caller {
    /// The id of the user, or `team:` and the id of the team for a key without a user.
    pub id: Arc<str>,
    /// The permissions and limits, which keys of one owner share.
    pub grants: Arc<Grants>,
    /// The key, if it was created at run time.
    #[cfg(feature = "database")]
    pub(crate) key: Option<Arc<crate::keys::RuntimeKey>>,
}

/// The permissions and limits of a caller.
#[derive(Debug, Default)]
pub struct Grants {
    /// The tags.
    pub tags: Vec<Arc<str>>,
    /// Lists of public names and table ids of models. The caller may call the models that are in every list.
    pub allowed: Vec<Arc<HashSet<String>>>,
    /// The rate limits and their usage; `None` for no limits.
    pub quota: Option<Arc<Quota>>,
    /// The accounts that requests are counted for.
    pub account: Account,
}

impl Deref for Caller {
    type Target = Grants;

    fn deref(&self) -> &Grants {
        &self.grants
    }
}

impl Caller {
    /// Returns the id of the key, if it was created at run time.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        #[cfg(feature = "database")]
        return self.key.as_ref().map(|key| &*key.id);
        #[cfg(not(feature = "database"))]
        None
    }

    /// Returns whether the user may call `/admin/*`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.tags.iter().any(|tag| &**tag == berry_tower::select::candidates::ADMIN)
    }

    /// Returns whether the user may call the model.
    #[must_use]
    pub fn allows(&self, model: &Model) -> bool {
        let has = |list: &Arc<HashSet<String>>| list.contains(&**model.name()) || list.contains(&**model.id());
        self.allowed.iter().all(has)
    }
}

/// The objects built from a configuration.
#[derive(Debug)]
pub struct Built {
    /// The models of the catalog.
    pub models: Vec<Model>,
    /// The parameters of backend state: breaker, health and confidence.
    pub tuning: Tuning,
    /// The retry policy.
    pub plan: BackoffPolicy,
    /// The keys of the users.
    pub keys: Vec<ApiKey<Arc<Caller>>>,
    /// The users, by table id.
    pub callers: HashMap<String, Arc<Caller>>,
    /// The backends that users without tags may use.
    pub tag_policy: TagPolicy,
}

/// The keys that are renewed at run time, by their source.
#[derive(Debug, Clone, Default)]
pub struct ProviderKeys(HashMap<KeySource, RotatingKey>);

impl ProviderKeys {
    /// Returns the keys of a configuration. Keys that also exist in `before` keep their value.
    #[must_use]
    pub fn new(config: &Config, before: Option<&Self>) -> Self {
        let sources = config.providers.values().filter_map(|provider| provider.key_source.clone());
        let key = |source: &KeySource| before.and_then(|before| before.0.get(source)).cloned().unwrap_or_default();
        Self(sources.map(|source| (source.clone(), key(&source))).collect())
    }

    /// Returns each key with its source.
    pub fn iter(&self) -> impl Iterator<Item = (&KeySource, &RotatingKey)> {
        self.0.iter()
    }
}

/// A provider, with one variant per route to its models.
struct RoutedProvider {
    usual: Arc<Provider>,
    routes: Vec<(Route, Arc<Provider>)>,
}

impl RoutedProvider {
    fn new(
        id: &str,
        file: &super::Provider,
        settings: &Settings,
        keys: &ProviderKeys,
        secret: &[u8],
    ) -> Result<Self, backend::InvalidProvider> {
        let built = |route| {
            let provider = provider(id, file, settings, route, keys)?;
            Ok::<_, backend::InvalidProvider>(Arc::new(provider.with_seal_secret(secret)))
        };
        let routes = file.routes.iter().map(|route| Ok((route.route, built(Some(route))?)));
        Ok(Self { usual: built(None)?, routes: routes.collect::<Result<_, _>>()? })
    }

    fn of(&self, model: &str) -> &Arc<Provider> {
        self.routes.iter().find(|(route, _)| route.serves(model)).map_or(&self.usual, |(_, provider)| provider)
    }
}

/// Builds the objects of the layers. Users whose limits did not change keep their usage from `before`.
///
/// # Errors
/// Returns the path and the reason when the library rejects a value that passed the checks of the file.
pub fn build(config: &Config, before: &HashMap<String, Arc<Caller>>, keys: &ProviderKeys) -> Result<Built, String> {
    let settings = &config.settings;
    let tuning = tuning(settings);
    let mut providers = HashMap::new();
    let secret = seal_secret(config);
    for (id, provider) in &config.providers {
        let built =
            RoutedProvider::new(id, provider, settings, keys, &secret).map_err(|e| format!("providers.{id}: {e}"))?;
        providers.insert(id.as_str(), built);
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

/// The secret of the server, from the tokens of all users. It is the same for all replicas and after a restart. Whoever
/// knows all tokens could seal reasoning, but only in conversations of these users.
fn seal_secret(config: &Config) -> Vec<u8> {
    let mut users: Vec<_> = config.users.iter().collect();
    users.sort_unstable_by_key(|(id, _)| *id);
    users.into_iter().flat_map(|(_, user)| user.credential.digest()).collect()
}

/// Converts seconds to a duration, and 0 to `None`, which means "off".
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

/// Builds a provider of the library, for the models of a route or for all others.
pub(crate) fn provider(
    id: &str,
    file: &super::Provider,
    settings: &Settings,
    route: Option<&ProviderRoute>,
    keys: &ProviderKeys,
) -> Result<Provider, backend::InvalidProvider> {
    let backend_type = route.map_or(file.backend_type, |route| route.route.backend_type);
    let dialect = match backend_type {
        BackendType::OpenAi | BackendType::Azure => Dialect::OpenAi,
        BackendType::Claude => Dialect::Claude,
        BackendType::Gemini => Dialect::Gemini,
    };
    let base_url = route.map_or(&file.base_url, |route| &route.base_url);
    let mut provider = Provider::new(id, base_url)?.with_dialect(dialect).with_request_options(file.options);
    if backend_type == BackendType::Azure {
        provider = provider.with_azure_deployments(file.api_version.clone().unwrap_or_default());
    }
    let chat_urls = match route {
        Some(route) => route.chat_urls.as_ref().map(|(plain, stream)| (plain, stream)),
        None => file.chat_url.as_ref().map(|plain| (plain, file.chat_stream_url.as_ref().unwrap_or(plain))),
    };
    if let Some((plain, stream)) = chat_urls {
        provider = provider.with_chat_urls(plain, stream)?;
    }
    let version = file.anthropic_version.as_deref().or_else(|| route?.route.anthropic_version);
    if let Some(version) = version {
        provider = provider.with_body_version(version);
    }
    if let Some(header) = &file.key_header {
        provider = provider.with_key_header(header.clone());
    }
    if let Some(source) = &file.key_source {
        provider = provider.with_rotating_key(keys.0.get(source).cloned().unwrap_or_default());
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
        .with_forward_user_agent(file.forward_user_agent)
        .with_propagate_trace(file.propagate_trace)
        .with_max_connections(NonZeroU32::new(file.max_connections))
        .with_key(file.api_key.expose_secret())?;
    for (name, value) in &file.headers {
        let value = value.to_str().map_err(|_| backend::InvalidProvider("a header value is not visible ASCII"))?;
        provider = provider.with_header(name.clone(), value)?;
    }
    Ok(provider)
}

fn model(
    id: &str,
    file: &super::Model,
    providers: &HashMap<&str, RoutedProvider>,
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
            Backend::new(provider.of(&entry.model).clone(), &*entry.model)
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
                // The catalog shares one state among backends with the same provider and model.
                .with_state(Arc::new(BackendState::new(tuning.clone()))),
        );
    }
    Ok(Model::new(&*file.name, strategy, backends)
        .with_id(id)
        .with_enabled(file.enabled)
        .with_fallbacks(file.fallbacks.iter().map(String::as_str))
        .with_stream_recovery(file.stream_recovery)
        .with_on_unsupported(file.on_unsupported)
        .with_answer_model(file.answer_model)
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
