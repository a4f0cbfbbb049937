//! A question with the beginning of its answer.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Requested, members::range_in};
use crate::body::Buffered;

/// The same question, with what the client has of the answer as the assistant's last message; in
/// the extensions of a request that resumes a stream. A client sends it in the place of the
/// request's body to backends that go on from there, and says so by [`Prefilled`].
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
    /// What it asks for.
    pub requested: Requested,
    /// Whether the beginning of the answer ends in white space.
    pub ends_in_space: bool,
}

/// An answer goes on after what the request brought of it; in the extensions of responses.
#[derive(Clone, Copy, Debug)]
pub struct Prefilled;

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow)]
    messages: &'a RawValue,
}

impl Prefill {
    /// Adds the text to the messages; `None` when there are none to add to.
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
