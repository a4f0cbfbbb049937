//! What a chunk of a chat or a completion says, and how to say a part of it.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use serde_json::value::RawValue;

/// The texts that a chunk may bear, in the order in which models give them.
const CHANNELS: [&str; 4] = ["reasoning_content", "reasoning", "content", "refusal"];
/// The text of a completion stands beside those.
const TEXT: usize = CHANNELS.len();
/// What counts as the answer itself, which a prefix can bring back.
pub(super) const ANSWER: u8 = 2;

/// A piece of text, and where it stands in the chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) channel: u8,
    pub(super) text: String,
    at: Range<usize>,
}

/// What matters of a chunk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    id: Option<(Range<usize>, String)>,
    pub(super) pieces: Vec<Piece>,
    pub(super) finished: bool,
    /// It bears something that cannot be compared: a tool's call, several choices, probabilities.
    pub(super) opaque: bool,
    /// It is about a choice, and not about the whole answer.
    pub(super) has_choice: bool,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<RawChoice<'a>>>,
}

#[derive(Deserialize)]
struct RawChoice<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    delta: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
}

impl Chunk {
    /// Reads a chunk; `None` when it is none.
    pub(super) fn read(data: &str) -> Option<Self> {
        let raw: Raw<'_> = serde_json::from_str(data).ok()?;
        let mut chunk = Self { id: raw.id.map(|id| (place(data, id), id.get().to_owned())), ..Self::default() };
        for choice in raw.choices.unwrap_or_default() {
            chunk.opaque |= chunk.has_choice || choice.index.unwrap_or(0) != 0 || choice.logprobs.is_some();
            chunk.has_choice = true;
            chunk.finished |= choice.finish_reason.is_some();
            chunk.delta(data, choice.delta.unwrap_or_default());
            if let Some(text) = choice.text {
                chunk.piece(data, TEXT, text);
            }
        }
        Some(chunk)
    }

    fn delta(&mut self, data: &str, mut delta: BTreeMap<String, &RawValue>) {
        delta.remove("role");
        for (channel, name) in CHANNELS.into_iter().enumerate() {
            if let Some(value) = delta.remove(name).filter(|value| value.get() != "null") {
                self.piece(data, channel, value);
            }
        }
        self.opaque |= delta.values().any(|value| !matches!(value.get(), "null" | "\"\"" | "[]" | "{}"));
    }

    fn piece(&mut self, data: &str, channel: usize, value: &RawValue) {
        #[expect(clippy::cast_possible_truncation, reason = "there are five")]
        match serde_json::from_str(value.get()) {
            Ok(text) => self.pieces.push(Piece { channel: channel as u8, text, at: place(data, value) }),
            Err(_) => self.opaque = true,
        }
    }

    /// The id, as it is written.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_ref().map(|(_, id)| id.as_str())
    }

    /// Whether it bears any text.
    pub(super) fn speaks(&self) -> bool {
        self.pieces.iter().any(|piece| !piece.text.is_empty())
    }

    /// The chunk with its texts and its id replaced; `None` when that changes nothing.
    ///
    /// `texts` are those of the pieces, in their order, where they change.
    pub(super) fn rewrite(&self, data: &str, texts: &[Option<&str>], id: Option<&str>) -> Option<String> {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        for (piece, text) in self.pieces.iter().zip(texts) {
            if let Some(text) = text {
                edits.push((piece.at.clone(), serde_json::Value::from(*text).to_string()));
            }
        }
        if let (Some((at, old)), Some(id)) = (&self.id, id)
            && old != id
        {
            edits.push((at.clone(), id.to_owned()));
        }
        if edits.is_empty() {
            return None;
        }
        edits.sort_by_key(|(at, _)| at.start);
        let (mut out, mut from) = (String::with_capacity(data.len()), 0);
        for (at, text) in edits {
            out.push_str(&data[from..at.start]);
            out.push_str(&text);
            from = at.end;
        }
        out.push_str(&data[from..]);
        Some(out)
    }
}

/// Where a value stands in the text that it borrows from.
fn place(text: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_and_replaced_where_they_stand() {
        let data =
            r#"{"id":"a","choices":[{"index":0,"delta":{"content":"x\ny","role":"assistant"},"finish_reason":null}]}"#;
        let chunk = Chunk::read(data).unwrap();
        assert_eq!((chunk.id(), chunk.pieces[0].text.as_str(), chunk.opaque), (Some("\"a\""), "x\ny", false));
        assert!(!chunk.finished && chunk.speaks());
        assert_eq!(chunk.rewrite(data, &[None], Some("\"a\"")), None);
        let rewritten = chunk.rewrite(data, &[Some("\"")], Some("\"b\"")).unwrap();
        assert_eq!(rewritten, data.replace(r#""x\ny""#, r#""\"""#).replace(r#""a""#, r#""b""#));
    }

    #[test]
    fn what_cannot_be_compared_is_opaque() {
        for delta in [
            r#"{"index":0,"delta":{"tool_calls":[{"index":0}]}}"#,
            r#"{"index":0,"delta":{"audio":{"id":"x"}}}"#,
            r#"{"index":0,"delta":{"content":["x"]}}"#,
            r#"{"index":0,"delta":{"content":"\ud800"}}"#,
            r#"{"index":1,"delta":{"content":"x"}}"#,
            r#"{"index":0,"delta":{}},{"index":0,"delta":{}}"#,
            r#"{"index":0,"delta":{},"logprobs":{"content":[]}}"#,
        ] {
            assert!(Chunk::read(&format!(r#"{{"choices":[{delta}]}}"#)).unwrap().opaque, "{delta}");
        }
        let plain = r#"{"choices":[{"index":0,"delta":{"tool_calls":[],"audio":null,"content":null}}]}"#;
        assert!(!Chunk::read(plain).unwrap().opaque);
        assert!(Chunk::read("[DONE]").is_none());
    }
}
