//! What whoever runs a gateway sees of it and does to it: metrics and reloads.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

mod labels;
mod load;
mod metrics;
mod reload;
mod support;
mod watch;
