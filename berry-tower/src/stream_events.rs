//! Splits the bytes of a stream into its events.

use bytes::{Bytes, BytesMut};

/// Splits a stream into its events.
#[derive(Debug)]
pub(crate) struct Events {
    /// The bytes of the event that has begun.
    buffer: BytesMut,
    /// The most bytes of an event.
    limit: usize,
}

/// An event exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Events {
    pub(crate) fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    /// Adds bytes; [`next`](Self::next) returns the events that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next whole event, with the blank line at its end.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        match event_end(&self.buffer) {
            Some(at) => Ok(Some(self.buffer.split_to(at).freeze())),
            None if self.buffer.len() > self.limit => Err(TooLong),
            None => Ok(None),
        }
    }

    /// Returns the number of bytes that are held.
    #[cfg(feature = "resume")]
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether no further event has begun.
    #[cfg(feature = "resume")]
    pub(crate) fn is_between(&self) -> bool {
        self.buffer.iter().all(|b| matches!(b, b'\r' | b'\n'))
    }
}

/// Returns the end of the first event, after its blank line.
fn event_end(bytes: &[u8]) -> Option<usize> {
    let mut line = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    loop {
        let next = next_line(bytes, line)?;
        match bytes.get(next)? {
            b'\n' => return Some(next + 1),
            // A line feed that follows later is read as a blank line.
            b'\r' => return Some(next + 1 + usize::from(bytes.get(next + 1) == Some(&b'\n'))),
            _ => line = next,
        }
    }
}

/// Returns the start of the line after this one.
fn next_line(bytes: &[u8], line: usize) -> Option<usize> {
    let end = line + memchr::memchr2(b'\r', b'\n', &bytes[line..])?;
    let pair = bytes[end] == b'\r' && bytes.get(end + 1) == Some(&b'\n');
    Some(end + 1 + usize::from(pair))
}

/// Returns the data of an event; `None` for an event without data.
pub(crate) fn data(event: &str) -> Option<String> {
    let mut data: Option<String> = None;
    for part in lines(event).filter_map(data_line) {
        match &mut data {
            Some(data) => {
                data.push('\n');
                data.push_str(part);
            }
            None => data = Some(part.to_owned()),
        }
    }
    data
}

/// Returns the event with other data and its other lines unchanged.
#[cfg(feature = "resume")]
pub(crate) fn with_data(event: &str, data: &str) -> Bytes {
    let mut out = String::with_capacity(event.len() + data.len());
    for line in lines(event).filter(|line| !line.is_empty() && data_line(line).is_none()) {
        out.push_str(line);
        out.push('\n');
    }
    for line in data.split('\n') {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    out.into()
}

fn lines(event: &str) -> impl Iterator<Item = &str> {
    // CR LF yields an empty line, which is skipped.
    event.trim_start_matches('\u{feff}').split(['\r', '\n'])
}

fn data_line(line: &str) -> Option<&str> {
    let data = line.strip_prefix("data")?;
    if data.is_empty() {
        return Some("");
    }
    let data = data.strip_prefix(':')?;
    Some(data.strip_prefix(' ').unwrap_or(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_wherever_the_bytes_are_split() {
        let stream = "data: a\n\ndata: b\r\n\r\n: c\n\nevent: d\rdata: d\rdata: e\r\r\n\ndata: f\n\n";
        for cut in 1..=stream.len() {
            let mut events = Events::new(1000);
            let mut found = Vec::new();
            for part in stream.as_bytes().chunks(cut) {
                events.push(part);
                while let Some(event) = events.next().unwrap() {
                    found.push(data(std::str::from_utf8(&event).unwrap()));
                }
            }
            let expected = [Some("a"), Some("b"), None, Some("d\ne"), Some("f")].map(|s| s.map(str::to_owned));
            assert_eq!(found, expected, "in pieces of {cut}");
            assert!(events.is_between());
        }
    }

    #[test]
    fn refuses_event_over_the_limit() {
        let mut events = Events::new(4);
        events.push(b"data: 1");
        assert_eq!(events.next(), Err(TooLong));
    }

    #[test]
    fn other_data_keeps_the_other_lines() {
        let event = with_data("event: x\r\nid: 7\r\ndata: a\r\n\r\n", "b\nc");
        assert_eq!(event, "event: x\nid: 7\ndata: b\ndata: c\n\n");
    }
}
