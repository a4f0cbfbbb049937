//! The verdict on one attempt.

use std::time::Duration;

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
    /// The number of values of [`index`](Self::index).
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
