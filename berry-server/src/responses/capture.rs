//! Reads the finished response out of a body that passes.

use berry_tower::body::ByteLease;
use serde_json::Value;

use super::records::MAX_BYTES;

/// The types of the events that end a stream with a response to store.
const ENDS: [&str; 2] = ["response.completed", "response.incomplete"];

/// The bytes of a body that may hold the finished response.
#[derive(Debug, Default)]
pub(super) struct Capture {
    bytes: Vec<u8>,
    /// The number of bytes that hold no end of an event.
    searched: usize,
    is_stream: bool,
    is_lost: bool,
    /// Counts the bytes that are held.
    lease: Option<ByteLease>,
}

impl Capture {
    /// Reads a body; what is held of it counts against `lease`.
    pub(super) fn new(is_stream: bool, lease: Option<ByteLease>) -> Self {
        Self { is_stream, lease, ..Self::default() }
    }

    /// Takes the next bytes, and returns the response if an event of them ends a stream.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<Value> {
        if self.is_lost {
            return None;
        }
        self.bytes.extend_from_slice(bytes);
        let response = if self.is_stream { self.events() } else { None };
        let length = self.bytes.len();
        if length > MAX_BYTES || self.lease.as_mut().is_some_and(|lease| !lease.try_resize(length)) {
            self.is_lost = true;
            self.bytes = Vec::new();
            self.lease = None;
        }
        response
    }

    /// Returns the response of a plain body that has ended.
    pub(super) fn finish(self) -> Option<Value> {
        if self.is_stream || self.is_lost { None } else { serde_json::from_slice(&self.bytes).ok() }
    }

    /// Reads the events that are complete, and keeps the rest.
    fn events(&mut self) -> Option<Value> {
        let mut response = None;
        let mut start = 0;
        while let Some(end) = event_end(&self.bytes, start.max(self.searched)) {
            response = read_event(&self.bytes[start..end]).or(response);
            (start, self.searched) = (end, 0);
        }
        self.bytes.drain(..start);
        // The end may be split.
        self.searched = self.bytes.len().saturating_sub(3);
        response
    }
}

/// Returns the end of the event behind a position: a blank line.
fn event_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut from = from;
    loop {
        let line = from + bytes.get(from..)?.iter().position(|byte| *byte == b'\n')? + 1;
        match bytes.get(line..)? {
            [b'\n', ..] => return Some(line + 1),
            [b'\r', b'\n', ..] => return Some(line + 2),
            _ => from = line,
        }
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
        for text in [text.to_owned(), text.replace('\n', "\r\n")] {
            for size in 1..text.len() {
                let mut capture = Capture::new(true, None);
                let found: Vec<_> = text.as_bytes().chunks(size).filter_map(|bytes| capture.push(bytes)).collect();
                assert_eq!(found.len(), 1, "{size}");
                assert_eq!(found[0]["id"], "b");
            }
        }
        let mut capture = Capture::new(false, None);
        assert!(capture.push(b"{\"id\":").is_none() && capture.push(b"\"c\"}").is_none());
        assert_eq!(capture.finish().unwrap()["id"], "c");
    }

    #[test]
    fn holds_no_more_than_the_budget_allows() {
        let budget = berry_tower::body::ByteBudget::new(100);
        let mut capture = Capture::new(false, Some(budget.lease()));
        capture.push(&[b' '; 90]);
        assert_eq!(budget.used(), 90);
        capture.push(&[b' '; 20]);
        assert_eq!(budget.used(), 0);
        assert!(capture.finish().is_none());
    }
}
