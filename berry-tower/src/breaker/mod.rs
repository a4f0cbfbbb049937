//! A circuit breaker: a service that keeps failing is left alone for a while, then tried with one
//! request at a time.
//!
//! The state machine is [`Machine`], pure; [`Breaker`] holds it in an atomic word and gives out
//! [`Permit`]s; [`CircuitBreakerLayer`] puts it around an HTTP service.

mod circuit;
mod find;
mod layer;
mod permit;
mod state;

pub use circuit::{Breaker, BreakerPolicy, Transition};
pub use find::{FindBreaker, OwnBreaker};
pub use layer::{CircuitBreaker, CircuitBreakerLayer, ResponseFuture, Verdict};
pub use permit::Permit;
pub use state::{Admission, Event, Limits, Machine, Outcome, State};

#[cfg(test)]
mod tests;
