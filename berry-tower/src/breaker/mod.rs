//! Circuit breaker: refuses requests to a service that keeps failing, then tries it with one at a time.
//!
//! [`CircuitBreakerLayer`] puts it around an HTTP service; [`Breaker`] is the breaker itself, for any
//! other use.
//!
//! * Needs: nothing. With [`find`](CircuitBreakerLayer::find) each request may have a breaker of its own;
//!   a [`CallerId`](crate::caller::CallerId) in the extensions helps to tell a failing service from a
//!   failing caller.
//! * Adds: a response body that reports to the breaker how it ended.
//! * Rejects: with [`BreakerOpen`](crate::error::BreakerOpen).
//!
//! What it does not do: it does not limit the number of requests, does not wait and does not retry.

mod circuit;
mod find;
mod layer;
mod permit;
mod policy;
mod served;
mod state;
mod window;

pub use circuit::{Breaker, Transition};
pub use find::{FindBreaker, OwnBreaker};
pub use layer::{CircuitBreaker, CircuitBreakerLayer, ResponseFuture, Verdict};
pub use permit::Permit;
#[cfg(feature = "select")]
pub(crate) use permit::address;
pub use policy::{BreakerPolicy, SuccessRate};
pub use state::{Outcome, State};

#[cfg(test)]
mod tests;
