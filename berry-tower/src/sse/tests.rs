//! Tests of each grammar's rules, and properties of arbitrary bytes.

mod chat;
mod others;
mod properties;
pub(crate) mod reference;
mod split;

use bytes::Bytes;

use super::{ErrorEvent, Grammar, StreamFault, StreamFilter, Usage};

/// What came of a stream.
#[derive(Debug)]
pub(super) struct Run {
    sent: Vec<u8>,
    result: Result<(), StreamFault>,
    filter: StreamFilter,
}

impl Run {
    fn sent(&self) -> &str {
        std::str::from_utf8(&self.sent).unwrap()
    }
}

/// Feeds the frames until one fails, then ends the body cleanly, or not.
fn run(mut filter: StreamFilter, frames: &[&[u8]], clean: bool) -> Run {
    let mut sent = Vec::new();
    let mut out = |bytes: Bytes| {
        assert!(!bytes.is_empty(), "an empty piece is no use to anyone");
        sent.extend_from_slice(&bytes);
    };
    let mut result = Ok(());
    for frame in frames {
        result = filter.push(Bytes::copy_from_slice(frame), &mut out);
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = if clean { filter.end(&mut out) } else { filter.broken(&mut out) };
    }
    assert_eq!(filter.bytes(), sent.len() as u64);
    Run { sent, result, filter }
}

fn chat(stream: &str) -> Run {
    run(StreamFilter::new(Grammar::Chat, false), &[stream.as_bytes()], true)
}

fn of(grammar: Grammar, stream: &str) -> Run {
    run(StreamFilter::new(grammar, false), &[stream.as_bytes()], true)
}

/// A filter that has been fed, and what it handed on.
fn fed(grammar: Grammar, frames: &[&str]) -> (StreamFilter, String) {
    let mut filter = StreamFilter::new(grammar, false);
    let mut sent = Vec::new();
    for frame in frames {
        let frame = Bytes::copy_from_slice(frame.as_bytes());
        assert_eq!(filter.push(frame, &mut |b: Bytes| sent.extend_from_slice(&b)), Ok(()));
    }
    (filter, String::from_utf8(sent).unwrap())
}

fn error(message: &str) -> StreamFault {
    StreamFault::Error(ErrorEvent { message: Some(message.to_owned()), ..ErrorEvent::default() })
}
