//! Reads the finished response out of a body that passes.

use serde_json::Value;

use super::records::MAX_BYTES;

/// The types of the events that end a stream with a response to store.
const ENDS: [&str; 2] = ["response.completed", "response.incomplete"];

/// What has passed of a body, as far as the response may be in it.
#[derive(Debug, Default)]
pub(super) struct Capture {
    bytes: Vec<u8>,
    is_stream: bool,
    is_lost: bool,
}

impl Capture {
    pub(super) fn new(is_stream: bool) -> Self {
        Self { is_stream, ..Self::default() }
    }

    /// Takes the next bytes, and returns the response if an event of them ends a stream.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<Value> {
        if self.is_lost {
            return None;
        }
        self.bytes.extend_from_slice(bytes);
        if self.is_stream {
            return self.events();
        }
        if self.bytes.len() > MAX_BYTES {
            self.lose();
        }
        None
    }

    /// Returns the response of a plain body that has ended.
    pub(super) fn finish(self) -> Option<Value> {
        if self.is_stream || self.is_lost { None } else { serde_json::from_slice(&self.bytes).ok() }
    }

    fn lose(&mut self) {
        self.is_lost = true;
        self.bytes = Vec::new();
    }

    /// Reads the events that are complete, and keeps the rest.
    fn events(&mut self) -> Option<Value> {
        let mut response = None;
        let mut start = 0;
        while let Some(length) = self.bytes[start..].windows(2).position(|two| two == b"\n\n") {
            response = read_event(&self.bytes[start..start + length]).or(response);
            start += length + 2;
        }
        self.bytes.drain(..start);
        if self.bytes.len() > MAX_BYTES {
            self.lose();
        }
        response
    }
}

fn read_event(event: &[u8]) -> Option<Value> {
    let event = std::str::from_utf8(event).ok()?;
    let name = event.lines().find_map(|line| line.strip_prefix("event:"))?.trim();
    if !ENDS.contains(&name) {
        return None;
    }
    let data = event.lines().find_map(|line| line.strip_prefix("data:"))?;
    let mut event: Value = serde_json::from_str(data).ok()?;
    Some(event["response"].take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_last_event_however_it_is_cut() {
        let text = "event: response.created\ndata: {\"response\":{\"id\":\"a\"}}\n\n\
            event: response.completed\ndata: {\"response\":{\"id\":\"b\"}}\n\ndata: [DONE]\n\n";
        for size in 1..text.len() {
            let mut capture = Capture::new(true);
            let found: Vec<_> = text.as_bytes().chunks(size).filter_map(|bytes| capture.push(bytes)).collect();
            assert_eq!(found.len(), 1, "{size}");
            assert_eq!(found[0]["id"], "b");
        }
        let mut capture = Capture::new(false);
        assert!(capture.push(b"{\"id\":").is_none() && capture.push(b"\"c\"}").is_none());
        assert_eq!(capture.finish().unwrap()["id"], "c");
    }
}
