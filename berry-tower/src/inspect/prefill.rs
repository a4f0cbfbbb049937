//! Requests that contain the beginning of their response.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Requested, members::range_in};
use crate::{body::Buffered, endpoint::Endpoint};

/// A copy of the request body with the delivered part of the response as the last assistant message, of a chat request
/// or of one for a response.
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
struct Body<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

impl Prefill {
    /// Appends the text to the messages or the input. Returns `None` if the body has none, or is one of another endpoint.
    #[must_use]
    pub fn new(requested: &Requested, body: &Bytes, text: &str) -> Option<Self> {
        let whole = std::str::from_utf8(body).ok()?;
        let Body { messages, input } = serde_json::from_str(whole).ok()?;
        let list = match requested.endpoint {
            Some(Endpoint::Responses) => input?.get(),
            Some(Endpoint::ChatCompletions) | None => messages?.get(),
            Some(_) => return None,
        };
        let ends_in_space = text.ends_with(char::is_whitespace);
        let text = serde_json::to_string(text).ok()?;
        let message = format!(r#"{{"role":"assistant","content":{text}}}"#);
        let at = range_in(body, list);
        let added = match list.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')) {
            Some(inside) if inside.trim().is_empty() => return None,
            Some(_) => format!("{},{message}{}", &whole[..at.end - 1], &whole[at.end - 1..]),
            // The input is a text of the user's.
            None if list.starts_with('"') => {
                let user = format!(r#"{{"role":"user","content":{list}}}"#);
                format!("{}[{user},{message}]{}", &whole[..at.start], &whole[at.end..])
            }
            None => return None,
        };
        let body = Bytes::from(added);
        let requested = Requested { endpoint: requested.endpoint, ..Requested::read(&body).ok()? };
        Some(Self { body: body.into(), requested, ends_in_space })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_the_text_to_the_input_of_a_response() {
        let prefilled = |body: &str| {
            let body = Bytes::from(body.to_owned());
            let requested = Requested::read(&body).unwrap().with_path("/v1/responses");
            Prefill::new(&requested, &body, "So").map(|prefill| prefill.body.bytes().clone())
        };
        assert_eq!(
            prefilled(r#"{"model":"m","input":"Hi \"you\"","stream":true}"#).unwrap(),
            r#"{"model":"m","input":[{"role":"user","content":"Hi \"you\""},{"role":"assistant","content":"So"}],"stream":true}"#,
        );
        assert_eq!(
            prefilled(r#"{"model":"m","input":[ {"role":"user","content":"Hi"} ]}"#).unwrap(),
            r#"{"model":"m","input":[ {"role":"user","content":"Hi"} ,{"role":"assistant","content":"So"}]}"#,
        );
        assert!(prefilled(r#"{"model":"m","input":[]}"#).is_none());
        assert!(prefilled(r#"{"model":"m","messages":[{}]}"#).is_none());
    }
}
