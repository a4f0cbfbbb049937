//! Reloads: another configuration replaces the one in force, or a report says why not.

mod difference;
mod reloader;
mod watch;

pub use difference::{Changed, Changes};
pub(crate) use reloader::{Apply, Reloader, Success};
pub(crate) use watch::{Watch, watch};
