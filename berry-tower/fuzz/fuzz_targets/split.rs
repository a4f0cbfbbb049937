//! The splitter finds the same events as a plain reader of lines, however the bytes are cut.
#![no_main]

use berry_tower::sse::{ErrorEvent, Grammar, StreamFault, Usage, fuzzing};
use libfuzzer_sys::fuzz_target;

mod cuts;
#[allow(dead_code, reason = "shared with the unit tests and the other targets")]
#[path = "../../src/sse/tests/reference.rs"]
mod reference;

fuzz_target!(|input: &[u8]| {
    let Some((bytes, frames)) = cuts::cut(input) else {
        return;
    };
    let whole = fuzzing::split(&[bytes]);
    assert_eq!(whole, fuzzing::split(&frames));
    match (whole, reference::parse(bytes)) {
        (None, Err(())) => {}
        (Some(found), Ok((plain, _))) => {
            assert_eq!(found.len(), plain.len());
            for ((length, data, name), plain) in found.into_iter().zip(plain) {
                assert_eq!(
                    (length, data, name),
                    (plain.bytes.len(), plain.data, plain.name)
                );
            }
        }
        (found, _) => panic!("{found:?}"),
    }
});
