//! The concerns of an AI gateway, each a Tower layer of its own.

pub mod attempt;
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
#[cfg(feature = "early")]
pub mod early;
#[cfg(feature = "sse")]
mod ending;
pub mod endpoint;
pub mod error;
#[cfg(any(feature = "auth", feature = "rate-limit", feature = "permission", feature = "inspect", feature = "error-response"))]
mod gate;
#[cfg(feature = "sse")]
mod json;
#[cfg(feature = "sse")]
pub mod progress;
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
