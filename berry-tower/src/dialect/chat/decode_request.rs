//! Decodes a chat request of a caller.

use crate::dialect::{hub, unsupported::UnsupportedField};

/// Decodes a request.
///
/// # Errors
/// The field that is not of the format.
pub(super) fn decode_request(body: &[u8]) -> Result<hub::Request, UnsupportedField> {
    hub::Request::parse(body)
}
