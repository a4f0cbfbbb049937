//! The configuration file as types: every key, with its unit and its default.

use std::num::NonZeroU32;

use http::HeaderMap;
use indexmap::IndexMap;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;

use super::options::{
    BackendType, BillingMode, Probe, Sampling, Strategy, StreamRecovery, TagPolicy,
};

/// A whole configuration file, checked. Tables keep the order of the file.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[settings]`
    pub settings: Settings,
    /// `[users.<id>]`
    pub users: IndexMap<String, User>,
    /// `[providers.<id>]`
    pub providers: IndexMap<String, Provider>,
    /// `[models.<id>]`
    pub models: IndexMap<String, Model>,
}

/// `[settings]`. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Between two rounds of probes.
    pub health_check_interval_seconds: u64,
    /// Bounds a whole probe.
    pub health_check_timeout_seconds: u64,
    /// After the last failure, until a user's request may try an unhealthy backend.
    pub recovery_check_interval_seconds: u64,
    /// To the head of a streamed response; the default of a provider's `timeout_seconds`.
    pub request_timeout_seconds: u64,
    /// To the head of a plain response.
    pub plain_timeout_seconds: u64,
    /// Further attempts for one request over all backends of one model.
    pub max_retries: u32,
    /// How many of these may go to a backend tried before; never more than `max_retries`.
    pub max_internal_retries: u32,
    /// Failures in a row that open a breaker.
    pub circuit_breaker_failure_threshold: u32,
    /// How long a breaker stays open.
    pub circuit_breaker_timeout_seconds: u64,
    /// A longer request is refused with 413.
    pub max_request_body_bytes: u64,
    /// Streams: to the first event that bears output; 0 = off.
    pub first_token_timeout_seconds: u64,
    /// Longest silence of an upstream between two frames.
    pub stream_idle_timeout_seconds: u64,
    /// All attempts together, until the commit point; 0 = off.
    pub total_timeout_seconds: u64,
    /// A comment line to the client after so much silence; 0 = off.
    pub stream_keepalive_seconds: u64,
    /// A streamed response's head goes out after so long; 0 = never before the first output.
    pub commit_after_seconds: u64,
    /// What users without tags may use.
    pub tag_policy: TagPolicy,
    /// Origins, or `*`; empty = no CORS.
    pub cors_allowed_origins: Vec<String>,
    /// How long a drain waits for streams.
    pub shutdown_grace_seconds: u64,
    /// How long the listener stays open after `/readyz` turned 503.
    pub shutdown_delay_seconds: u64,
    /// Log request bodies at debug level.
    pub log_request_body: bool,
    /// Log response bodies at debug level.
    pub log_response_body: bool,
    /// Print `sk-…abcd` wherever a key could be printed.
    pub mask_api_keys: bool,
    /// Whether status pages are open to all; otherwise they need an admin token.
    pub public_status: bool,
    /// `[settings.smart_ai]`
    pub smart_ai: SmartAi,
    /// `[settings.retry_budget]`
    pub retry_budget: RetryBudget,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            health_check_interval_seconds: 30,
            health_check_timeout_seconds: 10,
            recovery_check_interval_seconds: 120,
            request_timeout_seconds: 30,
            plain_timeout_seconds: 300,
            max_retries: 3,
            max_internal_retries: 2,
            circuit_breaker_failure_threshold: 5,
            circuit_breaker_timeout_seconds: 60,
            max_request_body_bytes: 32 * 1024 * 1024,
            first_token_timeout_seconds: 0,
            stream_idle_timeout_seconds: 120,
            total_timeout_seconds: 600,
            stream_keepalive_seconds: 15,
            commit_after_seconds: 0,
            tag_policy: TagPolicy::Strict,
            cors_allowed_origins: Vec::new(),
            shutdown_grace_seconds: 30,
            shutdown_delay_seconds: 0,
            log_request_body: false,
            log_response_body: false,
            mask_api_keys: true,
            public_status: true,
            smart_ai: SmartAi::default(),
            retry_budget: RetryBudget::default(),
        }
    }
}

/// `[settings.smart_ai]`. Confidence and ratios are in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SmartAi {
    /// The confidence of a backend that nothing is known about.
    pub initial_confidence: f64,
    /// The floor that no penalty goes below.
    pub min_confidence: f64,
    /// Whether an idle backend's confidence drifts to 0.5.
    pub enable_time_decay: bool,
    /// Between two connectivity checks.
    pub lightweight_check_interval_seconds: u64,
    /// The share of requests that does not go to the best backend.
    pub exploration_ratio: f64,
    /// The factor, 1..=2, on the weight of a well-trusted backend without the tag `premium`.
    pub non_premium_stability_bonus: f64,
    /// `[settings.smart_ai.confidence_adjustments]`
    pub confidence_adjustments: ConfidenceAdjustments,
}

impl Default for SmartAi {
    fn default() -> Self {
        Self {
            initial_confidence: 0.8,
            min_confidence: 0.05,
            enable_time_decay: true,
            lightweight_check_interval_seconds: 600,
            exploration_ratio: 0.2,
            non_premium_stability_bonus: 1.1,
            confidence_adjustments: ConfidenceAdjustments::default(),
        }
    }
}

/// What one outcome adds to or takes from a confidence, each in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConfidenceAdjustments {
    /// Added by a success.
    pub success_boost: f64,
    /// Taken by a connection that failed or broke.
    pub network_error_penalty: f64,
    /// Taken by a refused key.
    pub auth_error_penalty: f64,
    /// Taken by a 429.
    pub rate_limit_penalty: f64,
    /// Taken by a 5xx or a garbled answer.
    pub server_error_penalty: f64,
    /// Taken by an unknown model.
    pub model_error_penalty: f64,
    /// Taken by a deadline that passed.
    pub timeout_penalty: f64,
}

impl Default for ConfidenceAdjustments {
    fn default() -> Self {
        Self {
            success_boost: 0.1,
            network_error_penalty: 0.3,
            auth_error_penalty: 0.8,
            rate_limit_penalty: 0.1,
            server_error_penalty: 0.2,
            model_error_penalty: 0.3,
            timeout_penalty: 0.2,
        }
    }
}

/// `[settings.retry_budget]`: what retries may add to the load, over a sliding window of 10 s.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetryBudget {
    /// Retries as a share of requests, 0..=1.
    pub ratio: f64,
    /// Retries per second that are always allowed.
    pub min_per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            ratio: 0.2,
            min_per_second: 10,
        }
    }
}

/// `[users.<id>]`
#[derive(Debug, Clone)]
pub struct User {
    /// A label for humans; the table's id when the file gives none.
    pub name: String,
    /// What the user shows.
    pub credential: Credential,
    /// Public names or table ids of models; empty = all.
    pub allowed_models: Vec<String>,
    /// A disabled user is refused.
    pub enabled: bool,
    /// Which tagged backends the user may use; `admin` opens `/admin/*`.
    pub tags: Vec<String>,
    /// The token is refused from this moment on.
    pub expires_at: Option<Timestamp>,
    /// `[users.<id>.rate_limit]`
    pub rate_limit: RateLimit,
}

impl User {
    /// Whether the user has the tag `admin`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.tags.iter().any(|tag| tag == "admin")
    }

    /// Whether the user's list holds the model, by its public name or its table id.
    #[must_use]
    pub fn allows(&self, id: &str, name: &str) -> bool {
        let named = |allowed: &String| allowed == id || allowed == name;
        self.allowed_models.is_empty() || self.allowed_models.iter().any(named)
    }
}

/// What a user shows: a token that the file holds, or one of which the file holds the digest only.
#[derive(Clone)]
pub enum Credential {
    /// `token`
    Token(SecretString),
    /// `token_sha256`
    Sha256([u8; 32]),
}

impl Credential {
    /// The SHA-256 digest of the token.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        use secrecy::ExposeSecret;
        use sha2::{Digest, Sha256};
        match self {
            Self::Token(token) => Sha256::digest(token.expose_secret()).into(),
            Self::Sha256(digest) => *digest,
        }
    }

    /// The token itself, where the file holds it.
    #[must_use]
    pub fn token(&self) -> Option<&SecretString> {
        match self {
            Self::Token(token) => Some(token),
            Self::Sha256(_) => None,
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token([REDACTED])",
            Self::Sha256(_) => "Sha256([REDACTED])",
        })
    }
}

/// `[users.<id>.rate_limit]`; what is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Requests in a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Requests in an hour.
    pub requests_per_hour: Option<NonZeroU32>,
    /// Requests in a day.
    pub requests_per_day: Option<NonZeroU32>,
    /// Requests under way at once.
    pub max_concurrent_requests: Option<NonZeroU32>,
}

/// `[providers.<id>]`. What the file leaves out has been filled in from `[settings]`.
#[derive(Debug, Clone)]
pub struct Provider {
    /// A label for humans; the table's id when the file gives none.
    pub name: String,
    /// An http or https URL without user, query or fragment, as written.
    pub base_url: String,
    /// Empty: no key is sent.
    pub api_key: SecretString,
    /// The upstream's names of its models.
    pub models: Vec<String>,
    /// Sent on every call and every probe; the values are marked sensitive.
    pub headers: HeaderMap,
    /// A disabled provider gets no requests.
    pub enabled: bool,
    /// To the head of one streamed attempt, in seconds.
    pub timeout_seconds: u64,
    /// To the head of one plain attempt, in seconds.
    pub plain_timeout_seconds: u64,
    /// To a connection, in seconds.
    pub connect_timeout_seconds: u64,
    /// Attempts after the first on this provider for one request.
    pub max_retries: u32,
    /// The protocol it speaks.
    pub backend_type: BackendType,
    /// Set whenever the type is `azure`.
    pub api_version: Option<String>,
    /// Ask for `usage` in streams.
    pub stream_usage: bool,
}

/// `[models.<id>]`
#[derive(Debug, Clone)]
pub struct Model {
    /// The public name, unique over all models.
    pub name: String,
    /// How a backend is picked.
    pub strategy: Strategy,
    /// A disabled model is not served.
    pub enabled: bool,
    /// At least one.
    pub backends: Vec<Backend>,
    /// Public names of other models, tried in order; without cycles.
    pub fallbacks: Vec<String>,
    /// What becomes of a stream that is cut.
    pub stream_recovery: StreamRecovery,
}

/// `[[models.<id>.backends]]`
#[derive(Debug, Clone)]
pub struct Backend {
    /// The provider's table id.
    pub provider: String,
    /// One of the provider's `models`.
    pub model: String,
    /// Above 0, at most 100.
    pub weight: f64,
    /// 0..=10; lower is preferred.
    pub priority: u8,
    /// A disabled backend gets no requests.
    pub enabled: bool,
    /// Who may use it; `premium` marks cost and bars nobody.
    pub tags: Vec<String>,
    /// What the provider charges for.
    pub billing_mode: BillingMode,
    /// How its health is probed.
    pub probe: Probe,
    /// Requests under way at once; 0 = no bound.
    pub max_in_flight: u32,
    /// Whether it continues a given start of an answer.
    pub supports_prefill: bool,
    /// Which sampling parameters a translated request may carry.
    pub sampling: Sampling,
}
