//! The whole gateway over simulated providers, through its own door.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bytes;
mod dead_backends;
mod errors;
mod fallbacks;
mod headers;
mod limits;
mod models;
mod verdicts;
