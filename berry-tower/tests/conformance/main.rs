//! The contract of every layer: auto traits, readiness that is requested, passed through and not held,
//! and dropped futures and bodies that release the inner service. Also the properties of the whole
//! gateway: allocations, writes and observers.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

mod allocations;
mod bursts;
mod client;
mod edge;
mod inner;
mod large;
mod observe;
mod support;
