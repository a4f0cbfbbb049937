//! Logs, metrics and the history that the dashboard shows.

#[cfg(feature = "observability")]
pub(crate) mod history;
pub mod log;
#[cfg(feature = "observability")]
pub(crate) mod metrics;
#[cfg(not(feature = "observability"))]
#[path = "metrics/off.rs"]
pub(crate) mod metrics;
