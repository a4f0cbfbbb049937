//! `[settings]` and its inner tables: the types, their defaults, and how they are read.

use berry_tower::{backend::FallbackPermission, select::TagPolicy};
use serde::Serialize;
use url::{Position, Url};

use super::options::EstimateBy;
use super::reader::{Table, fields};

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
    /// The limit of all request bodies and held responses in memory together; 0 = a quarter of the memory.
    pub max_buffered_bytes: u64,
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
    /// Whether users need permission for fallbacks that their own requests lead to.
    pub fallback_permission: FallbackPermission,
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
    /// Whether status pages are open to all; otherwise they need an admin's token. Without a value
    /// they are open if the server listens on a loopback address.
    pub public_status: Option<bool>,
    /// How tokens and cost of a request are estimated; `None` is the default of each.
    pub estimate: Option<EstimateBy>,
    /// The output of a response that the caller has not limited.
    pub assume_output_tokens: u64,
    /// Send that number upstream as the limit.
    pub cap_output: bool,
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
            max_buffered_bytes: 0,
            first_token_timeout_seconds: 0,
            stream_idle_timeout_seconds: 120,
            total_timeout_seconds: 600,
            stream_keepalive_seconds: 15,
            commit_after_seconds: 0,
            tag_policy: TagPolicy::Strict,
            fallback_permission: FallbackPermission::Inherit,
            cors_allowed_origins: Vec::new(),
            shutdown_grace_seconds: 30,
            shutdown_delay_seconds: 0,
            log_request_body: false,
            log_response_body: false,
            mask_api_keys: true,
            public_status: None,
            estimate: None,
            assume_output_tokens: 4096,
            cap_output: false,
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
        Self { ratio: 0.2, min_per_second: 10 }
    }
}

/// Seconds of something that cannot be off. The top, 136 years, keeps sums of times from overflowing.
pub(super) const SECONDS: std::ops::RangeInclusive<u64> = 1..=u32::MAX as u64;
/// Seconds of something that 0 turns off.
pub(super) const SECONDS_OR_OFF: std::ops::RangeInclusive<u64> = 0..=u32::MAX as u64;
/// Attempts after the first.
pub(super) const RETRIES: std::ops::RangeInclusive<u64> = 0..=10;

pub(super) fn read(mut t: Table<'_>) -> Settings {
    let mut s = Settings::default();
    fields!(t => s, whole(SECONDS):
        health_check_interval_seconds, health_check_timeout_seconds,
        recovery_check_interval_seconds, request_timeout_seconds, plain_timeout_seconds,
        circuit_breaker_timeout_seconds, stream_idle_timeout_seconds);
    fields!(t => s, whole(SECONDS_OR_OFF):
        first_token_timeout_seconds, total_timeout_seconds, stream_keepalive_seconds,
        commit_after_seconds, shutdown_grace_seconds, shutdown_delay_seconds);
    fields!(t => s, whole(RETRIES): max_retries);
    fields!(t => s, whole(1..=u64::from(u32::MAX)): circuit_breaker_failure_threshold);
    fields!(t => s, whole(1..=i64::MAX as u64): max_request_body_bytes);
    fields!(t => s, whole(0..=i64::MAX as u64): max_buffered_bytes);
    if (1..s.max_request_body_bytes).contains(&s.max_buffered_bytes) {
        t.warn("max_buffered_bytes", "is less than `max_request_body_bytes`; longer bodies are never accepted");
    }
    fields!(t => s, flag: log_request_body, log_response_body, mask_api_keys);
    if t.has("public_status") {
        t.flag("public_status", s.public_status.insert(true));
    }
    fields!(t => s, word: tag_policy, fallback_permission);
    fields!(t => s, whole(1..=u64::from(u32::MAX)): assume_output_tokens);
    fields!(t => s, flag: cap_output);
    if t.has("estimate") {
        t.word("estimate", s.estimate.insert(EstimateBy::Bound));
    }
    s.cors_allowed_origins = t.strings("cors_allowed_origins", not_an_origin);
    s.max_internal_retries = internal_retries(&mut t, s.max_retries);
    s.smart_ai = smart_ai(t.table("smart_ai", "settings.smart_ai"));
    s.retry_budget = retry_budget(t.table("retry_budget", "settings.retry_budget"));
    t.leftover("batch_metrics");
    t.finish();
    s
}

fn internal_retries(t: &mut Table<'_>, max_retries: u32) -> u32 {
    let mut internal = max_retries.min(Settings::default().max_internal_retries);
    t.whole("max_internal_retries", 0..=u64::from(u32::MAX), &mut internal);
    if internal > max_retries {
        let message = format!("{internal} is more than `max_retries`; {max_retries} is used");
        t.warn("max_internal_retries", message);
    }
    internal.min(max_retries)
}

fn smart_ai(mut t: Table<'_>) -> SmartAi {
    let mut s = SmartAi::default();
    fields!(t => s, share: initial_confidence, min_confidence, exploration_ratio);
    fields!(t => s, flag: enable_time_decay);
    fields!(t => s, whole(SECONDS): lightweight_check_interval_seconds);
    t.real(
        "non_premium_stability_bonus",
        |bonus| (1.0..=2.0).contains(&bonus),
        "from 1 to 2",
        &mut s.non_premium_stability_bonus,
    );
    if s.min_confidence > s.initial_confidence {
        t.warn("min_confidence", "is above `initial_confidence`");
    }
    let kind = "settings.smart_ai.confidence_adjustments";
    s.confidence_adjustments = adjustments(t.table("confidence_adjustments", kind));
    t.finish();
    s
}

fn adjustments(mut t: Table<'_>) -> ConfidenceAdjustments {
    let mut s = ConfidenceAdjustments::default();
    fields!(t => s, share:
        success_boost, network_error_penalty, auth_error_penalty, rate_limit_penalty,
        server_error_penalty, model_error_penalty, timeout_penalty);
    t.finish();
    s
}

fn retry_budget(mut t: Table<'_>) -> RetryBudget {
    let mut s = RetryBudget::default();
    fields!(t => s, share: ratio);
    fields!(t => s, whole(0..=u64::from(u32::MAX)): min_per_second);
    t.finish();
    s
}

/// An origin is compared with the browser's byte by byte, so it must be written as a browser does.
fn not_an_origin(text: &str) -> Option<String> {
    if text == "*" {
        return None;
    }
    let example = "must be `*` or an origin like `https://app.example.com`";
    let Some(url) = Url::parse(text).ok().filter(Url::has_host) else {
        return Some(example.to_owned());
    };
    // Scheme, host and a port that is not the scheme's own; a path is no part of an origin.
    let origin = &url[..Position::BeforePath];
    (text != origin).then(|| format!("{example}; did you mean `{origin}`?"))
}
