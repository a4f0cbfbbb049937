//! The tools of an operator: `berry-cli`, the deployment files and the documents.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cli;
mod deploy;
mod files;
mod guide;

mod support;
