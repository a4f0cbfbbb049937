//! Puts the public name of the model into a response, in place of the provider's.

use std::{collections::VecDeque, fmt, ops::Range};

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use super::members::Members;
use crate::body::ByteLease;

/// The longest plain response in which the model is renamed, in bytes.
const MAX_PLAIN: usize = 64 << 20;

/// Renames the model in the bytes of a response on their way to the client.
pub(super) struct PublicName {
    /// The name as JSON.
    name: String,
    is_stream: bool,
    /// The beginning of a line that is not complete, or of a plain response.
    held: BytesMut,
    /// What is held counts against it.
    lease: Option<ByteLease>,
}

impl fmt::Debug for PublicName {
    // Without the bytes, which belongs to the client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicName").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PublicName {
    pub(super) fn new(name: &str, is_stream: bool, lease: Option<ByteLease>) -> Self {
        // Writing a string as JSON cannot fail.
        Self { name: serde_json::to_string(name).unwrap_or_default(), is_stream, held: BytesMut::new(), lease }
    }

    /// Returns the next bytes for the client out of those that are ready; `is_over` says that no more come.
    pub(super) fn next(&mut self, ready: &mut VecDeque<Bytes>, is_over: bool) -> Option<Bytes> {
        while let Some(bytes) = ready.pop_front() {
            let lines = if self.is_stream { self.lines(&bytes) } else { self.keep(&bytes) };
            if !lines.is_empty() {
                return Some(lines);
            }
        }
        if !is_over || self.held.is_empty() {
            return None;
        }
        let rest = self.held.split().freeze();
        let renamed = if self.is_stream { None } else { self.renamed(&rest) };
        Some(renamed.map_or(rest, Bytes::from))
    }

    /// Whether nothing is left for the client.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Keeps a part of a plain response until it is complete. One that is too long passes as it is, and so does one
    /// for which there is no memory.
    fn keep(&mut self, bytes: &Bytes) -> Bytes {
        self.held.extend_from_slice(bytes);
        let length = self.held.len();
        let has_room = length <= MAX_PLAIN && self.lease.as_mut().is_none_or(|lease| lease.try_resize(length));
        if has_room { Bytes::new() } else { self.held.split().freeze() }
    }

    /// Returns the complete lines, each with the public name.
    fn lines(&mut self, bytes: &Bytes) -> Bytes {
        let Some(last) = memchr::memrchr(b'\n', bytes) else {
            self.held.extend_from_slice(bytes);
            return Bytes::new();
        };
        self.held.extend_from_slice(&bytes[..=last]);
        let lines = std::mem::replace(&mut self.held, BytesMut::from(&bytes[last + 1..]));
        let mut out = Vec::with_capacity(lines.len() + self.name.len());
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let data = line.strip_prefix(b"data:").and_then(|data| self.renamed(data));
            match data {
                Some(data) => {
                    out.extend_from_slice(b"data:");
                    out.extend_from_slice(&data);
                }
                None => out.extend_from_slice(line),
            }
        }
        out.into()
    }

    /// Returns an object with the public name: as its own `model`, or that of the response or the message in it.
    /// `None` if it has none.
    fn renamed(&self, json: &[u8]) -> Option<Vec<u8>> {
        let object = json.trim_ascii();
        let offset = object.as_ptr() as usize - json.as_ptr() as usize;
        let at = place_of_name(object)?;
        let (start, end) = (offset + at.start, offset + at.end);
        let mut out = Vec::with_capacity(json.len() + self.name.len());
        out.extend_from_slice(&json[..start]);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&json[end..]);
        Some(out)
    }
}

/// The range of the model's name, with its quotes.
fn place_of_name(object: &[u8]) -> Option<Range<usize>> {
    let Members(members) = serde_json::from_slice(object).ok()?;
    let value = |members: &[(String, &RawValue)], name: &str, first: char| {
        let found = members.iter().find(|(key, value)| key == name && value.get().starts_with(first));
        found.map(|(_, value)| value.get().as_bytes().as_ptr() as usize..value.get().len())
    };
    let place = |range: Range<usize>| {
        let start = range.start - object.as_ptr() as usize;
        start..start + range.end
    };
    if let Some(own) = value(&members, "model", '"') {
        return Some(place(own));
    }
    let inner = members
        .iter()
        .find(|(key, value)| matches!(key.as_str(), "response" | "message") && value.get().starts_with('{'))?;
    let Members(inner) = serde_json::from_str(inner.1.get()).ok()?;
    value(&inner, "model", '"').map(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(body: &'static str) -> String {
        let mut name = PublicName::new("public", false, None);
        let (a, b) = body.split_at(body.len() / 2);
        let mut ready = VecDeque::from([Bytes::from(a), Bytes::from(b)]);
        String::from_utf8(name.next(&mut ready, true).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn renames_the_model_of_a_plain_response() {
        assert_eq!(
            plain(r#"{ "id":"1", "model" : "gpt", "x":{"model":"y"} }"#),
            r#"{ "id":"1", "model" : "public", "x":{"model":"y"} }"#
        );
        assert_eq!(plain(r#"{"choices":[]}"#), r#"{"choices":[]}"#);
    }

    #[test]
    fn renames_the_model_in_events_however_they_are_cut() {
        let stream = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude\"}}\r\n\r\n\
                      data: {\"model\":\"gpt\",\"choices\":[]}\n\n: model\n\ndata:{\"response\":{\"model\":\"o\"}}\n\ndata: [DONE]\n\n";
        let expected = stream.replace("claude", "public").replace("gpt", "public").replace("\"o\"", "\"public\"");
        for size in 1..stream.len() {
            let mut name = PublicName::new("public", true, None);
            let mut out = Vec::new();
            let mut ready: VecDeque<Bytes> = stream.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
            while let Some(bytes) = name.next(&mut ready, true) {
                out.extend_from_slice(&bytes);
            }
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{size}");
        }
    }
}
