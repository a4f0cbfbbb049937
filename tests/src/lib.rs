//! The harness of the end-to-end tests: a gateway over simulated providers in the process of the
//! test, a client with control over every byte, a clock that a test can hold, and the strategy
//! simulator.

pub mod clock;
pub mod connection;
#[cfg(test)]
mod contributing;
pub mod gateway;
pub mod reply;
pub mod request;
pub mod sim;

pub use clock::{HeldClock, settle, soon};
pub use connection::Connection;
pub use gateway::{Builder, Gateway, TOKEN, Toml};
pub use reply::Reply;
pub use request::Ask;

/// Compiles and runs the snippets of the workspace's README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
