//! The table of errors and the refusals that clients receive for them.

use std::{borrow::Cow, error::Error, fmt::Write as _, time::Duration};

use http::StatusCode;
use tokio::time::error::Elapsed;

use crate::{
    classify::{Class, ErrorBody},
    error::{BreakerOpen, Exhausted, Failure, MissingLayer, TotalTimeout, Unroutable},
    mask::masked,
    render::Refusal,
};

const CALLER: &str = "invalid_request_error";
const SERVER: &str = "server_error";

/// Returns the refusal that stands for an error.
///
/// The first error of [`error`](crate::error) in the chain of sources decides; the timeouts of tokio
/// and tower are a 504, and the refusals of tower's `LoadShed` a 503. Any other error is a 500 that
/// shows nothing of it.
///
/// ```
/// use berry_tower::{error::BreakerOpen, error_response::refusal_for};
/// use std::time::Duration;
///
/// let refusal = refusal_for(&BreakerOpen { retry_after: Duration::from_secs(5) });
/// assert_eq!(refusal.status, 503);
/// assert_eq!(refusal.code.as_deref(), Some("no_backend_available"));
/// assert_eq!(refusal.headers["retry-after"], "5");
/// ```
#[must_use]
pub fn refusal_for(error: &(dyn Error + 'static)) -> Refusal {
    known(error).unwrap_or_else(internal)
}

pub(super) fn internal() -> Refusal {
    let message = "internal error; see the log of the server";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, SERVER, message).code("internal_error")
}

/// Returns the refusal for an error that the table has.
pub(super) fn known(error: &(dyn Error + 'static)) -> Option<Refusal> {
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(e) = e.downcast_ref::<Exhausted>() {
            return Some(exhausted(e));
        } else if let Some(e) = e.downcast_ref::<Unroutable>() {
            return Some(unroutable(e));
        } else if let Some(e) = e.downcast_ref::<BreakerOpen>() {
            let message = "the service is out of order at the moment; try again later";
            return Some(unavailable(message, e.retry_after));
        } else if let Some(e) = e.downcast_ref::<Failure>() {
            return Some(failure(e));
        }
        #[cfg(feature = "spend")]
        if let Some(e) = e.downcast_ref::<crate::spend::SpendExceeded>() {
            return Some(e.refusal().clone());
        }
        if let Some(e) = e.downcast_ref::<MissingLayer>() {
            let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, SERVER, e.to_string());
            return Some(refusal.code("internal_error"));
        } else if e.is::<TotalTimeout>() || e.is::<Elapsed>() || e.is::<tower::timeout::error::Elapsed>() {
            return Some(timeout(TotalTimeout.to_string()));
        } else if e.is::<tower::load_shed::error::Overloaded>() {
            return Some(overloaded("the server is overloaded; try again shortly"));
        }
        next = e.source();
    }
    None
}

fn unroutable(e: &Unroutable) -> Refusal {
    let message = e.to_string();
    match e {
        Unroutable::UnknownModel => {
            Refusal::new(StatusCode::NOT_FOUND, CALLER, message).code("model_not_found").param("model")
        }
        Unroutable::NoBackendForUser => {
            Refusal::new(StatusCode::FORBIDDEN, "permission_error", message).code("no_backend_for_user")
        }
        Unroutable::UnsupportedEndpoint => {
            Refusal::new(StatusCode::BAD_REQUEST, CALLER, message).code("unsupported_endpoint").param("model")
        }
        Unroutable::UnsupportedParameter { param, .. } => {
            Refusal::new(StatusCode::BAD_REQUEST, CALLER, message).code("unsupported_parameter").param(param.clone())
        }
        Unroutable::NotStored { param, .. } => {
            let refusal = Refusal::new(StatusCode::BAD_REQUEST, CALLER, message);
            refusal.code("previous_response_not_found").param(param.clone())
        }
        Unroutable::NoneAvailable { retry_after: wait } | Unroutable::OnlyTriedLeft { soonest: wait } => {
            unavailable(message, *wait)
        }
        Unroutable::Overloaded => overloaded(message),
        Unroutable::FallbackNotPermitted => {
            Refusal::new(StatusCode::FORBIDDEN, "permission_error", message).code("model_not_allowed").param("model")
        }
        Unroutable::NoCandidates { .. } => unavailable(message, Duration::ZERO),
    }
}

fn unavailable(message: impl Into<Cow<'static, str>>, wait: Duration) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, message).code("no_backend_available").retry_after(wait)
}

fn overloaded(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, message).code("overloaded").retry_after(RETRY_AFTER)
}

/// Returns the refusal for a failure without a layer for retries outside.
fn failure(e: &Failure) -> Refusal {
    let error = match e {
        Failure::ErrorEvent(error) => Some((**error).clone()),
        _ => None,
    };
    exhausted(&Exhausted::new(e.class(), e.to_string(), 1).with_error(error))
}

fn exhausted(e: &Exhausted) -> Refusal {
    match e.class {
        Class::Auth => {
            // The provider's message is about the account of the gateway, so it is not passed on.
            let status = e.status.map_or_else(String::new, |status| format!(": it answered {}", status.as_u16()));
            let message = format!("the provider refused the API key or account used for it{status}");
            bad_gateway(e, message, "upstream_auth")
        }
        Class::RateLimited { retry_after } => {
            let message = format!("the provider's rate limit is reached{}", quoted(e));
            let refusal =
                Refusal::new(StatusCode::TOO_MANY_REQUESTS, "requests", message).code("upstream_rate_limited");
            match retry_after {
                Some(wait) => refusal.retry_after(wait),
                None => refusal,
            }
        }
        Class::LocalResource => {
            let message = "no connection to a backend of this model is free at the moment";
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, message).code("no_backend_available");
            refusal.retry_after(Duration::from_secs(1))
        }
        Class::Timeout => {
            let message = format!("{}; {}", attempts(e), masked(&e.reason));
            let refusal = Refusal::new(StatusCode::GATEWAY_TIMEOUT, SERVER, message).code("upstream_timeout");
            with_retry_advice(refusal, e.elapsed)
        }
        // What the provider does not know may be an id in the request rather than the model.
        Class::EndpointNotServed if names_subject(e) => as_upstream(e, StatusCode::NOT_FOUND, None, None),
        Class::Model | Class::EndpointNotServed => {
            as_upstream(e, StatusCode::NOT_FOUND, Some("model_not_found"), Some("model"))
        }
        Class::ClientError | Class::TooLong => as_upstream(e, StatusCode::BAD_REQUEST, None, None),
        Class::Server if is_overload(e) => {
            let message = format!("the provider is overloaded{}", quoted(e));
            overloaded(message)
        }
        Class::Server | Class::Network | Class::Success | Class::Cancelled => {
            let quoted = quoted(e);
            let detail = if quoted.is_empty() { format!(": {}", masked(&e.reason)) } else { quoted };
            bad_gateway(e, format!("{}{detail}", attempts(e)), "upstream_error")
        }
    }
}

/// Whether the upstream's error has a code or a field.
fn names_subject(e: &Exhausted) -> bool {
    e.error.as_ref().is_some_and(|error| error.code.is_some() || error.param.is_some())
}

fn is_overload(e: &Exhausted) -> bool {
    let names_overload = e.error.as_ref().is_some_and(ErrorBody::is_overload);
    match e.status.map(|status| status.as_u16()) {
        Some(529) => true,
        // An error event in a stream has no status of its own.
        Some(503) | None => names_overload,
        Some(_) => false,
    }
}

fn attempts(e: &Exhausted) -> String {
    match e.attempts {
        0 | 1 => "the attempt failed".to_owned(),
        n => format!("all {n} attempts failed"),
    }
}

/// Returns `: the provider answered 500: message`, or the part of it that the upstream gave.
fn quoted(e: &Exhausted) -> String {
    let mut text = String::new();
    if let Some(status) = e.status {
        // Writing to a string cannot fail.
        let _ = write!(text, ": the provider answered {}", status.as_u16());
    }
    if let Some(message) = e.error.as_ref().and_then(|error| error.message.as_deref()) {
        let _ = write!(text, ": {}", masked(message));
    }
    text
}

/// The total time of the attempts from which on the client is advised not to retry. Before that,
/// retries of the official SDKs can outlast the restart of a single upstream.
const NO_RETRY_AFTER: Duration = Duration::from_secs(10);
/// The wait before a retry that is suggested to the client.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Adds the advice whether the client should send the request again.
fn with_retry_advice(refusal: Refusal, elapsed: Duration) -> Refusal {
    if elapsed >= NO_RETRY_AFTER { refusal.final_answer() } else { refusal.retry_after(RETRY_AFTER) }
}

fn bad_gateway(e: &Exhausted, message: String, code: &'static str) -> Refusal {
    with_retry_advice(Refusal::new(StatusCode::BAD_GATEWAY, SERVER, message).code(code), e.elapsed)
}

/// Returns the refusal for the timeout of a whole request.
fn timeout(message: String) -> Refusal {
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, SERVER, message).code("upstream_timeout").final_answer()
}

/// Returns the upstream's own refusal, with the given values for what it left out.
fn as_upstream(e: &Exhausted, status: StatusCode, code: Option<&'static str>, param: Option<&'static str>) -> Refusal {
    let owned = |text: &Option<String>| text.clone().map(Cow::Owned);
    let none = ErrorBody::default();
    let error = e.error.as_ref().unwrap_or(&none);
    let message = masked(error.message.as_deref().unwrap_or(&e.reason));
    let status = e.status.filter(StatusCode::is_client_error).unwrap_or(status);
    let mut refusal = Refusal::new(status, owned(&error.kind).unwrap_or(Cow::Borrowed(CALLER)), message);
    refusal.code = owned(&error.code).or(code.map(Cow::Borrowed));
    refusal.param = owned(&error.param).or(param.map(Cow::Borrowed));
    refusal
}

#[cfg(test)]
mod tests;
