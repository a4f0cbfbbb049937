//! The concerns of an AI gateway, each a Tower layer of its own.

#[cfg(feature = "auth")]
pub mod auth;
#[cfg(feature = "backend")]
pub mod backend;
pub mod body;
pub mod classify;
#[cfg(feature = "drain")]
pub mod drain;
pub mod endpoint;
pub mod error;
#[cfg(feature = "error-response")]
pub mod error_response;
#[cfg(any(
    feature = "auth",
    feature = "rate-limit",
    feature = "permission",
    feature = "inspect",
    feature = "error-response"
))]
mod gate;
#[cfg(feature = "inspect")]
pub mod inspect;
#[cfg(feature = "permission")]
pub mod permission;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
pub mod render;
