//! The concerns of an AI gateway, each a Tower layer of its own.

pub mod attempt;
#[cfg(feature = "auth")]
pub mod auth;
#[cfg(feature = "backend")]
pub mod backend;
pub mod body;
#[cfg(feature = "breaker")]
pub mod breaker;
pub mod classify;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "commit")]
pub mod commit;
#[cfg(feature = "drain")]
pub mod drain;
#[cfg(feature = "early")]
pub mod early;
#[cfg(feature = "sse")]
mod ending;
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
#[cfg_attr(not(feature = "gateway"), allow(dead_code, reason = "each edge layer uses a part of it"))]
mod gate;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "inspect")]
pub mod inspect;
#[cfg(feature = "sse")]
mod json;
#[cfg(feature = "permission")]
pub mod permission;
#[cfg(feature = "sse")]
pub mod progress;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
pub mod render;
#[cfg(feature = "resume")]
pub mod resume;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "select")]
pub mod select;
#[cfg(feature = "sse")]
pub mod sse;
#[cfg(feature = "breaker")]
mod sync;
