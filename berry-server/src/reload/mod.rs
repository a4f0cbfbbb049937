//! Reloads replace the current configuration with a new one, or report why the new one is invalid.

mod difference;
mod reloader;
mod watch;

pub use difference::{Changed, Changes};
pub(crate) use reloader::{Apply, Reloader, Success};
pub(crate) use watch::{Watch, watch};
