//! The log lines that say why a request moved to a fallback, or ended.

use http::Request;

use super::Run;
use crate::{
    body::Buffered,
    error::{Unroutable, find},
    render::REQUEST_ID,
};

/// The log lines that say why a request left a model. They cost nothing while the first attempt
/// succeeds.
impl<P, C> Run<P, C> {
    /// Logs that a fallback's backend was picked.
    pub(super) fn log_fallback(&mut self, request: &Request<Buffered>) {
        if self.leaving.is_none() {
            return;
        }
        let Some(backend) = self.attempt.backend() else { return };
        let (provider, backend) = (&*backend.provider, &*backend.model);
        let (reason, fallback) = (self.leaving.take(), self.attempt.fallback_index());
        tracing::info!(
            request_id = request_id(request),
            reason,
            fallback,
            provider,
            backend,
            "request moved to a fallback"
        );
    }

    /// Logs that a fallback was tried that has no backend for the request.
    pub(super) fn log_fallback_without_backend(&mut self, request: &Request<Buffered>) {
        let Some(reason) = self.leaving.take() else { return };
        let fallback = self.attempt.fallback_index();
        tracing::info!(request_id = request_id(request), reason, fallback, "request moved to a fallback");
    }

    /// Logs why no further attempt is made, where a selection could have found a backend.
    pub(super) fn log_give_up(&mut self, request: &Request<Buffered>) {
        let Some(reason) = self.leaving.take().filter(|_| self.has_selection) else { return };
        let (request_id, attempts) = (request_id(request), self.attempt.number() - 1);
        let unroutable = self.routing_error.as_deref().and_then(|error| find::<Unroutable>(error));
        let is_callers_fault =
            unroutable.is_some_and(|error| !matches!(error, Unroutable::NoneAvailable { .. } | Unroutable::Overloaded));
        if attempts == 0 && is_callers_fault {
            tracing::info!(request_id, reason, attempts, "no backend left to ask");
        } else {
            tracing::warn!(request_id, reason, attempts, "no backend left to ask");
        }
    }
}

/// Says in the log why a model had no backend for the request.
pub(super) const fn routing_reason(error: &Unroutable) -> &'static str {
    match error {
        Unroutable::UnknownModel => "unknown model",
        Unroutable::NoBackendForUser => "no backend for this user",
        Unroutable::UnsupportedEndpoint => "endpoint not served",
        Unroutable::UnsupportedParameter { .. } | Unroutable::NotStored { .. } => "parameter not supported",
        Unroutable::Overloaded => "no memory left",
        Unroutable::FallbackNotPermitted => "fallback not permitted",
        Unroutable::NoCandidates { .. } => "all backends tried",
        Unroutable::NoneAvailable { .. } | Unroutable::OnlyTriedLeft { .. } => "all cooling down",
    }
}

fn request_id(request: &Request<Buffered>) -> Option<&str> {
    request.headers().get(REQUEST_ID)?.to_str().ok()
}
