//! The verdict on a response or an error, shared by retry, circuit breaker, health and statistics.
//!
//! [`Classify`] turns what a service returned into a [`Class`]. [`HttpVerdict`] is the default of
//! `CircuitBreaker` and `Retry` and suits any HTTP service;
//! [`ModelApiVerdict`] knows the error bodies of model APIs and is the default of
//! `Select` and of the gateway. A closure is a [`Classify`] too:
//!
//! ```
//! use berry_tower::classify::{Class, Classify, HttpVerdict, RequestFacts};
//! use http::{Method, Response, StatusCode, Uri, response::Parts};
//! use std::error::Error;
//!
//! // A conflict means that this service is out of order.
//! let classify = |request: &RequestFacts, result: Result<&Parts, &(dyn Error + 'static)>| match result {
//!     Ok(head) if head.status == StatusCode::CONFLICT => Class::Server,
//!     Ok(head) => HttpVerdict.response(request, head, None),
//!     Err(error) => HttpVerdict.error(request, error),
//! };
//! let request = RequestFacts::new(Method::GET, Uri::from_static("/orders"));
//! let (head, ()) = Response::builder().status(409).body(()).unwrap().into_parts();
//! assert_eq!(classify.response(&request, &head, None), Class::Server);
//! assert_eq!(HttpVerdict.response(&request, &head, None), Class::ClientError);
//! ```

use std::{error::Error, io, time::Duration};

use http::{Extensions, HeaderMap, Method, Request, Uri, header::RETRY_AFTER, request, response::Parts};

use crate::{
    endpoint::Endpoint,
    error::{Failure, chain},
};

/// The upper bound on a `Retry-After`.
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
#[non_exhaustive]
pub enum Class {
    /// The response is good, and its body was complete.
    Success,
    /// The request is at fault. The response passes through and nothing is retried.
    ClientError,
    /// The request is too long for this model. Another model may accept it, another backend will not.
    TooLong,
    /// This backend does not serve the request, but another may; nothing is learnt about its health.
    EndpointNotServed,
    /// The backend refused the credentials of this side, or its account has no credit left.
    Auth,
    /// The backend asks for fewer requests.
    RateLimited {
        /// The wait that the backend asked for, if it named one.
        retry_after: Option<Duration>,
    },
    /// The backend does not have the model.
    Model,
    /// The backend failed: a 5xx, a 2xx without a usable body, or an error of no known kind.
    Server,
    /// A deadline passed.
    Timeout,
    /// The connection could not be made, or it broke.
    Network,
    /// The client went away before the end.
    Cancelled,
    /// A resource of this machine was exhausted (file descriptors, ports, a connection slot).
    /// Another backend may be tried; nothing is learnt about this one.
    LocalResource,
}

impl Class {
    /// The number of classes that [`index`](Self::index) tells apart.
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

    /// Returns the index of the class in tables of counters.
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

    /// Returns the name used in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Whether it makes the backend unhealthy and counts as a failure for its circuit breaker.
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

    /// Whether another backend may succeed where this one did not.
    #[must_use]
    pub const fn fails_over(self) -> bool {
        self.is_backend_failure()
            || matches!(self, Self::RateLimited { .. } | Self::EndpointNotServed | Self::LocalResource)
    }

    /// Whether it is counted as an error of the backend.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.is_backend_failure() || matches!(self, Self::RateLimited { .. } | Self::EndpointNotServed)
    }
}

/// The facts of a request that a verdict or a policy may depend on.
///
/// It is cheap to make and to clone: nothing of the request is copied.
///
/// ```
/// use berry_tower::{classify::RequestFacts, endpoint::Endpoint};
/// use http::{Method, Request};
///
/// let request = Request::post("/v1/embeddings").body(()).unwrap();
/// let facts = RequestFacts::from_request(&request);
/// assert_eq!((facts.method(), facts.path()), (&Method::POST, "/v1/embeddings"));
/// assert_eq!((facts.endpoint(), facts.is_stream()), (Some(Endpoint::Embeddings), false));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestFacts {
    method: Method,
    uri: Uri,
    endpoint: Option<Endpoint>,
    is_stream: bool,
}

impl RequestFacts {
    /// Returns the facts of a request with this method and URI whose response is not a stream.
    #[must_use]
    pub fn new(method: Method, uri: Uri) -> Self {
        let endpoint = Endpoint::from_path(uri.path());
        Self { method, uri, endpoint, is_stream: false }
    }

    /// Returns the facts of `request`.
    ///
    /// With the feature `inspect`, the endpoint and whether a stream is asked for come from the
    /// `Requested` in its extensions.
    #[must_use]
    pub fn from_request<B>(request: &Request<B>) -> Self {
        Self::read(request.method(), request.uri(), request.extensions())
    }

    /// Returns the facts of the request with this head; see [`from_request`](Self::from_request).
    #[must_use]
    pub fn from_parts(head: &request::Parts) -> Self {
        Self::read(&head.method, &head.uri, &head.extensions)
    }

    #[cfg(feature = "inspect")]
    fn read(method: &Method, uri: &Uri, extensions: &Extensions) -> Self {
        let (method, uri) = (method.clone(), uri.clone());
        let Some(requested) = extensions.get::<crate::inspect::Requested>() else { return Self::new(method, uri) };
        let endpoint = requested.endpoint;
        let is_stream = requested.stream && endpoint.is_some_and(Endpoint::streams);
        Self { method, uri, endpoint, is_stream }
    }

    #[cfg(not(feature = "inspect"))]
    fn read(method: &Method, uri: &Uri, _: &Extensions) -> Self {
        Self::new(method.clone(), uri.clone())
    }

    /// Sets the endpoint.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: Option<Endpoint>) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Sets whether the response is to be a stream.
    #[must_use]
    pub fn with_stream(mut self, is_stream: bool) -> Self {
        self.is_stream = is_stream;
        self
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The URI, as the layer that made these facts received it.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The path of the URI.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The endpoint of a model API that the path names, if it names one.
    #[must_use]
    pub const fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
    }

    /// Whether the response is to be a stream of events.
    #[must_use]
    pub const fn is_stream(&self) -> bool {
        self.is_stream
    }
}

/// An upstream's error body, parsed once. It is an extension of the response that it came with.
///
/// ```
/// use berry_tower::classify::ErrorBody;
///
/// let error = ErrorBody::default().with_code("context_length_exceeded").with_message("too many tokens");
/// assert!(error.is_too_long());
/// assert_eq!(error.message.as_deref(), Some("too many tokens"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorBody {
    /// The endpoint that was called, if it is a known one.
    pub endpoint: Option<Endpoint>,
    /// `error.type`.
    pub kind: Option<String>,
    /// `error.code`; a number as its decimal digits.
    pub code: Option<String>,
    /// `error.param`.
    pub param: Option<String>,
    /// `error.message`.
    pub message: Option<String>,
    /// The first `reason` in Google's `error.details[]`.
    pub reason: Option<String>,
    /// The class that the reader of the vendor's format found. It goes before status and codes.
    pub class: Option<Class>,
}

impl ErrorBody {
    /// Sets `error.type`.
    #[must_use]
    pub fn with_kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Sets `error.code`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Sets `error.param`.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Sets `error.message`.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Sets the first `reason` in Google's `error.details[]`.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Sets the class that the reader of the vendor's format found.
    #[must_use]
    pub fn with_class(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    fn says(&self, word: &str) -> bool {
        [&self.code, &self.kind, &self.reason].into_iter().flatten().any(|w| w == word)
    }

    /// Whether the request is too long for the model.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.class == Some(Class::TooLong) || self.says("context_length_exceeded")
    }

    /// Whether this one request is larger than a rate limit of tokens allows at all. OpenAI answers
    /// such a request with 429 and the type `tokens`, as it does when the account's tokens are used
    /// up; only the text tells the two apart.
    #[must_use]
    pub fn is_oversized(&self) -> bool {
        self.says("tokens") && self.message.as_deref().is_some_and(|text| text.starts_with("Request too large"))
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

/// Turns a response or an error into a [`Class`]; a closure that takes both as a `Result` will do.
pub trait Classify {
    /// Returns the verdict on a response's head. For a success it is provisional: the body may
    /// still fail. `error` is the upstream's error body where one was parsed.
    fn response(&self, request: &RequestFacts, response: &Parts, error: Option<&ErrorBody>) -> Class;

    /// Returns the verdict on an error of the inner service or of a response body.
    fn error(&self, request: &RequestFacts, error: &(dyn Error + 'static)) -> Class;
}

impl<F> Classify for F
where
    F: Fn(&RequestFacts, Result<&Parts, &(dyn Error + 'static)>) -> Class,
{
    fn response(&self, request: &RequestFacts, response: &Parts, _: Option<&ErrorBody>) -> Class {
        self(request, Ok(response))
    }

    fn error(&self, request: &RequestFacts, error: &(dyn Error + 'static)) -> Class {
        self(request, Err(error))
    }
}

/// The verdicts for any HTTP service.
///
/// A 5xx is [`Class::Server`], a 429 [`Class::RateLimited`], a 408 [`Class::Timeout`]. Every other
/// status below 400 is a success and every other 4xx a [`Class::ClientError`], which tells nothing
/// about the service. Errors are judged by [`class_of_error`].
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpVerdict;

impl Classify for HttpVerdict {
    fn response(&self, _: &RequestFacts, response: &Parts, _: Option<&ErrorBody>) -> Class {
        match response.status.as_u16() {
            408 => Class::Timeout,
            429 => Class::RateLimited { retry_after: retry_after(&response.headers) },
            ..=399 => Class::Success,
            400..=499 => Class::ClientError,
            _ => Class::Server,
        }
    }

    fn error(&self, _: &RequestFacts, error: &(dyn Error + 'static)) -> Class {
        class_of_error(error)
    }
}

/// The verdicts for the APIs of OpenAI, Anthropic, Google and compatible servers: by the status
/// first, then by the typed body of the error, never by the text of a message.
///
/// ```
/// use berry_tower::classify::{Class, Classify, ErrorBody, ModelApiVerdict, RequestFacts};
/// use http::Response;
///
/// let (head, ()) = Response::builder().status(429).body(()).unwrap().into_parts();
/// let quota = ErrorBody::default().with_code("insufficient_quota");
/// let class = ModelApiVerdict.response(&RequestFacts::default(), &head, Some(&quota));
/// assert_eq!(class, Class::Auth);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelApiVerdict;

impl Classify for ModelApiVerdict {
    fn response(&self, request: &RequestFacts, response: &Parts, error: Option<&ErrorBody>) -> Class {
        let says = |word: &str| error.is_some_and(|e| e.says(word));
        let endpoint = || request.endpoint().or(error.and_then(|e| e.endpoint));
        let status = response.status.as_u16();
        if let Some(class) = error.and_then(|e| e.class).filter(|_| status >= 300) {
            return class;
        }
        match status {
            200..=299 => Class::Success,
            408 => Class::Timeout,
            429 if says("insufficient_quota") => Class::Auth,
            429 if error.is_some_and(ErrorBody::is_oversized) => Class::TooLong,
            429 => Class::RateLimited { retry_after: retry_after(&response.headers) },
            // Misdirected, of a failed dependency, too early, out of capacity: another backend may do.
            421 | 424 | 425 | 498 => Class::Server,
            401..=403 if error.is_some_and(ErrorBody::is_content_policy) => Class::ClientError,
            401..=403 => Class::Auth,
            404 if endpoint().is_some_and(|e| !e.is_chat() || e == Endpoint::Responses) => Class::EndpointNotServed,
            404 => Class::Model,
            400 if says("API_KEY_INVALID") => Class::Auth,
            400 | 413 | 422 if error.is_some_and(ErrorBody::is_too_long) => Class::TooLong,
            400..=499 => Class::ClientError,
            _ => Class::Server,
        }
    }

    fn error(&self, _: &RequestFacts, error: &(dyn Error + 'static)) -> Class {
        class_of_error(error)
    }
}

/// Returns the class of an error by the types in its chain of sources; the first known type decides.
///
/// A [`Failure`] has a class of its own. The timeouts of tokio and tower and
/// [`io::ErrorKind::TimedOut`] are a [`Class::Timeout`]. Other I/O errors of a connection are a
/// [`Class::Network`], and so are those of hyper and reqwest where a feature brings these crates.
/// Errors for want of descriptors, ports or buffers are a [`Class::LocalResource`]. Any other
/// error is a [`Class::Server`].
///
/// ```
/// use berry_tower::classify::{Class, class_of_error};
/// use std::io::{Error, ErrorKind};
///
/// assert_eq!(class_of_error(&Error::from(ErrorKind::ConnectionReset)), Class::Network);
/// assert_eq!(class_of_error(&Error::from(ErrorKind::TimedOut)), Class::Timeout);
/// assert_eq!(class_of_error(&Error::other("disk full")), Class::Server);
/// ```
#[must_use]
pub fn class_of_error(error: &(dyn Error + 'static)) -> Class {
    // A connection error that wraps the timeout behind it is a timeout, so a found network error
    // does not end the search.
    let mut found = None;
    for e in chain(error) {
        let class = if let Some(failure) = e.downcast_ref::<Failure>() {
            Some(failure.class())
        } else if e.is::<tokio::time::error::Elapsed>() || e.is::<tower::timeout::error::Elapsed>() {
            Some(Class::Timeout)
        } else if let Some(e) = e.downcast_ref::<io::Error>() {
            class_of_io(e)
        } else {
            class_of_client(e)
        };
        match class {
            Some(Class::Network) => found = class,
            Some(class) => return class,
            None => {}
        }
    }
    found.unwrap_or(Class::Server)
}

fn class_of_io(error: &io::Error) -> Option<Class> {
    use io::ErrorKind;
    /// ENFILE, EMFILE and ENOBUFS, which have no kind of their own.
    const EXHAUSTED: [i32; 3] = if cfg!(target_os = "linux") { [23, 24, 105] } else { [23, 24, 55] };
    match error.kind() {
        _ if cfg!(unix) && error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code)) => {
            Some(Class::LocalResource)
        }
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => Some(Class::LocalResource),
        ErrorKind::TimedOut => Some(Class::Timeout),
        // A wrapper: `source()` skips the error that it wraps.
        ErrorKind::Other => error.get_ref().map(|inner| class_of_error(inner)).filter(|class| *class != Class::Server),
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::AlreadyExists
        | ErrorKind::InvalidInput
        | ErrorKind::Unsupported
        | ErrorKind::StorageFull
        | ErrorKind::OutOfMemory => None,
        _ => Some(Class::Network),
    }
}

/// The class of an error of the HTTP clients that come with a feature.
fn class_of_client(error: &(dyn Error + 'static)) -> Option<Class> {
    #[cfg(feature = "client-hyper")]
    if let Some(e) = error.downcast_ref::<hyper::Error>() {
        return Some(if e.is_timeout() { Class::Timeout } else { Class::Network });
    }
    #[cfg(feature = "client-reqwest")]
    if let Some(e) = error.downcast_ref::<reqwest::Error>() {
        return Some(if e.is_timeout() { Class::Timeout } else { Class::Network });
    }
    let _ = error;
    None
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
    use std::time::Duration;

    use http::{Response, StatusCode};

    use super::*;

    const LIMITED: Class = Class::RateLimited { retry_after: None };

    fn head(status: u16) -> Parts {
        Response::builder().status(status).body(()).unwrap().into_parts().0
    }

    fn class(status: u16, error: impl Into<Option<ErrorBody>>) -> Class {
        ModelApiVerdict.response(&RequestFacts::default(), &head(status), error.into().as_ref())
    }

    fn code(code: &str) -> Option<ErrorBody> {
        Some(ErrorBody::default().with_code(code))
    }

    #[test]
    fn maps_each_status_of_a_model_api() {
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
            (429, LIMITED),
            (500, Class::Server),
            (503, Class::Server),
            (529, Class::Server),
        ] {
            assert_eq!(class(status, None), expected, "{status}");
        }
    }

    #[test]
    fn only_5xx_and_429_and_408_mean_something_in_plain_http() {
        let class = |status| HttpVerdict.response(&RequestFacts::default(), &head(status), None);
        for status in (100..=999).filter_map(|status| StatusCode::from_u16(status).ok()).map(|status| status.as_u16()) {
            let expected = match status {
                ..400 => Class::Success,
                408 => Class::Timeout,
                429 => LIMITED,
                400..500 => Class::ClientError,
                _ => Class::Server,
            };
            assert_eq!(class(status), expected, "{status}");
        }
    }

    #[test]
    fn the_typed_body_decides_where_the_status_does_not() {
        assert_eq!(class(403, code("content_policy_violation")), Class::ClientError);
        assert_eq!(class(400, code("context_length_exceeded")), Class::TooLong);
        assert_eq!(class(429, code("insufficient_quota")), Class::Auth);
        assert_eq!(class(400, ErrorBody::default().with_reason("API_KEY_INVALID")), Class::Auth);
        let text = ErrorBody::default().with_message("context_length_exceeded");
        assert_eq!(class(400, text), Class::ClientError, "a text is not searched");
        assert_eq!(class(400, ErrorBody::default().with_class(Class::Model)), Class::Model, "the vendor's own");
    }

    #[test]
    fn a_request_that_no_limit_allows_is_no_rate_limit() {
        let tokens = |text| class(429, ErrorBody::default().with_kind("tokens").with_message(text));
        assert_eq!(tokens("Request too large for m on tokens per min (TPM): Limit 30, Requested 120."), Class::TooLong);
        assert_eq!(tokens("Rate limit reached for m on tokens per min (TPM): Limit 30, Used 29."), LIMITED);
        let requests = ErrorBody::default().with_kind("requests").with_message("Request too large");
        assert_eq!(class(429, requests), LIMITED);
    }

    #[test]
    fn a_404_is_a_missing_model_only_on_conversations() {
        for (path, expected) in [("/v1/chat/completions", Class::Model), ("/v1/embeddings", Class::EndpointNotServed)] {
            let request = RequestFacts::new(Method::POST, Uri::from_static(path));
            assert_eq!(ModelApiVerdict.response(&request, &head(404), None), expected, "{path}");
        }
    }

    #[test]
    fn an_error_event_is_the_callers_fault_only_where_its_code_says_so() {
        let event = |code: &str| Failure::ErrorEvent(Box::new(self::code(code).unwrap())).class();
        assert_eq!(event("context_length_exceeded"), Class::TooLong);
        assert_eq!(event("content_policy_violation"), Class::ClientError);
        assert_eq!(event("server_error"), Class::Server);
    }

    #[derive(Debug)]
    struct Wrapper(crate::error::BoxError);

    impl std::fmt::Display for Wrapper {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl Error for Wrapper {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_judged_by_the_types_in_its_chain() {
        use io::{Error, ErrorKind};
        let tokio_timeout = tokio::time::timeout(Duration::ZERO, std::future::pending::<()>()).await.unwrap_err();
        let cases: [(crate::error::BoxError, Class); 9] = [
            ("a foreign error".into(), Class::Server),
            (tokio_timeout.into(), Class::Timeout),
            (tower::timeout::error::Elapsed::new().into(), Class::Timeout),
            (Error::from(ErrorKind::TimedOut).into(), Class::Timeout),
            (Error::from(ErrorKind::ConnectionRefused).into(), Class::Network),
            (Error::from(ErrorKind::AddrNotAvailable).into(), Class::LocalResource),
            (Error::other(tower::timeout::error::Elapsed::new()).into(), Class::Timeout),
            (Error::other("disk full").into(), Class::Server),
            (Failure::Interrupted.into(), Class::Network),
        ];
        for (error, expected) in cases {
            let text = error.to_string();
            assert_eq!(class_of_error(&*error), expected, "{text}");
            assert_eq!(class_of_error(&Wrapper(error)), expected, "{text}, wrapped");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_lack_of_descriptors_is_a_lack_of_this_machine() {
        assert_eq!(class_of_error(&io::Error::from_raw_os_error(24)), Class::LocalResource);
        assert!(Class::LocalResource.fails_over() && !Class::LocalResource.is_error());
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
