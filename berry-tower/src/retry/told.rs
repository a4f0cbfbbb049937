//! Which of several failed attempts the client is told of.

use http::StatusCode;

use crate::{
    attempt::BackendId,
    classify::{Class, ErrorBody},
    error::{BoxError, Exhausted, Failure},
};

/// A failed attempt, as far as it is worth telling.
#[derive(Debug)]
pub(super) struct Told {
    rank: u8,
    class: Class,
    status: Option<StatusCode>,
    error: Option<ErrorBody>,
    reason: String,
    source: Option<BoxError>,
}

impl Told {
    /// An attempt that was answered with an error status.
    pub(super) fn response(class: Class, status: StatusCode, error: Option<&ErrorBody>) -> Self {
        let message = error.and_then(|e| e.message.as_deref());
        let reason = match message {
            Some(message) => format!("the provider answered {}: {message}", status.as_u16()),
            None => format!("the provider answered {}", status.as_u16()),
        };
        Self { rank: rank(class, false), class, status: Some(status), error: error.cloned(), reason, source: None }
    }

    /// An attempt that failed without an error status.
    pub(super) fn failure(class: Class, source: BoxError) -> Self {
        let failure = Failure::find(&*source);
        let garbage = matches!(failure, Some(Failure::InvalidResponse(_)));
        let error = match failure {
            Some(Failure::ErrorEvent(body)) => Some((**body).clone()),
            _ => None,
        };
        let reason = failure.map_or_else(|| source.to_string(), ToString::to_string);
        Self { rank: rank(class, garbage), class, status: None, error, reason, source: Some(source) }
    }

    /// Whether it is told rather than a deadline that has passed meanwhile.
    pub(super) const fn outranks_timeout(&self) -> bool {
        self.rank < rank(Class::Timeout, false)
    }

    /// The one to tell of; of equals the later.
    pub(super) fn worse(self, earlier: Option<Self>) -> Self {
        match earlier {
            Some(earlier) if earlier.rank < self.rank => earlier,
            _ => self,
        }
    }

    pub(super) fn exhausted(self, attempts: u32, backend: Option<BackendId>) -> Exhausted {
        let Self { class, status, error, reason, source, .. } = self;
        let exhausted = Exhausted::new(class, reason, attempts).with_status(status).with_error(error);
        let exhausted = exhausted.with_backend(backend);
        match source {
            Some(source) => exhausted.with_source(source),
            None => exhausted,
        }
    }
}

/// What a client can do most about comes first: wait, then blame the provider, then the gateway.
const fn rank(class: Class, garbage: bool) -> u8 {
    match class {
        Class::RateLimited { .. } => 0,
        Class::Server if garbage => 2,
        Class::Server => 1,
        Class::Timeout => 3,
        Class::Network => 4,
        Class::Auth => 5,
        Class::Model => 6,
        _ => 7,
    }
}
