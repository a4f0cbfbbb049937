//! The error of a request whose attempts all failed.

use std::{
    error::Error,
    fmt::{self, Display},
    sync::Arc,
    time::Duration,
};

use http::StatusCode;

use super::sources::BoxError;
use crate::{
    attempt::BackendId,
    classify::{Class, ErrorBody},
};

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
