//! Reasoning of other providers' models in requests to OpenAI, which could not decrypt it.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    input: &'a RawValue,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    encrypted_content: Option<Cow<'a, str>>,
}

/// Removes the reasoning items that were made here from a request that passes to OpenAI. A body without any, found by one
/// search over the bytes, and a body that is no request are returned unchanged.
#[must_use]
pub(crate) fn without_own_reasoning(body: &Bytes) -> Bytes {
    if memmem::find(body, b"\"berry:").is_none() {
        return body.clone();
    }
    rewritten(body).map_or_else(|| body.clone(), Bytes::from)
}

fn rewritten(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let Body { input } = serde_json::from_str(text).ok()?;
    let items: Vec<&RawValue> = serde_json::from_str(input.get()).ok()?;
    let is_own = |item: &&RawValue| {
        let item: Option<Item<'_>> = serde_json::from_str(item.get()).ok();
        item.is_some_and(|item| {
            item.kind.as_deref() == Some("reasoning") && item.encrypted_content.is_some_and(|it| envelope::is_ours(&it))
        })
    };
    let kept: Vec<_> = items.iter().filter(|item| !is_own(item)).map(|item| item.get()).collect();
    if kept.len() == items.len() {
        return None;
    }
    let start = input.get().as_ptr() as usize - text.as_ptr() as usize;
    let mut out = text.to_owned();
    out.replace_range(start..start + input.get().len(), &format!("[{}]", kept.join(",")));
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_only_reasoning_that_was_made_here() {
        let request = |items: &str| Bytes::from(format!(r#"{{ "model":"m", "input": [{items}], "stream":true }}"#));
        let theirs = r#"{"type":"reasoning","encrypted_content":"gAAAA","summary":[]}"#;
        let user = r#"{"role":"user","content":"\"berry:1:u\""}"#;
        let own = r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"berry:1:u"}"#;
        let mixed = request(&format!("{theirs},{own} , {user}"));
        assert_eq!(without_own_reasoning(&mixed), request(&format!("{theirs},{user}")));
        let clean = request(&format!("{theirs},{user}"));
        assert_eq!(without_own_reasoning(&clean).as_ptr(), clean.as_ptr());
    }
}
