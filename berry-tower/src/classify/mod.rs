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

mod class;
mod error_body;
mod errors;
mod request_facts;

use std::error::Error;

use http::response::Parts;

pub use self::{
    class::Class,
    error_body::ErrorBody,
    errors::{MAX_RETRY_AFTER, class_of_error, retry_after},
    request_facts::RequestFacts,
};

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
/// status below 400 is a success and every other 4xx a [`Class::ClientError`], which says nothing
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
            404 if endpoint().is_some_and(|e| !e.is_chat()) => Class::EndpointNotServed,
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

#[cfg(test)]
mod tests;
