//! What an upstream's answer, or its failure, says about the upstream: one verdict that retry,
//! breaker, health and statistics share.

use std::{error::Error, time::Duration};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};

use crate::{endpoint::Endpoint, error::Failure};

/// The longest `Retry-After` that is believed.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The verdict on one attempt.
///
/// ```
/// use berry_tower::classify::Class;
///
/// assert!(Class::Server.is_backend_failure());
/// assert!(!Class::ClientError.is_backend_failure());
/// assert_eq!(Class::RateLimited { retry_after: None }.name(), "rate_limit");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A 2xx whose body was complete by its own grammar.
    Success,
    /// The caller's own fault: the answer passes through, nothing is retried.
    ClientError,
    /// The request is too long for this model; another model may take it, another backend not.
    TooLong,
    /// The backend does not serve this path (a 404 on other paths than chat); it tells nothing.
    EndpointNotServed,
    /// The upstream refused the gateway's key, or its account has nothing left.
    Auth,
    /// The upstream asks to slow down.
    RateLimited {
        /// How long it asked to be left alone, if it said so.
        retry_after: Option<Duration>,
    },
    /// The upstream does not have the model.
    Model,
    /// The upstream failed: 5xx, or a 2xx that is no answer.
    Server,
    /// One of the gateway's deadlines passed.
    Timeout,
    /// No connection, or one that broke.
    Network,
    /// The client went away before the end.
    Cancelled,
    /// The gateway lacked a file, a port, a connection or a thread of its own: says nothing about the backend.
    LocalResource,
}

impl Class {
    /// How many classes [`index`](Self::index) tells apart.
    pub const COUNT: usize = 12;

    /// All names, in the order of [`index`](Self::index).
    pub const NAMES: [&'static str; Self::COUNT] = [
        "success",
        "caller",
        "too_long",
        "unserved",
        "auth",
        "rate_limit",
        "model",
        "server",
        "timeout",
        "network",
        "cancelled",
        "local",
    ];

    /// A small number for tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Success => 0,
            Self::ClientError => 1,
            Self::TooLong => 2,
            Self::EndpointNotServed => 3,
            Self::Auth => 4,
            Self::RateLimited { .. } => 5,
            Self::Model => 6,
            Self::Server => 7,
            Self::Timeout => 8,
            Self::Network => 9,
            Self::Cancelled => 10,
            Self::LocalResource => 11,
        }
    }

    /// The name used in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Whether it makes the backend unhealthy and counts for its breaker.
    #[must_use]
    pub const fn is_backend_failure(self) -> bool {
        matches!(self, Self::Auth | Self::Model | Self::Server | Self::Timeout | Self::Network)
    }

    /// Whether it says nothing about the backend, good or bad.
    #[must_use]
    pub const fn is_neutral(self) -> bool {
        matches!(
            self,
            Self::ClientError | Self::TooLong | Self::EndpointNotServed | Self::Cancelled | Self::LocalResource
        )
    }

    /// Whether another backend might do better.
    #[must_use]
    pub const fn fails_over(self) -> bool {
        self.is_backend_failure()
            || matches!(self, Self::RateLimited { .. } | Self::EndpointNotServed | Self::LocalResource)
    }

    /// Whether it is counted as an error of the backend (all but the caller's own).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.is_backend_failure() || matches!(self, Self::RateLimited { .. } | Self::EndpointNotServed)
    }
}

/// An upstream's error, parsed once; it rides in the extensions of the response that it came with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// The endpoint that was asked, if it is one that Berry knows.
    pub endpoint: Option<Endpoint>,
    /// `error.type`.
    pub kind: Option<String>,
    /// `error.code`, a number spelled out.
    pub code: Option<String>,
    /// `error.param`.
    pub param: Option<String>,
    /// `error.message`.
    pub message: Option<String>,
    /// The reasons of Google's `error.details[]`, the first one.
    pub reason: Option<String>,
}

impl ErrorBody {
    fn says(&self, word: &str) -> bool {
        [&self.code, &self.kind, &self.reason].into_iter().flatten().any(|w| w == word)
    }

    /// Whether the request is too long for the model.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.says("context_length_exceeded")
    }

    /// Whether the provider's rules forbid the request's content.
    #[must_use]
    pub fn is_content_policy(&self) -> bool {
        ["content_policy_violation", "content_filter", "moderation_blocked", "safety_violation"]
            .iter()
            .any(|w| self.says(w))
    }

    /// Whether the upstream said that it is overloaded, rather than broken.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        ["overloaded_error", "overloaded", "engine_overloaded", "UNAVAILABLE"].iter().any(|w| self.says(w))
    }
}

/// Turns what an upstream did into a [`Class`].
pub trait Classify {
    /// The verdict on a response's head. For a 2xx it is provisional: the body may still fail.
    fn response(&self, status: StatusCode, headers: &HeaderMap, error: Option<&ErrorBody>) -> Class;

    /// The verdict on an error of the inner service or of a response body.
    fn error(&self, error: &(dyn Error + 'static)) -> Class;
}

/// The verdicts that OpenAI, Anthropic, Google and their imitators call for: by status first, then
/// by the typed body of the error, never by searching a text.
///
/// ```
/// use berry_tower::classify::{Class, Classify, ErrorBody, ModelApiVerdict};
/// use http::{HeaderMap, StatusCode};
///
/// let quota = ErrorBody { code: Some("insufficient_quota".into()), ..ErrorBody::default() };
/// let class = ModelApiVerdict.response(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), Some(&quota));
/// assert_eq!(class, Class::Auth);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelApiVerdict;

impl Classify for ModelApiVerdict {
    fn response(&self, status: StatusCode, headers: &HeaderMap, error: Option<&ErrorBody>) -> Class {
        let says = |word: &str| error.is_some_and(|e| e.says(word));
        match status.as_u16() {
            200..=299 => Class::Success,
            408 => Class::Timeout,
            429 if says("insufficient_quota") => Class::Auth,
            429 => Class::RateLimited { retry_after: retry_after(headers) },
            401..=403 if error.is_some_and(ErrorBody::is_content_policy) => Class::ClientError,
            401..=403 => Class::Auth,
            404 if error.and_then(|e| e.endpoint).is_some_and(|e| !e.is_chat()) => Class::EndpointNotServed,
            404 => Class::Model,
            400 if says("API_KEY_INVALID") => Class::Auth,
            400 | 413 | 422 if error.is_some_and(ErrorBody::is_too_long) => Class::TooLong,
            400..=499 => Class::ClientError,
            _ => Class::Server,
        }
    }

    fn error(&self, error: &(dyn Error + 'static)) -> Class {
        let mut next = Some(error);
        while let Some(e) = next {
            if let Some(failure) = e.downcast_ref::<Failure>() {
                return failure.class();
            }
            if e.is::<tokio::time::error::Elapsed>() {
                return Class::Timeout;
            }
            next = e.source();
        }
        Class::Network
    }
}

/// Reads `retry-after-ms` and `Retry-After` (seconds or a date), at most [`MAX_RETRY_AFTER`].
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let millis = text("retry-after-ms").and_then(|v| v.parse::<f64>().ok()).map(|ms| ms / 1000.0);
    let seconds = text(RETRY_AFTER.as_str()).and_then(|v| v.parse::<f64>().ok());
    if let Some(seconds) = millis.or(seconds) {
        let bounded =
            if seconds.is_finite() { seconds.clamp(0.0, MAX_RETRY_AFTER.as_secs_f64()) } else { return None };
        return Some(Duration::from_secs_f64(bounded));
    }
    let date = httpdate::parse_http_date(text(RETRY_AFTER.as_str())?).ok()?;
    let wait = date.duration_since(std::time::SystemTime::now()).unwrap_or_default();
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, error: impl Into<Option<ErrorBody>>) -> Class {
        ModelApiVerdict.response(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), error.into().as_ref())
    }

    fn code(code: &str) -> Option<ErrorBody> {
        Some(ErrorBody { code: Some(code.into()), ..ErrorBody::default() })
    }

    #[test]
    fn each_status_has_its_class() {
        for (status, expected) in [
            (200, Class::Success),
            (302, Class::Server),
            (400, Class::ClientError),
            (401, Class::Auth),
            (402, Class::Auth),
            (403, Class::Auth),
            (404, Class::Model),
            (408, Class::Timeout),
            (409, Class::ClientError),
            (413, Class::ClientError),
            (422, Class::ClientError),
            (429, Class::RateLimited { retry_after: None }),
            (500, Class::Server),
            (503, Class::Server),
            (529, Class::Server),
        ] {
            assert_eq!(class(status, None), expected, "{status}");
        }
    }

    #[test]
    fn the_typed_body_decides_where_the_status_does_not() {
        assert_eq!(class(403, code("content_policy_violation")), Class::ClientError);
        assert_eq!(class(400, code("context_length_exceeded")), Class::TooLong);
        assert_eq!(class(429, code("insufficient_quota")), Class::Auth);
        let google = ErrorBody { reason: Some("API_KEY_INVALID".into()), ..ErrorBody::default() };
        assert_eq!(class(400, Some(google)), Class::Auth);
        let embeddings = ErrorBody { endpoint: Some(Endpoint::Embeddings), ..ErrorBody::default() };
        assert_eq!(class(404, Some(embeddings)), Class::EndpointNotServed);
        let text = ErrorBody { message: Some("context_length_exceeded".into()), ..ErrorBody::default() };
        assert_eq!(class(400, Some(text)), Class::ClientError, "a text is not searched");
    }

    #[test]
    fn an_error_event_is_the_callers_fault_only_where_its_code_says_so() {
        let event = |code: &str| Failure::ErrorEvent(Box::new(self::code(code).unwrap())).class();
        assert_eq!(event("context_length_exceeded"), Class::TooLong);
        assert_eq!(event("content_policy_violation"), Class::ClientError);
        assert_eq!(event("server_error"), Class::Server);
    }

    #[test]
    fn retry_after_is_read_in_all_its_spellings_and_bounded() {
        let read = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(read("retry-after-ms", "1500"), Some(Duration::from_millis(1500)));
        assert_eq!(read("retry-after", "86400"), Some(MAX_RETRY_AFTER));
        assert_eq!(read("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("retry-after", "-3"), Some(Duration::ZERO));
        assert_eq!(read("retry-after", "NaN"), None);
        assert_eq!(read("retry-after", "soon"), None);
    }
}
