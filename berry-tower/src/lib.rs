//! The concerns of an AI gateway, each a Tower layer of its own.

#[cfg(feature = "backend")]
pub mod backend;
pub mod body;
#[cfg(feature = "breaker")]
pub mod breaker;
pub mod classify;
pub mod endpoint;
pub mod error;
#[cfg(any(
    feature = "auth",
    feature = "rate-limit",
    feature = "permission",
    feature = "inspect",
    feature = "error-response"
))]
mod gate;
pub mod render;
#[cfg(feature = "select")]
pub mod select;
#[cfg(feature = "breaker")]
mod sync;
