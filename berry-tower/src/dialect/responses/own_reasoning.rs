//! Encrypted reasoning in requests to OpenAI that it could not decrypt.

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
    without_reasoning(body, envelope::is_ours)
}

/// Removes all reasoning items that are encrypted.
#[must_use]
pub(crate) fn without_encrypted_reasoning(body: &Bytes) -> Bytes {
    without_reasoning(body, |_| true)
}

fn without_reasoning(body: &Bytes, is_removed: fn(&str) -> bool) -> Bytes {
    rewritten(body, is_removed).map_or_else(|| body.clone(), Bytes::from)
}

fn rewritten(body: &[u8], is_removed: fn(&str) -> bool) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let Body { input } = serde_json::from_str(text).ok()?;
    let items: Vec<&RawValue> = serde_json::from_str(input.get()).ok()?;
    let is_kept = |item: &&&RawValue| {
        let item: Option<Item<'_>> = serde_json::from_str(item.get()).ok();
        let encrypted = item.filter(|item| item.kind.as_deref() == Some("reasoning"));
        encrypted.and_then(|item| item.encrypted_content).is_none_or(|encrypted| !is_removed(&encrypted))
    };
    let kept: Vec<_> = items.iter().filter(is_kept).map(|item| item.get()).collect();
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
    fn removes_only_what_cannot_be_decrypted() {
        let request = |items: &str| Bytes::from(format!(r#"{{ "model":"m", "input": [{items}], "stream":true }}"#));
        let theirs = r#"{"type":"reasoning","encrypted_content":"gAAAA","summary":[]}"#;
        let user = r#"{"role":"user","content":"\"berry:1:u\""}"#;
        let own = r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"berry:1:u"}"#;
        let mixed = request(&format!("{theirs},{own} , {user}"));
        assert_eq!(without_own_reasoning(&mixed), request(&format!("{theirs},{user}")));
        let clean = request(&format!("{theirs},{user}"));
        assert_eq!(without_own_reasoning(&clean).as_ptr(), clean.as_ptr());
        let readable = r#"{"type":"reasoning","summary":[],"encrypted_content":null}"#;
        let mixed = request(&format!("{readable},{theirs},{own},{user}"));
        assert_eq!(without_encrypted_reasoning(&mixed), request(&format!("{readable},{user}")));
    }
}
