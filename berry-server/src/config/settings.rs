//! Reads `[settings]` and its inner tables.

use url::{Position, Url};

use super::file::{ConfidenceAdjustments, RetryBudget, Settings, SmartAi};
use super::reader::{Table, fields};

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
    fields!(t => s, flag: log_request_body, log_response_body, mask_api_keys, public_status);
    fields!(t => s, word: tag_policy);
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
