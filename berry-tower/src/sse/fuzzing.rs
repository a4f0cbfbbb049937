//! Access to private parts for the fuzz targets; absent from other builds.

use super::split::{Splitter, Token};
use super::{ErrorEvent, StreamFilter, Usage};
use crate::json::ObjectCheck;

/// An event as the splitter sees it: its length in bytes, its data, its name.
pub type Split = (usize, Option<Vec<u8>>, Vec<u8>);

/// The events that end in these frames; `None` when it is no event stream.
pub fn split(frames: &[&[u8]]) -> Option<Vec<Split>> {
    let mut splitter = Splitter::new();
    let mut events: Vec<Split> = Vec::new();
    let mut open: Split = Default::default();
    for frame in frames {
        let mut at = 0;
        while at < frame.len() {
            let (used, token) = splitter.next(&frame[at..]);
            at += used;
            open.0 += used;
            match token {
                Token::DataLine => match &mut open.1 {
                    Some(data) => data.push(b'\n'),
                    none => *none = Some(Vec::new()),
                },
                Token::Data(part) => open.1.get_or_insert_default().extend_from_slice(part),
                Token::NameLine => open.2.clear(),
                Token::Name(part) => open.2.extend_from_slice(part),
                Token::End => events.push(std::mem::take(&mut open)),
                Token::Tail => {
                    if let Some(last) = events.last_mut() {
                        last.0 += std::mem::take(&mut open.0);
                    }
                }
                Token::Foreign => return None,
                Token::More => {}
            }
        }
    }
    Some(events)
}

/// A filter that holds back fewer bytes.
pub fn holding(filter: StreamFilter, hold: usize) -> StreamFilter {
    filter.holding(hold)
}

/// What a plain body says of usage and errors; `None` when it is no object.
pub fn object_check(parts: &[&[u8]]) -> Option<(Option<Usage>, Option<ErrorEvent>)> {
    let mut check = ObjectCheck::new();
    let failed = parts.iter().any(|part| check.push(part).is_err());
    let facts = check.finish().ok()?;
    assert!(!failed, "what failed once cannot be whole");
    Some((facts.usage, facts.error))
}
