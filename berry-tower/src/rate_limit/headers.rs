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
        let mut digits = itoa::Buffer::new();
        let mut insert = |name: &HeaderName, text: &str| {
            // One allocation, where `HeaderValue::from` of a number needs two.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name.clone(), value);
            }
        };
        insert(&self.limit, digits.format(limit));
        insert(&self.remaining, digits.format(remaining));
        match self.format {
            Format::GoDuration => insert(&self.reset, &go_duration(reset)),
            Format::Seconds => {
                let seconds = reset.as_secs().saturating_add(u64::from(reset.subsec_nanos() > 0));
                insert(&self.reset, digits.format(seconds));
            }
        }
    }
}
