//! The fault wall: whatever a provider does, the client gets a whole answer or an honest error,
//! soon, and the provider is not hammered. Each fault runs against a gateway in this process over
//! simulated providers, on a paused clock.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

mod answer;
mod bodies;
mod deadlines;
mod faults;
mod leaving;
mod network;
mod pace;
mod recovery;
mod silence;
mod support;
mod usage;
