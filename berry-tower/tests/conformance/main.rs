//! What every layer must hold to: auto traits, readiness that is asked for, passed through and not
//! held, and nothing kept by a future or a body that was dropped.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

mod allocations;
mod bursts;
mod client;
mod edge;
mod inner;
mod large;
mod observe;
mod support;
