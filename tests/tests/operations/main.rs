//! The operation of a gateway: metrics, reloads and the configuration file.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

mod labels;
mod load;
mod metrics;
mod reload;
mod support;
mod telemetry;
mod watch;
