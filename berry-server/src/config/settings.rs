//! Types, defaults and readers of `[settings]` and its tables.

use berry_tower::{backend::FallbackPermission, select::TagPolicy};
use serde::Serialize;
use url::{Position, Url};

use super::options::EstimateBy;
use super::reader::{Table, fields};

/// `[settings]`. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// The interval of health probes.
    pub health_check_interval_seconds: u64,
    /// The timeout of a probe.
    pub health_check_timeout_seconds: u64,
    /// The time after a failure until a user request may try an unhealthy backend.
    pub recovery_check_interval_seconds: u64,
    /// The timeout for the head of a streamed response; the default of a provider's `timeout_seconds`.
    pub request_timeout_seconds: u64,
    /// The timeout for the head of another response.
    pub plain_timeout_seconds: u64,
    /// The maximum number of retries of one request on the backends of one model.
    pub max_retries: u32,
    /// The number of these retries that may use a backend tried before; at most `max_retries`.
    pub max_internal_retries: u32,
    /// The number of consecutive failures that open a breaker.
    pub circuit_breaker_failure_threshold: u32,
    /// The time that a breaker stays open.
    pub circuit_breaker_timeout_seconds: u64,
    /// The maximum size of a request body in bytes; a longer request gets a 413.
    pub max_request_body_bytes: u64,
    /// The maximum size of all request bodies and held responses in memory; 0 = a quarter of the memory.
    pub max_buffered_bytes: u64,
    /// The timeout for the first event of a stream with output; 0 = off.
    pub first_token_timeout_seconds: u64,
    /// The longest silence of an upstream within a stream.
    pub stream_idle_timeout_seconds: u64,
    /// The timeout for all attempts of a request, until the commit point; 0 = off.
    pub total_timeout_seconds: u64,
    /// The silence after which a stream gets a comment line; 0 = off.
    pub stream_keepalive_seconds: u64,
    /// The time after which the head of a stream is sent; 0 = not before the first output.
    pub commit_after_seconds: u64,
    /// The backends that users without tags may use.
    pub tag_policy: TagPolicy,
    /// Whether users need permission for the fallback models of their requests.
    pub fallback_permission: FallbackPermission,
    /// The allowed CORS origins, or `*`; empty = no CORS.
    pub cors_allowed_origins: Vec<String>,
    /// The time for requests in flight to finish at shutdown.
    pub shutdown_grace_seconds: u64,
    /// The time between the 503 of `/readyz` and the closing of the listener at shutdown.
    pub shutdown_delay_seconds: u64,
    /// Whether request bodies are logged at debug level.
    pub log_request_body: bool,
    /// Whether response bodies are logged at debug level.
    pub log_response_body: bool,
    /// Whether keys in output are masked like `sk-…abcd`.
    pub mask_api_keys: bool,
    /// Whether status pages are open to everyone or need an admin's token. By default they are open
    /// only if the server listens on a loopback address.
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
    /// The confidence of a new backend.
    pub initial_confidence: f64,
    /// The minimum confidence.
    pub min_confidence: f64,
    /// Whether the confidence of an idle backend drifts to 0.5.
    pub enable_time_decay: bool,
    /// The interval of connectivity checks.
    pub lightweight_check_interval_seconds: u64,
    /// The share of requests for backends other than the best.
    pub exploration_ratio: f64,
    /// The factor, 1..=2, on the weight of a trusted backend without the tag `premium`.
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

/// The change of confidence by one outcome, each in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConfidenceAdjustments {
    /// The increase after a success.
    pub success_boost: f64,
    /// The decrease after a failed or broken connection.
    pub network_error_penalty: f64,
    /// The decrease after a rejected key.
    pub auth_error_penalty: f64,
    /// The decrease after a 429.
    pub rate_limit_penalty: f64,
    /// The decrease after a 5xx or an invalid response.
    pub server_error_penalty: f64,
    /// The decrease after an unknown model.
    pub model_error_penalty: f64,
    /// The decrease after a timeout.
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

/// `[settings.retry_budget]`: the limit of retries in a sliding window of 10 s.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetryBudget {
    /// The maximum share of retries to requests, 0..=1.
    pub ratio: f64,
    /// The number of retries per second that is always allowed.
    pub min_per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10 }
    }
}

/// The range of a time that cannot be off. The upper end, 136 years, keeps sums from overflowing.
pub(super) const SECONDS: std::ops::RangeInclusive<u64> = 1..=u32::MAX as u64;
/// The range of a time that 0 turns off.
pub(super) const SECONDS_OR_OFF: std::ops::RangeInclusive<u64> = 0..=u32::MAX as u64;
/// The range of retry counts.
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
    t.deprecated("batch_metrics");
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

/// Returns an error unless the text is an origin as browsers send it, because origins are compared byte
/// by byte.
fn not_an_origin(text: &str) -> Option<String> {
    if text == "*" {
        return None;
    }
    let example = "must be `*` or an origin like `https://app.example.com`";
    let Some(url) = Url::parse(text).ok().filter(Url::has_host) else {
        return Some(example.to_owned());
    };
    // An origin consists of scheme, host and non-default port, without a path.
    let origin = &url[..Position::BeforePath];
    (text != origin).then(|| format!("{example}; did you mean `{origin}`?"))
}
