//! What providers of other formats want to see again with a turn, kept from those that do not know it.

use bytes::Bytes;
use memchr::memmem;

use crate::dialect::hub::{Message, Request};

/// A chat request as OpenAI may see it: without the `extra_content` in which signatures of Anthropic's
/// and Google's thoughts travel, and which OpenAI refuses. A body without any, found by one search over the
/// bytes, stays as it is, and so does one that is no chat request.
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

/// Takes out of a turn what its provider wants to see again.
pub(super) fn remove_signatures(message: &mut Message) {
    message.extra_content = None;
    message.tool_calls.iter_mut().flatten().for_each(|call| call.extra_content = None);
}
