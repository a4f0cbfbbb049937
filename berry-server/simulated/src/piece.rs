//! The pieces of a response.

use bytes::Bytes;
use std::fmt::Display;

/// The role of a piece in its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Before any output.
    Preamble,
    /// Output.
    Token,
    /// The end of the output.
    Finish,
    /// Token counts.
    Usage,
    /// The end of the stream.
    Done,
}

/// A piece of a response: an event of a stream, or a whole plain body.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) data: Bytes,
    pub(super) role: Role,
}

impl Piece {
    pub(super) fn new(role: Role, data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), role }
    }
}

/// Returns an event that has only data.
pub(super) fn event(role: Role, data: impl Display) -> Piece {
    Piece::new(role, format!("data: {data}\n\n"))
}
