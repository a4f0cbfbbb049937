//! The concerns of an AI gateway, each a Tower layer of its own.

pub mod attempt;
#[cfg(feature = "backend")]
pub mod backend;
pub mod body;
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
#[cfg(feature = "retry")]
pub mod retry;
