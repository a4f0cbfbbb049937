//! Reasoning of other providers' models in Messages conversations. It is marked when it is sent to the caller, and
//! removed from requests to Anthropic, which accepts only its own signatures.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::{
    hub,
    responses::envelope::{self, Kind, Seal},
};

/// The prefix of all marks; Anthropic's signatures are base64 and never begin with it.
const MARK: &str = "berry:";

/// The signature of unsigned reasoning.
pub(super) const UNSIGNED: &str = "berry:unsigned";

/// Returns block data that holds Google's signature of the call that follows, bound to the backend of the seal.
pub(super) fn of_google(signature: &str, seal: &Seal) -> String {
    seal.close(Kind::GoogleCall, signature, "")
}

/// Returns Google's signature from a block's data, with the backend that made it; `None` if none of these did.
pub(super) fn google(data: &str, seals: &[Seal]) -> Option<(String, hub::Origin)> {
    match envelope::open(data, "", seals)? {
        (Kind::GoogleCall, signature, origin) => Some((signature.to_owned(), origin)),
        _ => None,
    }
}

/// Whether a signature or redacted data is not Anthropic's.
pub(super) fn is_foreign(proof: &str) -> bool {
    proof.is_empty() || proof.starts_with(MARK)
}

/// Whether a Messages request may hold reasoning of other providers' models, which [`without_foreign_thinking`]
/// removes; one search over the bytes.
#[must_use]
pub(crate) fn may_contain_foreign_thinking(body: &[u8]) -> bool {
    let is_empty = |at: usize| {
        let rest = body[at..].trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        rest.is_some_and(|rest| rest.starts_with(b"\"\""))
    };
    const NAME: &[u8] = b"\"signature\"";
    memmem::find(body, b"\"berry:").is_some() || memmem::find_iter(body, NAME).any(|at| is_empty(at + NAME.len()))
}

/// Whether a Messages request may ask for thinking and hold a tool call that was made without it, which
/// [`without_foreign_thinking`] repairs; two searches over the bytes.
pub(crate) fn may_lack_thinking(body: &[u8]) -> bool {
    memmem::find(body, b"\"tool_use\"").is_some() && memmem::find(body, b"\"budget_tokens\"").is_some()
}

/// Removes the reasoning of other providers' models from a Messages request to Anthropic. A turn that becomes empty is
/// removed. If the last assistant turn calls tools without beginning with Anthropic's own reasoning, thinking is
/// switched off, since Anthropic would refuse the turn. A body that is no Messages request is returned unchanged.
#[must_use]
pub(crate) fn without_foreign_thinking(body: &Bytes) -> Bytes {
    rewritten(body, |it| it.is_foreign()).map_or_else(|| body.clone(), Bytes::from)
}

/// Removes all reasoning from a Messages request to Anthropic, as [`without_foreign_thinking`] removes that of others.
#[must_use]
pub(crate) fn without_thinking(body: &Bytes) -> Bytes {
    rewritten(body, |it| it.is_thought()).map_or_else(|| body.clone(), Bytes::from)
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    messages: &'a RawValue,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    signature: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<Cow<'a, str>>,
}

impl Block<'_> {
    fn is_thought(&self) -> bool {
        matches!(&*self.kind, "thinking" | "redacted_thinking")
    }

    fn is_foreign(&self) -> bool {
        match &*self.kind {
            "thinking" => is_foreign(self.signature.as_deref().unwrap_or_default()),
            "redacted_thinking" => is_foreign(self.data.as_deref().unwrap_or_default()),
            _ => false,
        }
    }
}

/// Returns the body without some of the reasoning, or `None` if nothing changes.
fn rewritten(body: &[u8], is_unwanted: impl Fn(&Block<'_>) -> bool) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let Body { messages, thinking } = serde_json::from_str(text).ok()?;
    let turns: Vec<&RawValue> = serde_json::from_str(messages.get()).ok()?;
    let (mut kept, mut is_changed, mut lacks_thought) = (Vec::with_capacity(turns.len()), false, false);
    for turn in turns {
        let turn = turn.get();
        match rest(turn, &is_unwanted) {
            None => {
                if let Some(lacks) = lacks_thinking(turn) {
                    lacks_thought = lacks;
                }
                kept.push(Cow::Borrowed(turn));
            }
            Some(left) => {
                is_changed = true;
                if let Some((turn, lacks)) = left {
                    lacks_thought = lacks;
                    kept.push(Cow::Owned(turn));
                }
            }
        }
    }
    let messages = is_changed.then(|| (place(text, messages.get()), format!("[{}]", kept.join(","))));
    let is_enabled = |it: &&RawValue| serde_json::from_str::<Typed<'_>>(it.get()).is_ok_and(|it| it.kind == "enabled");
    let thinking = thinking.filter(|it| lacks_thought && is_enabled(it));
    let mut edits: Vec<_> = messages.into_iter().collect();
    edits.extend(thinking.map(|it| (place(text, it.get()), r#"{"type":"disabled"}"#.to_owned())));
    if edits.is_empty() {
        return None;
    }
    // From the end, so that earlier ranges stay valid.
    edits.sort_unstable_by_key(|(place, _)| std::cmp::Reverse(place.start));
    let mut out = text.to_owned();
    edits.into_iter().for_each(|(place, text)| out.replace_range(place, &text));
    Some(out)
}

/// Removes some of the reasoning from a turn. Returns the rest and whether it calls tools without beginning with
/// reasoning; `Some(None)` if nothing is left, and `None` if there was nothing to remove.
fn rest(turn: &str, is_unwanted: impl Fn(&Block<'_>) -> bool) -> Option<Option<(String, bool)>> {
    let Turn { content, .. } = serde_json::from_str(turn).ok()?;
    let all: Vec<&RawValue> = serde_json::from_str(content.get()).ok()?;
    let kept: Vec<_> = all.iter().filter(|raw| !block(raw).is_some_and(|it| is_unwanted(&it))).collect();
    if kept.len() == all.len() {
        return None;
    }
    let begins = kept.first().and_then(|raw| block(raw)).is_some_and(|it| it.is_thought());
    let calls = kept.iter().filter_map(|raw| block(raw)).any(|it| it.kind == "tool_use");
    let texts: Vec<_> = kept.iter().map(|raw| raw.get()).collect();
    let mut left = turn.to_owned();
    left.replace_range(place(turn, content.get()), &format!("[{}]", texts.join(",")));
    Some((!texts.is_empty()).then_some((left, calls && !begins)))
}

/// Whether an assistant turn calls tools without beginning with reasoning; `None` for other turns.
fn lacks_thinking(turn: &str) -> Option<bool> {
    let Turn { role, content } = serde_json::from_str(turn).ok()?;
    if role != "assistant" {
        return None;
    }
    let Ok(blocks) = serde_json::from_str::<Vec<&RawValue>>(content.get()) else { return Some(false) };
    let begins = blocks.first().and_then(|raw| block(raw)).is_some_and(|it| it.is_thought());
    Some(!begins && blocks.iter().filter_map(|raw| block(raw)).any(|it| it.kind == "tool_use"))
}

fn block(raw: &RawValue) -> Option<Block<'_>> {
    serde_json::from_str(raw.get()).ok()
}

/// Returns the range of a value in the text from which it borrows.
fn place(text: &str, value: &str) -> Range<usize> {
    let start = value.as_ptr() as usize - text.as_ptr() as usize;
    start..start + value.len()
}
