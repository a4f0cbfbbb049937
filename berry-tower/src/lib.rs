//! The concerns of an AI gateway, each a Tower layer of its own.

#[cfg(feature = "sse")]
mod json;
#[cfg(feature = "sse")]
pub mod sse;
