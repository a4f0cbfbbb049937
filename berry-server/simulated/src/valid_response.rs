//! A response without faults.

use super::piece::{Piece, Role};
use std::sync::Arc;

/// A valid response: a stream of events, or a plain body in a single piece.
#[derive(Clone, Debug)]
pub(super) struct ValidResponse {
    pub(super) content_type: &'static str,
    pub(super) pieces: Arc<[Piece]>,
    pub(super) is_stream: bool,
}

impl ValidResponse {
    pub(super) fn json(body: String) -> Self {
        Self { content_type: "application/json", pieces: [Piece::new(Role::Token, body)].into(), is_stream: false }
    }

    pub(super) fn events(pieces: Vec<Piece>) -> Self {
        Self { content_type: "text/event-stream; charset=utf-8", pieces: pieces.into(), is_stream: true }
    }
}
