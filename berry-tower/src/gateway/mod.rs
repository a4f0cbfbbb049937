//! The standard gateway as one function, or as two with layers of your own between them.
//!
//! `gateway` is [`edge`] over `CollectLayer` over `core`. A request passes these layers:
//!
//! | part | layers |
//! |---|---|
//! | [`edge`] | `ErrorResponse`, `Auth`, `RateLimit` |
//! | `CollectLayer` | reads the body |
//! | `core` | a check of path and method, `Inspect`, `ModelPermission`, `Spend`, `Early`, `Resume`, `Retry`, `Commit`, `Select`, `Reprice`, `CircuitBreaker`, `BackendClient`; `Spend` and `Reprice` with the feature `spend` |
//!
//! [`counter`] is a service beside the gateway that counts the tokens of prompts.
//!
//! `edge` needs the feature of the same name; the rest needs `gateway`.

#[cfg(feature = "gateway")]
mod boxed_body;
#[cfg(feature = "gateway")]
mod core;
#[cfg(feature = "gateway")]
mod count;
mod edge;
#[cfg(feature = "gateway")]
mod endpoint_guard;
#[cfg(feature = "gateway")]
mod settings;
#[cfg(feature = "gateway")]
mod whole;

pub use self::edge::edge;
#[cfg(feature = "gateway")]
pub use self::{core::core, count::counter, settings::Settings, whole::gateway};
