//! Writes answers in OpenAI's format.

use serde::Serialize;
use serde_json::json;

use super::Answer;
use crate::dialect::{Item, Write};

/// Writes chat answers.
///
/// ```
/// use berry_tower::dialect::{Item, Write, chat::Writer};
///
/// let mut out = Vec::new();
/// Writer.item(Item::Done, &mut out);
/// assert_eq!(out, b"data: [DONE]\n\n");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Writer;

impl Write for Writer {
    fn answer(&mut self, answer: Answer) -> Vec<u8> {
        // Only a map with keys that are no texts could fail, and there is none.
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    fn item(&mut self, item: Item, out: &mut Vec<u8>) {
        match item {
            Item::Chunk(chunk) => event(&chunk, out),
            Item::Error(error) => {
                let (kind, code, message) =
                    (error.kind.as_deref().unwrap_or("server_error"), error.code, error.message);
                event(&json!({"error": {"message": message, "type": kind, "param": null, "code": code}}), out);
            }
            Item::Done => out.extend_from_slice(b"data: [DONE]\n\n"),
        }
    }
}

fn event(data: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    // Writing into a vector cannot fail.
    let _ = serde_json::to_writer(&mut *out, data);
    out.extend_from_slice(b"\n\n");
}
