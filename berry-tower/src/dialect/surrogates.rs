//! Halves of surrogate pairs.
//!
//! Some providers cut a character outside of the basic plane in two: one event of a stream ends in the escape
//! `\ud83d`, and the next begins with `\ude00`. Rust's texts cannot hold half a pair, so each half travels as a
//! character of a private plane until its other half has come.

use std::borrow::Cow;

use super::{
    codec::StreamItem,
    hub::{ChunkChoice, Delta},
};

/// Stands for the surrogate `0xd800`, and those behind it for the following ones.
const PRIVATE: u32 = 0x0010_f000;

/// What replaces a half whose other half does not come.
const REPLACEMENT: char = '\u{fffd}';

/// The escapes of halves of pairs in a JSON text: each with its place and its code.
fn halves(text: &[u8]) -> Vec<(usize, u32)> {
    let mut found = Vec::new();
    let mut high: Option<(usize, u32)> = None;
    let mut at = 0;
    while let Some(next) = memchr::memchr(b'\\', &text[at..]) {
        at += next;
        let code = (text.get(at + 1) == Some(&b'u'))
            .then(|| text.get(at + 2..at + 6))
            .flatten()
            .and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match code {
            Some(code @ 0xd800..0xdc00) => {
                found.extend(high.replace((at, code)));
                at += 6;
            }
            Some(code @ 0xdc00..0xe000) => {
                match high.take() {
                    Some((place, _)) if place + 6 == at => {}
                    other => found.extend(other.into_iter().chain([(at, code)])),
                }
                at += 6;
            }
            Some(_) => at += 6,
            None => at += 2,
        }
        at = at.min(text.len());
    }
    found.extend(high);
    found
}

fn has_halves(text: &[u8]) -> Vec<(usize, u32)> {
    let is_escaped = memchr::memmem::find(text, b"\\ud").is_some() || memchr::memmem::find(text, b"\\uD").is_some();
    if is_escaped { halves(text) } else { Vec::new() }
}

fn replaced(text: &[u8], halves: &[(usize, u32)], by: impl Fn(u32) -> char) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut from = 0;
    for (at, code) in halves {
        out.extend_from_slice(&text[from..*at]);
        out.extend_from_slice(by(*code).encode_utf8(&mut [0; 4]).as_bytes());
        from = at + 6;
    }
    out.extend_from_slice(&text[from..]);
    out
}

/// Replaces the halves of pairs in a whole JSON text, which no other half can follow.
pub(super) fn repair(text: &[u8]) -> Cow<'_, [u8]> {
    let halves = has_halves(text);
    if halves.is_empty() { text.into() } else { replaced(text, &halves, |_| REPLACEMENT).into() }
}

fn private(code: u32) -> char {
    char::from_u32(PRIVATE + code - 0xd800).unwrap_or(REPLACEMENT)
}

/// The surrogate that a private character stands for.
fn surrogate(c: char) -> Option<u32> {
    u32::from(c).checked_sub(PRIVATE).filter(|offset| *offset < 0x800).map(|offset| offset + 0xd800)
}

/// Joins halves of pairs over the events of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct SurrogateJoiner {
    /// Whether any half has come.
    is_active: bool,
    /// The first halves that wait for the second: of which choice, and of which of its texts.
    waiting: Vec<((u32, Place), u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Content,
    Refusal,
    Reasoning,
    Arguments(u32),
}

impl SurrogateJoiner {
    /// Makes the data of an event readable, with private characters for halves.
    pub(super) fn mark<'a>(&mut self, data: &'a str) -> Cow<'a, str> {
        let halves = has_halves(data.as_bytes());
        if halves.is_empty() {
            return data.into();
        }
        self.is_active = true;
        String::from_utf8(replaced(data.as_bytes(), &halves, private)).map_or(data.into(), Cow::Owned)
    }

    /// Joins the halves in an item with those of earlier ones.
    pub(super) fn join(&mut self, item: &mut StreamItem) {
        let StreamItem::Chunk(chunk) = item else { return };
        if !self.is_active {
            return;
        }
        for ChunkChoice { index, delta, finish_reason, .. } in &mut chunk.choices {
            let Delta { content, refusal, reasoning_content, tool_calls, .. } = delta;
            self.join_text((*index, Place::Content), content);
            self.join_text((*index, Place::Refusal), refusal);
            self.join_text((*index, Place::Reasoning), reasoning_content);
            for call in tool_calls.iter_mut().flatten() {
                if let Some(function) = &mut call.function {
                    self.join_text((*index, Place::Arguments(call.index)), &mut function.arguments);
                }
            }
            let ends = finish_reason.is_some();
            let is_past_text = ends || tool_calls.is_some();
            let is_past_reasoning = is_past_text || content.is_some() || refusal.is_some();
            self.give_up((*index, Place::Reasoning), is_past_reasoning, reasoning_content);
            self.give_up((*index, Place::Content), is_past_text, content);
            self.give_up((*index, Place::Refusal), is_past_text, refusal);
        }
    }

    /// Replaces a half that waits in a text which is over.
    fn give_up(&mut self, place: (u32, Place), is_over: bool, text: &mut Option<String>) {
        let before = self.waiting.len();
        if is_over {
            self.waiting.retain(|(other, _)| *other != place);
        }
        if self.waiting.len() < before {
            text.get_or_insert_default().push(REPLACEMENT);
        }
    }

    fn join_text(&mut self, place: (u32, Place), text: &mut Option<String>) {
        let Some(text) = text.as_mut().filter(|text| !text.is_empty()) else { return };
        let waiting = self.waiting.iter().position(|(other, _)| *other == place);
        let mut high = waiting.map(|at| self.waiting.swap_remove(at).1);
        if high.is_none() && !text.chars().any(|c| surrogate(c).is_some()) {
            return;
        }
        let mut joined = String::with_capacity(text.len() + 4);
        for c in text.chars() {
            let code = surrogate(c);
            match (high.take(), code) {
                (Some(first), Some(second @ 0xdc00..)) => {
                    let c = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    joined.push(char::from_u32(c).unwrap_or(REPLACEMENT));
                    continue;
                }
                (Some(_), _) => joined.push(REPLACEMENT),
                (None, _) => {}
            }
            match code {
                Some(first @ ..0xdc00) => high = Some(first),
                Some(_) => joined.push(REPLACEMENT),
                None => joined.push(c),
            }
        }
        self.waiting.extend(high.map(|first| (place, first)));
        *text = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::hub::{Chunk, FinishReason};

    fn item(joiner: &mut SurrogateJoiner, data: &str) -> String {
        let content = serde_json::from_str(&joiner.mark(data)).unwrap();
        let delta = Delta { content: Some(content), ..Delta::default() };
        let choices = vec![ChunkChoice { delta, ..ChunkChoice::default() }];
        let mut item = StreamItem::Chunk(Chunk { choices, ..Chunk::default() });
        joiner.join(&mut item);
        let StreamItem::Chunk(mut chunk) = item else { panic!() };
        chunk.choices.remove(0).delta.content.unwrap()
    }

    #[test]
    fn replaces_a_half_at_the_end_of_its_text() {
        let half = |joiner: &mut SurrogateJoiner| serde_json::from_str(&joiner.mark(r#""a\ud83d""#)).ok();
        let joined = |joiner: &mut SurrogateJoiner, choice: ChunkChoice| {
            let mut item = StreamItem::Chunk(Chunk { choices: vec![choice], ..Chunk::default() });
            joiner.join(&mut item);
            let StreamItem::Chunk(mut chunk) = item else { panic!() };
            chunk.choices.remove(0).delta
        };
        let of = |delta: Delta| ChunkChoice { delta, ..ChunkChoice::default() };
        let mut joiner = SurrogateJoiner::default();
        let reasoning = Delta { reasoning_content: half(&mut joiner), ..Delta::default() };
        assert_eq!(joined(&mut joiner, of(reasoning)).reasoning_content.as_deref(), Some("a"));
        let content = Delta { content: half(&mut joiner), ..Delta::default() };
        let delta = joined(&mut joiner, of(content));
        assert_eq!((delta.reasoning_content.as_deref(), delta.content.as_deref()), (Some("\u{fffd}"), Some("a")));
        let end = ChunkChoice { finish_reason: Some(FinishReason::Stop), ..ChunkChoice::default() };
        let delta = joined(&mut joiner, end);
        assert_eq!((delta.reasoning_content, delta.content.as_deref()), (None, Some("\u{fffd}")));
    }

    #[test]
    fn joins_halves_over_events_and_replaces_those_that_stay_alone() {
        let mut joiner = SurrogateJoiner::default();
        let texts = [r#""a\ud83d""#, r#""\ude00b""#, r#""\ud83d\ude00 \\ud83d""#, r#""\ude00x\ud83d""#, r#""y""#];
        let joined: Vec<_> = texts.iter().map(|data| item(&mut joiner, data)).collect();
        assert_eq!(joined, ["a", "\u{1f600}b", "\u{1f600} \\ud83d", "\u{fffd}x", "\u{fffd}y"]);
        assert_eq!(&*repair(br#""\ud83dx""#), "\"\u{fffd}x\"".as_bytes());
        assert_eq!(&*repair(br#""\ud83d\ude00\"#), br#""\ud83d\ude00\"#);
    }
}
