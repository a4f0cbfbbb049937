//! Reasoning in requests to OpenAI that it cannot decrypt: that of other providers' models, or of another account.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope;
use crate::dialect::value::Object;

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
    rewritten(body, envelope::is_ours, |item| item.get().into()).map_or_else(|| body.clone(), Bytes::from)
}

/// Removes all encrypted reasoning from a request that passes to OpenAI, and the ids of the other items, by which OpenAI
/// would miss it.
#[must_use]
pub(crate) fn without_encrypted_reasoning(body: &Bytes) -> Bytes {
    rewritten(body, |_| true, without_id).map_or_else(|| body.clone(), Bytes::from)
}

fn without_id(item: &RawValue) -> Cow<'_, str> {
    let Ok(mut members) = serde_json::from_str::<Object>(item.get()) else { return item.get().into() };
    // A reference is nothing without its id.
    if members.get("type").is_some_and(|kind| *kind == "item_reference") {
        return item.get().into();
    }
    match members.shift_remove("id") {
        Some(_) => serde_json::to_string(&members).map_or_else(|_| item.get().into(), Cow::Owned),
        None => item.get().into(),
    }
}

/// Returns the body without the reasoning whose encrypted content is unwanted, `None` if it has none.
fn rewritten(body: &[u8], is_unwanted: impl Fn(&str) -> bool, kept: fn(&RawValue) -> Cow<'_, str>) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let Body { input } = serde_json::from_str(text).ok()?;
    let items: Vec<&RawValue> = serde_json::from_str(input.get()).ok()?;
    let is_removed = |item: &&&RawValue| {
        let item: Option<Item<'_>> = serde_json::from_str(item.get()).ok();
        item.is_some_and(|item| {
            item.kind.as_deref() == Some("reasoning") && item.encrypted_content.is_some_and(|it| is_unwanted(&it))
        })
    };
    let left: Vec<_> = items.iter().filter(|item| !is_removed(item)).collect();
    if left.len() == items.len() {
        return None;
    }
    let kept: Vec<_> = left.into_iter().map(|item| kept(item)).collect();
    let start = input.get().as_ptr() as usize - text.as_ptr() as usize;
    let mut out = text.to_owned();
    out.replace_range(start..start + input.get().len(), &format!("[{}]", kept.join(",")));
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_encrypted_reasoning_and_the_ids_that_belong_to_it() {
        let request = |items: &str| Bytes::from(format!(r#"{{ "model":"m", "input": [{items}] }}"#));
        let reasoning = r#"{"type":"reasoning","id":"rs_1","encrypted_content":"gAAAA","summary":[]}"#;
        let call = r#"{"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{}"}"#;
        let user = r#"{ "role":"user","content":"Hi" }"#;
        assert_eq!(
            without_encrypted_reasoning(&request(&format!("{user},{reasoning},{call}"))),
            request(&format!(r#"{user},{}"#, call.replace(r#""id":"fc_1","#, "")))
        );
        let clean = request(call);
        assert_eq!(without_encrypted_reasoning(&clean), clean);
    }

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
