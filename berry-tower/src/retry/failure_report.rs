//! The choice of the failure to report, of several failed attempts.

use http::{StatusCode, response::Parts};

use crate::{
    attempt::BackendId,
    classify::{Class, ErrorBody},
    error::{BoxError, Exhausted, Failure},
};

/// A failed attempt, as it is reported when no attempt succeeds.
#[derive(Debug)]
pub(super) struct FailureReport {
    rank: u8,
    class: Class,
    status: Option<StatusCode>,
    error: Option<ErrorBody>,
    reason: String,
    source: Option<BoxError>,
}

impl FailureReport {
    /// Reports an attempt that was answered with an error status.
    pub(super) fn response(class: Class, head: &Parts) -> Self {
        let (status, error) = (head.status, head.extensions.get::<ErrorBody>());
        let message = error.and_then(|e| e.message.as_deref());
        let reason = match message {
            Some(message) => format!("the provider answered {}: {message}", status.as_u16()),
            None => format!("the provider answered {}", status.as_u16()),
        };
        Self { rank: rank(class, false), class, status: Some(status), error: error.cloned(), reason, source: None }
    }

    /// Reports an attempt that failed without an error status.
    pub(super) fn failure(class: Class, source: BoxError) -> Self {
        let failure = Failure::find(&*source);
        let invalid = matches!(failure, Some(Failure::InvalidResponse(_)));
        let error = match failure {
            Some(Failure::ErrorEvent(body)) => Some((**body).clone()),
            _ => None,
        };
        let reason = failure.map_or_else(|| source.to_string(), ToString::to_string);
        Self { rank: rank(class, invalid), class, status: None, error, reason, source: Some(source) }
    }

    /// Whether it says more than that the total timeout has passed meanwhile.
    pub(super) const fn outranks_timeout(&self) -> bool {
        self.rank < rank(Class::Timeout, false)
    }

    /// Returns the report that says more; the later one of equals.
    pub(super) fn or_more_reportable(self, earlier: Option<Box<Self>>) -> Box<Self> {
        match earlier {
            Some(earlier) if earlier.rank < self.rank => earlier,
            _ => Box::new(self),
        }
    }

    pub(super) fn into_exhausted(self, attempts: u32, backend: Option<BackendId>) -> Exhausted {
        let Self { class, status, error, reason, source, .. } = self;
        let exhausted = Exhausted::new(class, reason, attempts).with_status(status).with_error(error);
        let exhausted = exhausted.with_backend(backend);
        match source {
            Some(source) => exhausted.with_source(source),
            None => exhausted,
        }
    }
}

/// Orders failures by what the client can do about them: wait, then blame the provider, then the
/// gateway.
const fn rank(class: Class, invalid: bool) -> u8 {
    match class {
        Class::RateLimited { .. } => 0,
        Class::Server if invalid => 2,
        Class::Server => 1,
        Class::Timeout => 3,
        Class::Network => 4,
        Class::Auth => 5,
        Class::Model => 6,
        _ => 7,
    }
}
