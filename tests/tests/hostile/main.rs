//! The gateway as a process of its own, attacked by tenants, providers and bad luck. Each test is bounded in time and
//! memory. `cargo test` runs short versions; `tests/clients/run hostile` runs long ones, and a soak of five minutes.

#![allow(clippy::unwrap_used, reason = "tests may panic, and so may their helpers")]

mod access_log;
mod bodies;
mod connections;
mod operators;
mod poisons;
mod process;
mod providers;
mod readers;
mod soak;
mod upstream;

use std::time::Duration;

/// How long an attack lasts. `BERRY_HOSTILE_SECONDS` makes it longer.
fn attack_time(short: u64) -> Duration {
    let long = std::env::var("BERRY_HOSTILE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(long.unwrap_or(short))
}
