//! Requests that contain the beginning of their response.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Requested, members::range_in};
use crate::body::Buffered;

/// A copy of the request body with the delivered part of the response as the last assistant message.
///
/// It is an extension of a request that resumes a stream. The client sends it instead of the
/// request's body to backends that continue such a message, and marks the response with
/// [`Prefilled`].
///
/// ```
/// use berry_tower::inspect::{Prefill, Requested};
/// use bytes::Bytes;
///
/// let body = Bytes::from(r#"{"messages": [{"role":"user"}], "model":"m"}"#);
/// let prefill = Prefill::new(&Requested::read(&body).unwrap(), &body, "So far").unwrap();
/// assert_eq!(
///     prefill.body.bytes(),
///     r#"{"messages": [{"role":"user"},{"role":"assistant","content":"So far"}], "model":"m"}"#,
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Prefill {
    /// The body.
    pub body: Buffered,
    /// The facts of this body.
    pub requested: Requested,
    /// Whether the delivered part ends in white space.
    pub ends_in_space: bool,
}

/// Marks a response that continues the text of a [`Prefill`]; an extension of responses.
#[derive(Clone, Copy, Debug)]
pub struct Prefilled;

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow)]
    messages: &'a RawValue,
}

impl Prefill {
    /// Appends the text to the messages. Returns `None` if the body has no messages.
    #[must_use]
    pub fn new(requested: &Requested, body: &Bytes, text: &str) -> Option<Self> {
        let whole = std::str::from_utf8(body).ok()?;
        let messages = serde_json::from_str::<Chat<'_>>(whole).ok()?.messages.get();
        let inside = messages.strip_prefix('[')?.strip_suffix(']')?;
        if inside.trim().is_empty() {
            return None;
        }
        let at = range_in(body, messages).end - 1;
        let ends_in_space = text.ends_with(char::is_whitespace);
        let text = serde_json::to_string(text).ok()?;
        let added = format!(r#"{},{{"role":"assistant","content":{text}}}{}"#, &whole[..at], &whole[at..]);
        let body = Bytes::from(added);
        let requested = Requested { endpoint: requested.endpoint, ..Requested::read(&body).ok()? };
        Some(Self { body: body.into(), requested, ends_in_space })
    }
}
