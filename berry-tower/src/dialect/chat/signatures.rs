//! Removes the signatures of other providers from requests to OpenAI.

use bytes::Bytes;
use memchr::memmem;

use crate::dialect::hub::{Message, Request};

/// Removes `extra_content` from a chat request to OpenAI, which refuses it: it carries signatures of Anthropic's and
/// Google's reasoning. A body without it, found by one search over the bytes, and a body that is no chat request are
/// returned unchanged.
#[must_use]
pub(crate) fn without_signatures(body: &Bytes) -> Bytes {
    if memmem::find(body, b"\"extra_content\"").is_none() {
        return body.clone();
    }
    rewritten(body).map_or_else(|| body.clone(), Bytes::from)
}

fn rewritten(body: &[u8]) -> Option<Vec<u8>> {
    let mut request = Request::parse(body).ok()?;
    request.messages.iter_mut().for_each(remove_signatures);
    serde_json::to_vec(&request).ok()
}

/// Removes the provider's data from a message.
pub(super) fn remove_signatures(message: &mut Message) {
    message.extra_content = None;
    message.tool_calls.iter_mut().flatten().for_each(|call| call.extra_content = None);
}
