//! Properties of the layers for arbitrary input, one module per layer.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

mod callers;
mod candidates;
mod edge_drain;
mod edge_error_response;
mod edge_identity;
mod edge_inspect;
mod edge_rate_limit;
mod failover;
mod in_flight;
mod retry_policies;
