//! Reads the chunks of chat and text completions, and rewrites their texts.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use serde_json::value::RawValue;

/// The members of a delta that hold text, in the order in which models produce them.
const CHANNELS: [&str; 4] = ["reasoning_content", "reasoning", "content", "refusal"];
/// The channel of the text of a completion, which is no member of a delta.
const TEXT: usize = CHANNELS.len();
/// The channel that an assistant prefix can restore.
pub(super) const CONTENT: u8 = 2;

/// A text in a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) channel: u8,
    pub(super) text: String,
    /// The position of the JSON string in the chunk.
    span: Range<usize>,
}

/// The parts of a chunk that matter for a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The position of the id and its JSON text.
    id: Option<(Range<usize>, String)>,
    pub(super) pieces: Vec<Piece>,
    /// Whether the chunk has a finish reason.
    pub(super) finished: bool,
    /// Whether the chunk has a part that cannot be compared: a tool call, a second choice,
    /// log-probabilities.
    pub(super) opaque: bool,
    /// Whether the chunk has a choice, and not only facts of the whole response.
    pub(super) has_choice: bool,
}

#[derive(Deserialize)]
struct RawChunk<'a> {
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
    /// Reads a chunk; returns `None` for anything else.
    pub(super) fn read(data: &str) -> Option<Self> {
        let raw: RawChunk<'_> = serde_json::from_str(data).ok()?;
        let mut chunk = Self { id: raw.id.map(|id| (span(data, id), id.get().to_owned())), ..Self::default() };
        for choice in raw.choices.unwrap_or_default() {
            chunk.opaque |= chunk.has_choice || choice.index.unwrap_or(0) != 0 || choice.logprobs.is_some();
            chunk.has_choice = true;
            chunk.finished |= choice.finish_reason.is_some_and(|reason| !matches!(reason.get(), "null" | "\"\""));
            chunk.read_delta(data, choice.delta.unwrap_or_default());
            if let Some(text) = choice.text {
                chunk.read_text(data, TEXT, text);
            }
        }
        Some(chunk)
    }

    fn read_delta(&mut self, data: &str, mut delta: BTreeMap<String, &RawValue>) {
        delta.remove("role");
        for (channel, name) in CHANNELS.into_iter().enumerate() {
            if let Some(value) = delta.remove(name).filter(|value| value.get() != "null") {
                self.read_text(data, channel, value);
            }
        }
        self.opaque |= delta.values().any(|value| !matches!(value.get(), "null" | "\"\"" | "[]" | "{}"));
    }

    fn read_text(&mut self, data: &str, channel: usize, value: &RawValue) {
        #[expect(clippy::cast_possible_truncation, reason = "there are five channels")]
        match serde_json::from_str(value.get()) {
            Ok(text) => self.pieces.push(Piece { channel: channel as u8, text, span: span(data, value) }),
            Err(_) => self.opaque = true,
        }
    }

    /// The JSON text of the id.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_ref().map(|(_, id)| id.as_str())
    }

    /// Whether the chunk has any text.
    pub(super) fn has_text(&self) -> bool {
        self.pieces.iter().any(|piece| !piece.text.is_empty())
    }

    /// Returns the chunk with its texts and its id replaced; `None` when nothing changes.
    ///
    /// `texts` are the new texts of the pieces, in their order; `None` keeps a text.
    pub(super) fn rewrite(&self, data: &str, texts: &[Option<&str>], id: Option<&str>) -> Option<String> {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        for (piece, text) in self.pieces.iter().zip(texts) {
            if let Some(text) = text {
                edits.push((piece.span.clone(), serde_json::Value::from(*text).to_string()));
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

/// The position of a value in the text that it borrows from.
fn span(text: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_texts_and_id_in_place() {
        let data =
            r#"{"id":"a","choices":[{"index":0,"delta":{"content":"x\ny","role":"assistant"},"finish_reason":null}]}"#;
        let chunk = Chunk::read(data).unwrap();
        assert_eq!((chunk.id(), chunk.pieces[0].text.as_str(), chunk.opaque), (Some("\"a\""), "x\ny", false));
        assert!(!chunk.finished && chunk.has_text());
        assert_eq!(chunk.rewrite(data, &[None], Some("\"a\"")), None);
        let rewritten = chunk.rewrite(data, &[Some("\"")], Some("\"b\"")).unwrap();
        assert_eq!(rewritten, data.replace(r#""x\ny""#, r#""\"""#).replace(r#""a""#, r#""b""#));
    }

    #[test]
    fn parts_that_cannot_be_compared_are_opaque() {
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

    #[test]
    fn empty_finish_reason_is_none() {
        for (reason, expected) in [("null", false), (r#""""#, false), (r#""stop""#, true)] {
            let chunk = format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":{reason}}}]}}"#);
            assert_eq!(Chunk::read(&chunk).unwrap().finished, expected, "{reason}");
        }
    }
}
