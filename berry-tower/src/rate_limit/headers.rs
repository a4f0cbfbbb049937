//! The response headers that report what is left of a limit.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::limits::{WindowUsage, go_duration};

/// The names and the format of the headers that report the tightest window.
///
/// The default is OpenAI's: `x-ratelimit-limit-requests`, `x-ratelimit-remaining-requests` and
/// `x-ratelimit-reset-requests`, the last one a duration like `6m0s`.
///
/// ```
/// use berry_tower::rate_limit::{Limits, PerKey, RateLimitHeaders, RateLimitLayer};
/// use http::{HeaderName, request::Parts};
///
/// let headers = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"].map(HeaderName::from_static);
/// let [limit, remaining, reset] = headers;
/// let layer = RateLimitLayer::new(PerKey::new(Limits::new().per_minute(60), |_: &Parts| Some(())))
///     .headers(RateLimitHeaders::in_seconds(limit, remaining, reset));
/// # let _ = layer;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitHeaders {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    GoDuration,
    Seconds,
}

impl Default for RateLimitHeaders {
    fn default() -> Self {
        Self {
            limit: HeaderName::from_static("x-ratelimit-limit-requests"),
            remaining: HeaderName::from_static("x-ratelimit-remaining-requests"),
            reset: HeaderName::from_static("x-ratelimit-reset-requests"),
            format: Format::GoDuration,
        }
    }
}

impl RateLimitHeaders {
    /// Creates headers of other names, the reset in whole seconds, rounded up.
    #[must_use]
    pub const fn in_seconds(limit: HeaderName, remaining: HeaderName, reset: HeaderName) -> Self {
        Self { limit, remaining, reset, format: Format::Seconds }
    }

    /// Writes the headers for a window, unless they already report one that is tighter.
    pub(super) fn write(&self, usage: Option<WindowUsage>, headers: &mut HeaderMap) {
        let Some(WindowUsage { limit, remaining, reset, .. }) = usage else { return };
        let reported = headers.get(&self.remaining).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if reported.is_some_and(|reported| reported <= u64::from(remaining)) {
            return;
        }
        let reset = match self.format {
            Format::GoDuration => HeaderValue::try_from(go_duration(reset)).ok(),
            Format::Seconds => Some(HeaderValue::from(reset.as_secs() + u64::from(reset.subsec_nanos() > 0))),
        };
        headers.insert(self.limit.clone(), HeaderValue::from(limit));
        headers.insert(self.remaining.clone(), HeaderValue::from(remaining));
        if let Some(reset) = reset {
            headers.insert(self.reset.clone(), reset);
        }
    }
}
