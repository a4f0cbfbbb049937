//! The error of the readers.

/// What was read is not the beginning of a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;
