//! The harness of the end-to-end tests: a gateway over simulated providers in this process, a
//! client that shows every byte, and a clock that a test can hold. Beside it, the strategy simulator.

pub mod clock;
pub mod connection;
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
