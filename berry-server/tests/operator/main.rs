//! What an operator has in hand: `berry-cli`, and the documents.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cli;
mod files;
mod readme;
mod support;
