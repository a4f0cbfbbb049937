//! Reads answers of OpenAI's format, for callers who speak another.

use serde::Deserialize;

use super::{Answer, Chunk};
use crate::dialect::{Item, Malformed, Read, WireError, lenient};

/// Reads chat answers.
///
/// ```
/// use berry_tower::dialect::{Item, Read, chat::Reader};
///
/// let (mut reader, mut items) = (Reader::new(1), Vec::new());
/// reader.event("", r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#, &mut items).unwrap();
/// assert!(reader.event("", "{", &mut items).is_err());
/// reader.event("", "[DONE]", &mut items).unwrap();
/// assert!(matches!(items[..], [Item::Chunk(_), Item::Done]));
/// ```
#[derive(Debug)]
pub struct Reader {
    /// Which answers are finished.
    finished: Vec<bool>,
    /// Whether nothing more is read.
    over: bool,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    error: Option<serde_json::Value>,
    #[serde(flatten)]
    chunk: Chunk,
}

impl Reader {
    /// A reader of the answer to a request for `choices` answers (`n`).
    #[must_use]
    pub fn new(choices: u32) -> Self {
        Self { finished: vec![false; choices.clamp(1, 128) as usize], over: false }
    }

    fn is_whole(&self) -> bool {
        self.finished.iter().all(|finished| *finished)
    }

    fn finish(&mut self, out: &mut Vec<Item>) {
        if !std::mem::replace(&mut self.over, true) {
            out.push(Item::Done);
        }
    }
}

impl Read for Reader {
    fn answer(&mut self, body: &[u8]) -> Result<Answer, Malformed> {
        serde_json::from_slice(body).map_err(|_| Malformed("a body that is no chat completion"))
    }

    fn event(&mut self, _name: &str, data: &str, out: &mut Vec<Item>) -> Result<(), Malformed> {
        if self.over {
            return Ok(());
        }
        if data == "[DONE]" {
            if self.is_whole() {
                self.finish(out);
            }
            return Ok(());
        }
        let Ok(event) = serde_json::from_str::<Event>(data) else {
            lenient::unreadable(data, Malformed("an event that is no chat chunk"), out)?;
            self.over = true;
            return Ok(());
        };
        if let Some(error) = event.error.filter(|error| !error.is_null()) {
            self.over = true;
            out.push(Item::Error(told(&error)));
            return Ok(());
        }
        for choice in event.chunk.choices.iter().filter(|choice| choice.finish_reason.is_some()) {
            if let Some(finished) = self.finished.get_mut(choice.index as usize) {
                *finished = true;
            }
        }
        out.push(Item::Chunk(event.chunk));
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Item>) {
        if self.is_whole() {
            self.finish(out);
        }
    }
}

fn told(error: &serde_json::Value) -> WireError {
    let text = |name: &str| match error.get(name)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let message = text("message").or_else(|| error.as_str().map(str::to_owned)).unwrap_or_default();
    WireError { kind: text("type"), code: text("code"), message }
}
