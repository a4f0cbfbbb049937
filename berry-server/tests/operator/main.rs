//! What an operator has in hand: `berry-cli`, and the documents.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cli;
mod deploy;
mod files;
mod guide;

mod support;
