//! Writes the events of a stream, with their sequence numbers.

use super::items::quote;

/// Writes events.
#[derive(Clone, Debug, Default)]
pub(super) struct EventWriter {
    /// The number of the next event.
    sequence: u64,
}

impl EventWriter {
    /// Writes one event; `members` appends what follows its type and its number.
    pub(super) fn event(&mut self, kind: &str, out: &mut Vec<u8>, members: impl FnOnce(&mut Vec<u8>)) {
        for part in ["event: ", kind, "\ndata: {\"type\":\"", kind, "\",\"sequence_number\":"] {
            out.extend_from_slice(part.as_bytes());
        }
        number(self.sequence, out);
        self.sequence += 1;
        members(out);
        out.extend_from_slice(b"}\n\n");
    }

    /// Writes an event with a value that is JSON.
    pub(super) fn with_json(&mut self, kind: &str, at: Option<usize>, name: &str, json: &str, out: &mut Vec<u8>) {
        self.event(kind, out, |out| {
            if let Some(at) = at {
                out.extend_from_slice(b",\"output_index\":");
                number(at as u64, out);
            }
            for part in [",\"", name, "\":", json] {
                out.extend_from_slice(part.as_bytes());
            }
        });
    }

    /// Writes an event about an item.
    pub(super) fn about(&mut self, kind: &str, about: &About<'_>, out: &mut Vec<u8>) {
        self.event(kind, out, |out| {
            out.extend_from_slice(b",\"item_id\":\"");
            out.extend_from_slice(about.id.as_bytes());
            out.extend_from_slice(b"\",\"output_index\":");
            number(about.at as u64, out);
            if let Some((name, index)) = about.index {
                for part in [",\"", name, "\":"] {
                    out.extend_from_slice(part.as_bytes());
                }
                number(index as u64, out);
            }
            for part in [",\"", about.name, "\":"] {
                out.extend_from_slice(part.as_bytes());
            }
            match about.value {
                // Writing a text into a vector cannot fail.
                Value::Text(text) => drop(serde_json::to_writer(&mut *out, text)),
                Value::Json(json) => out.extend_from_slice(json.as_bytes()),
            }
            if let Some(logprobs) = about.logprobs {
                for part in [",\"logprobs\":[", logprobs, "]"] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
        });
    }

    /// Writes an error that ends the stream. The layer that ends streams tells the caller of it.
    pub(super) fn error(&mut self, kind: &str, code: Option<&str>, message: &str, out: &mut Vec<u8>) {
        let mut error = String::from("{\"type\":");
        quote(kind, &mut error);
        error.push_str(",\"code\":");
        match code {
            Some(code) => quote(code, &mut error),
            None => error.push_str("null"),
        }
        error.push_str(",\"message\":");
        quote(message, &mut error);
        error.push_str(",\"param\":null}");
        self.with_json("error", None, "error", &error, out);
    }
}

/// What an event says about an item.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// The item's id.
    pub(super) id: &'a str,
    /// Its position in the output.
    pub(super) at: usize,
    /// The name and the index of a part.
    pub(super) index: Option<(&'static str, usize)>,
    /// The name of the value.
    pub(super) name: &'static str,
    pub(super) value: Value<'a>,
    /// The log-probabilities, separated by commas.
    pub(super) logprobs: Option<&'a str>,
}

/// A value of an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Json(&'a str),
}

/// Appends a number in digits.
fn number(mut number: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at) = ([0; 20], 20);
    loop {
        at -= 1;
        // A digit fits a byte.
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
