//! Refusals and headers that report limits to the client.

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Measure, Money, SpendLimit};
use crate::{
    endpoint::Endpoint,
    render::Refusal,
    store::{CounterUsage, TakeError, civil},
};

/// The limit that refused a request; in the extensions of the refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitReached {
    measure: Measure,
    window: Cow<'static, str>,
}

impl LimitReached {
    pub(super) fn new(limit: &SpendLimit) -> Self {
        Self { measure: limit.measure(), window: limit.rule().window_name() }
    }

    /// Returns what the limit counts.
    #[must_use]
    pub const fn measure(&self) -> Measure {
        self.measure
    }

    /// Returns the name of the window.
    #[must_use]
    pub fn window(&self) -> &str {
        &self.window
    }
}

/// Returned when a retry or a fallback would cost more than a limit has left.
#[derive(Clone, Debug)]
pub struct SpendExceeded {
    pub(super) refusal: Refusal,
    pub(super) reached: Option<LimitReached>,
}

impl SpendExceeded {
    /// Returns the refusal.
    #[must_use]
    pub const fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// Returns the limit; `None` if the store cannot be asked, or the attempt could never fit.
    #[must_use]
    pub const fn limit(&self) -> Option<&LimitReached> {
        self.reached.as_ref()
    }
}

impl std::fmt::Display for SpendExceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.refusal.message)
    }
}

impl std::error::Error for SpendExceeded {}

fn amount(limit: &SpendLimit, units: u64) -> String {
    match limit.measure() {
        Measure::Cost => format!("${}", Money::from_nanos(units)),
        Measure::Tokens => format!("{units} tokens"),
        _ if units == 1 => "1 request".to_owned(),
        _ => format!("{units} requests"),
    }
}

fn window(limit: &SpendLimit) -> String {
    match &*limit.rule().window_name() {
        "total" => "in total".to_owned(),
        "utc_day" => "per day".to_owned(),
        "utc_month" => "per month".to_owned(),
        "concurrency" => "at the same time".to_owned(),
        name => format!("per {name}"),
    }
}

/// The refusal of a request whose reservation is more than the limit itself.
pub(super) fn never(limit: &SpendLimit, units: u64) -> Refusal {
    let message = format!(
        "this request could use up to {}, more than the limit of {} {}, so it can never pass; shorten it or lower its limit of output tokens",
        amount(limit, units),
        amount(limit, limit.rule().limit()),
        window(limit)
    );
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message).code("request_exceeds_limit").final_answer()
}

/// The refusal of a request that a limit has too little left for; `units` are those it needs.
pub(super) fn exceeded(limit: &SpendLimit, units: u64, retry_after: Duration, usage: CounterUsage) -> Refusal {
    let (allowed, left) = (amount(limit, usage.limit()), amount(limit, usage.remaining()));
    let (kind, code, message) = match limit.measure() {
        Measure::Requests => {
            ("requests", "rate_limit_exceeded", format!("rate limit of {allowed} {} reached", window(limit)))
        }
        Measure::Concurrency => {
            ("requests", "rate_limit_exceeded", "too many requests at the same time; wait for one to end".to_owned())
        }
        Measure::Tokens => (
            "tokens",
            "rate_limit_exceeded",
            format!(
                "rate limit of {allowed} {} reached: {left} are left, and this request may use {}",
                window(limit),
                amount(limit, units)
            ),
        ),
        Measure::Cost => (
            "insufficient_quota",
            "insufficient_quota",
            format!(
                "budget of {allowed} {} is used up: {left} is left, and this request may cost {}",
                window(limit),
                amount(limit, units)
            ),
        ),
    };
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, kind, message).code(code).retry_after(retry_after)
}

/// The refusal when nothing is allowed without the store.
pub(super) fn unavailable() -> Refusal {
    let message = "the store of the limits is not available; try again soon";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
        .code("limits_unavailable")
        .retry_after(Duration::from_secs(1))
}

/// Returns the refusal for an error of the store.
pub(super) fn refusal(limits: &[(SpendLimit, u64)], error: &TakeError) -> (Refusal, Option<LimitReached>) {
    match error {
        TakeError::Exceeded { index, retry_after, usage } => match limits.get(*index) {
            Some((limit, units)) => {
                let refusal = exceeded(limit, *units, *retry_after, *usage);
                (refusal, Some(LimitReached::new(limit)))
            }
            None => (unavailable(), None),
        },
        TakeError::Unavailable => (unavailable(), None),
    }
}

/// Writes the headers that report the tightest limit of requests and of tokens.
pub(super) fn write_headers(
    headers: &mut HeaderMap,
    endpoint: Option<Endpoint>,
    usages: &[(Measure, CounterUsage)],
    unix_seconds: u64,
) {
    let is_anthropic = endpoint == Some(Endpoint::Messages);
    for measure in [Measure::Requests, Measure::Tokens] {
        let of_measure = usages.iter().filter(|(it, _)| *it == measure).map(|(_, usage)| usage);
        let share =
            |usage: &&CounterUsage| u128::from(usage.remaining()) * 1_000_000 / u128::from(usage.limit().max(1));
        let Some(usage) = of_measure.min_by_key(share) else { continue };
        let names = match (is_anthropic, measure) {
            (false, Measure::Requests) => {
                ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]
            }
            (false, _) => ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
            (true, Measure::Requests) => [
                "anthropic-ratelimit-requests-limit",
                "anthropic-ratelimit-requests-remaining",
                "anthropic-ratelimit-requests-reset",
            ],
            (true, _) => [
                "anthropic-ratelimit-tokens-limit",
                "anthropic-ratelimit-tokens-remaining",
                "anthropic-ratelimit-tokens-reset",
            ],
        };
        let reset = if is_anthropic {
            rfc3339(unix_seconds.saturating_add(whole_seconds(usage.reset())))
        } else {
            go_duration(usage.reset())
        };
        let [limit, remaining, reset_name] = names.map(HeaderName::from_static);
        headers.insert(limit, usage.limit().into());
        headers.insert(remaining, usage.remaining().into());
        if let Ok(reset) = HeaderValue::from_str(&reset) {
            headers.insert(reset_name, reset);
        }
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// Writes a time as Anthropic's API does, in UTC.
fn rfc3339(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Writes a duration as OpenAI's API does, such as `6m0s` or `20ms`.
fn go_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let (seconds, fraction) = (millis / 1_000, millis % 1_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = format!(".{fraction:03}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes, seconds) {
        (0, 0, 0) if millis > 0 => format!("{millis}ms"),
        (0, 0, _) => format!("{seconds}{fraction}s"),
        (0, ..) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Calendar, Rule};

    #[test]
    fn names_what_is_left_and_what_is_needed() {
        let limit = SpendLimit::new(Measure::Cost, Rule::Calendar { window: Calendar::Day, limit: 5_000_000_000 });
        let usage = CounterUsage::new(5_000_000_000, 10_000_000, Duration::from_secs(60));
        let refusal = exceeded(&limit, 40_000_000, Duration::from_secs(60), usage);
        assert_eq!((refusal.status.as_u16(), refusal.code.as_deref()), (429, Some("insufficient_quota")));
        assert_eq!(
            refusal.message,
            "budget of $5.00 per day is used up: $0.01 is left, and this request may cost $0.04"
        );
        assert_eq!(refusal.headers["retry-after"], "60");

        let period = Duration::from_secs(60);
        let limit = SpendLimit::new(Measure::Requests, Rule::Rolling { period, limit: 1 });
        let refusal = exceeded(&limit, 1, period, CounterUsage::new(1, 0, period));
        assert_eq!(refusal.message, "rate limit of 1 request per minute reached");
    }

    #[test]
    fn reports_the_tightest_limit_in_the_words_of_the_api() {
        let usages = [
            (Measure::Tokens, CounterUsage::new(100, 90, Duration::from_secs(6))),
            (Measure::Tokens, CounterUsage::new(1_000, 100, Duration::from_millis(90_500))),
            (Measure::Cost, CounterUsage::new(1, 0, Duration::ZERO)),
        ];
        let mut headers = HeaderMap::new();
        write_headers(&mut headers, Some(Endpoint::ChatCompletions), &usages, 0);
        assert_eq!(headers["x-ratelimit-limit-tokens"], "1000");
        assert_eq!(headers["x-ratelimit-remaining-tokens"], "100");
        assert_eq!(headers["x-ratelimit-reset-tokens"], "1m30.5s");
        assert_eq!(headers.len(), 3, "cost has no header");
        let mut headers = HeaderMap::new();
        write_headers(&mut headers, Some(Endpoint::Messages), &usages, 951_782_400);
        assert_eq!(headers["anthropic-ratelimit-tokens-reset"], "2000-02-29T00:01:31Z");
    }
}
