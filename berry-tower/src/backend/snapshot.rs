//! Counters, times and states of a backend, for responses and metrics.

use std::time::Duration;

use super::view::View;
use crate::{breaker::State, classify::Class};

/// Counters, times and states of a backend. A time is given as the duration since then.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendStateSnapshot {
    /// The state as the strategies see it.
    pub view: View,
    /// The circuit breaker's state.
    pub circuit: State,
    /// How often the breaker has become closed, half-open and open, by [`State::index`].
    pub circuit_transitions: [u64; 3],
    /// Users' attempts by [`Class::index`], without probes.
    pub outcomes: [u64; Class::COUNT],
    /// Failures of the backend in a row.
    pub consecutive_failures: u64,
    /// Successes in a row.
    pub consecutive_successes: u64,
    /// The class of the last failure or rate limit.
    pub last_error: Option<&'static str>,
    /// The last success of a user's request.
    pub last_success: Option<Duration>,
    /// The last failure or rate limit of a user's request.
    pub last_failure: Option<Duration>,
    /// The last outcome of a user's request.
    pub last_request: Option<Duration>,
    /// The last probe.
    pub last_probe: Option<Duration>,
    /// Whether the last connectivity check succeeded.
    pub connectivity_ok: Option<bool>,
    /// The last connectivity check.
    pub last_connectivity_check: Option<Duration>,
    /// The moving average of the time to the first byte, of any age.
    pub average_latency: Option<Duration>,
    /// The moving average of the time to a stream's first output.
    pub average_first_token: Option<Duration>,
}

impl BackendStateSnapshot {
    /// Returns the number of all users' attempts.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Returns the number of successful attempts.
    #[must_use]
    pub const fn successes(&self) -> u64 {
        self.outcomes[Class::Success.index()]
    }

    /// Returns the number of attempts that [count as errors](Class::is_error).
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors_by_class().map(|(_, n)| n).sum()
    }

    /// Returns the number of attempts of each class that counts as an error, by the name of the class.
    pub fn errors_by_class(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Class::NAMES.into_iter().zip(self.outcomes).filter(|(name, _)| is_error(name))
    }
}

fn is_error(name: &str) -> bool {
    !matches!(name, "success" | "caller" | "too_long" | "cancelled" | "local")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_what_the_verdict_calls_so() {
        use Class::{
            Auth, Cancelled, ClientError, EndpointNotServed, LocalResource, Model, Network, RateLimited, Server,
            Success, Timeout, TooLong,
        };
        let limited = RateLimited { retry_after: None };
        for class in [
            Success,
            ClientError,
            TooLong,
            EndpointNotServed,
            Auth,
            limited,
            Model,
            Server,
            Timeout,
            Network,
            Cancelled,
            LocalResource,
        ] {
            assert_eq!(is_error(class.name()), class.is_error(), "{class:?}");
        }
    }
}
