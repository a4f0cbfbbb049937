//! Decodes a plain response of OpenAI's format.

use crate::dialect::{codec::Malformed, hub::Response};

/// Decodes a plain response.
///
/// # Errors
/// The body is no chat completion.
pub(super) fn decode_response(body: &[u8]) -> Result<Response, Malformed> {
    serde_json::from_slice(body).map_err(|_| Malformed("a body that is no chat completion"))
}
