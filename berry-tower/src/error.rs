//! The typed errors of the layers and of the client.

use std::{
    error::Error,
    fmt::{self, Display},
    iter::successors,
    sync::Arc,
    time::Duration,
};

use http::StatusCode;

use crate::{
    attempt::BackendId,
    classify::{Class, ErrorBody, class_of_error},
};

/// Any error, as Tower's own layers use it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The deadline that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// For the connection to be made.
    Connect,
    /// For the head of the response.
    Head,
    /// For the first byte of the body, after the head.
    FirstByte,
    /// For the first event of a stream that carries output.
    FirstToken,
    /// For the next frame of the body.
    Idle,
}

impl Deadline {
    /// Whether it passes before the upstream has sent a byte.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::Connect | Self::Head | Self::FirstByte)
    }
}

/// Returned when an attempt on an upstream fails without an error response.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// A deadline passed.
    Timeout(Deadline),
    /// No connection: DNS, TCP or TLS.
    Connect(BoxError),
    /// The connection broke, before the head of the response or after it.
    ConnectionLost(BoxError),
    /// A 2xx without a usable body; the text names the fault.
    InvalidResponse(&'static str),
    /// The stream carried an error event.
    ErrorEvent(Box<ErrorBody>),
    /// The stream ended before its format says that it is complete.
    Interrupted,
    /// A resource of this machine was exhausted before the upstream was asked.
    LocalResource(BoxError),
    /// The transport failed for another reason, which its own error names.
    Transport(BoxError),
}

impl Failure {
    /// The verdict on it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Timeout(_) => Class::Timeout,
            Self::Connect(_) | Self::ConnectionLost(_) | Self::Interrupted => Class::Network,
            // One bad request must not put every backend out of service.
            Self::ErrorEvent(error) if error.is_too_long() => Class::TooLong,
            Self::ErrorEvent(error) if error.is_content_policy() => Class::ClientError,
            Self::ErrorEvent(error) => error.class.unwrap_or(Class::Server),
            Self::InvalidResponse(_) => Class::Server,
            Self::LocalResource(_) => Class::LocalResource,
            Self::Transport(error) => class_of_error(&**error),
        }
    }

    /// Converts a transport's error: a `Failure` is returned as it is, a connection error becomes
    /// [`ConnectionLost`](Self::ConnectionLost), and any other error keeps its own message.
    #[must_use]
    pub fn from_transport(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => *failure,
            Err(other) => match class_of_error(&*other) {
                Class::Network => Self::ConnectionLost(other),
                Class::LocalResource => Self::LocalResource(other),
                _ => Self::Transport(other),
            },
        }
    }

    /// Whether there was no connection, which no request can bring about.
    #[must_use]
    pub const fn is_connect(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Timeout(Deadline::Connect))
    }

    /// The failure in an error or in one of its sources.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        find(error)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(Deadline::Connect) => f.write_str("the connection was not made in time"),
            Self::Timeout(Deadline::Head | Deadline::FirstByte) => f.write_str("the provider did not answer in time"),
            Self::Timeout(Deadline::FirstToken) => f.write_str("the provider's first token did not come in time"),
            Self::Timeout(Deadline::Idle) => f.write_str("the provider fell silent in the middle of its answer"),
            Self::Connect(_) => f.write_str("the provider could not be reached"),
            Self::ConnectionLost(_) => f.write_str("the connection to the provider broke"),
            Self::InvalidResponse(why) => write!(f, "the provider answered with {why}"),
            Self::ErrorEvent(body) => match &body.message {
                Some(message) => write!(f, "the provider's stream told of an error: {message}"),
                None => f.write_str("the provider's stream told of an error"),
            },
            Self::Interrupted => f.write_str("the provider's stream ended before the answer was whole"),
            Self::LocalResource(_) => f.write_str("a resource of this machine is exhausted"),
            Self::Transport(e) => Display::fmt(e, f),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // The chain repeats the text of a transport's error, so that its type can be found.
            Self::Connect(e) | Self::ConnectionLost(e) | Self::LocalResource(e) | Self::Transport(e) => Some(&**e),
            _ => None,
        }
    }
}

/// Marks the failure of a request that was lost with a connection which several requests shared.
///
/// A transport wraps the errors of all requests but the first of a lost connection in it, if the
/// upstream had answered on that connection before. Circuit breakers and health do not count them, so
/// that one broken connection does not look like as many failures as it carried requests.
#[derive(Debug)]
pub struct LostTogether(BoxError);

impl LostTogether {
    /// Wraps the error of the connection.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

impl Display for LostTogether {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Error for LostTogether {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// Whether a limit of tokens or cost refused an attempt before a backend was called.
#[cfg_attr(not(feature = "retry"), allow(dead_code, reason = "used by Retry and Select"))]
pub(crate) fn is_over_limit(error: &(dyn Error + 'static)) -> bool {
    #[cfg(feature = "spend")]
    return find::<crate::spend::SpendExceeded>(error).is_some();
    #[cfg(not(feature = "spend"))]
    {
        let _ = error;
        false
    }
}

/// Returned when no backend could be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// No enabled model has this name.
    UnknownModel,
    /// The tags of the user leave no backend.
    NoBackendForUser,
    /// No backend of the model serves this endpoint.
    UnsupportedEndpoint,
    /// No backend of the model can express this part of the request.
    UnsupportedParameter {
        /// The field of the body.
        param: String,
        /// The reason, in words.
        why: String,
    },
    /// The request continues what no backend of the model has stored.
    NotStored {
        /// The field of the body.
        param: String,
        /// The reason, in words.
        why: String,
    },
    /// Every backend has an open circuit breaker, is cooling down or is full.
    NoneAvailable {
        /// The wait until the first of them may be called again.
        retry_after: Duration,
    },
    /// Only backends that this request has tried already are left.
    OnlyTriedLeft {
        /// Until the soonest of them may be asked again; zero when only a back-off is due.
        soonest: Duration,
    },
    /// The gateway has no memory left to translate the request.
    Overloaded,
    /// The caller may not use this fallback, which its own request has led to.
    FallbackNotPermitted,
    /// No backend is left for this request.
    NoCandidates {
        /// Whether the model has a further fallback.
        has_fallback: bool,
    },
}

impl Display for Unroutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownModel => f.write_str("the model does not exist"),
            Self::NoBackendForUser => f.write_str("no backend of this model is open to your user"),
            Self::UnsupportedEndpoint => f.write_str("no backend of this model serves this endpoint"),
            Self::UnsupportedParameter { param, why } | Self::NotStored { param, why } => {
                write!(f, "{param}: {why}")
            }
            Self::Overloaded => f.write_str("this server holds as many bytes as its memory allows; try again shortly"),
            Self::FallbackNotPermitted => f.write_str("the API key may not use a fallback of this model"),
            Self::NoneAvailable { .. } | Self::OnlyTriedLeft { .. } | Self::NoCandidates { .. } => {
                f.write_str("every backend of this model is out of service at the moment; try again later")
            }
        }
    }
}

impl Error for Unroutable {}

#[cfg(feature = "dialect")]
impl From<crate::dialect::UnsupportedField> for Unroutable {
    fn from(field: crate::dialect::UnsupportedField) -> Self {
        let crate::dialect::UnsupportedField { param, reason: why, code } = field;
        match code {
            Some(_) => Self::NotStored { param, why },
            None => Self::UnsupportedParameter { param, why },
        }
    }
}

/// Returned when the circuit breaker is open; the inner service was not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOpen {
    /// The wait until a trial may be let through.
    pub retry_after: Duration,
}

impl Display for BreakerOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the circuit breaker is open")
    }
}

impl Error for BreakerOpen {}

/// Returned when an extension is missing that another layer inserts into requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingLayer(pub &'static str);

impl Display for MissingLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing from the stack, or stands in the wrong place", self.0)
    }
}

impl Error for MissingLayer {}

/// Reported to a guard when the inner service, or the body of its response, panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

impl Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the inner service panicked")
    }
}

impl Error for Panicked {}

/// Returned when the deadline over all attempts has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TotalTimeout;

impl Display for TotalTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no response within the total time for all attempts")
    }
}

impl Error for TotalTimeout {}

/// Returned when all attempts failed; it describes the one that says most to the caller.
///
/// ```
/// use berry_tower::{classify::Class, error::Exhausted};
/// use std::{error::Error, io};
///
/// let error = Exhausted::new(Class::Server, "disk full", 2).with_source(io::Error::other("disk full"));
/// assert_eq!(error.to_string(), "all 2 attempts failed: disk full");
/// assert!(error.source().unwrap().is::<io::Error>());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exhausted {
    /// Its class.
    pub class: Class,
    /// The upstream's status, if it sent one.
    pub status: Option<StatusCode>,
    /// The upstream's error body, if it sent one.
    pub error: Option<ErrorBody>,
    /// What happened, in words, without keys and addresses.
    pub reason: String,
    /// The number of attempts.
    pub attempts: u32,
    /// The backend of the last attempt.
    pub backend: Option<BackendId>,
    /// The time that the attempts took together; unknown if zero.
    pub elapsed: Duration,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Exhausted {
    /// Returns the error for `attempts` attempts, the worst of which failed with `class` for `reason`.
    #[must_use]
    pub fn new(class: Class, reason: impl Into<String>, attempts: u32) -> Self {
        Self {
            class,
            status: None,
            error: None,
            reason: reason.into(),
            attempts,
            backend: None,
            elapsed: Duration::ZERO,
            source: None,
        }
    }

    /// Sets the upstream's status.
    #[must_use]
    pub fn with_status(mut self, status: impl Into<Option<StatusCode>>) -> Self {
        self.status = status.into();
        self
    }

    /// Sets the upstream's error body.
    #[must_use]
    pub fn with_error(mut self, error: impl Into<Option<ErrorBody>>) -> Self {
        self.error = error.into();
        self
    }

    /// Sets the backend of the last attempt.
    #[must_use]
    pub fn with_backend(mut self, backend: impl Into<Option<BackendId>>) -> Self {
        self.backend = backend.into();
        self
    }

    /// Sets the time that the attempts took together.
    #[must_use]
    pub fn with_elapsed(mut self, elapsed: Duration) -> Self {
        self.elapsed = elapsed;
        self
    }

    /// Sets the error that the attempt failed with; it becomes the [`source`](Error::source).
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }
}

impl Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts {
            0 | 1 => write!(f, "the attempt failed: {}", self.reason),
            n => write!(f, "all {n} attempts failed: {}", self.reason),
        }
    }
}

impl Error for Exhausted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Returns the error and its sources, the outermost first.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&e| e.source())
}

/// Returns the first error of type `E` in an error and its sources.
#[must_use]
pub fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(<dyn Error>::downcast_ref)
}
