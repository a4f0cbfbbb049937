//! The filter hands on the same, and comes to the same end, as a plain reading of the whole stream,
//! however the bytes are cut.
#![no_main]

use berry_tower::sse::{ErrorEvent, Grammar, StreamFault, StreamFilter, Usage, fuzzing};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

mod cuts;
#[allow(dead_code, reason = "shared with the unit tests and the other targets")]
#[path = "../../src/sse/tests/reference.rs"]
mod reference;

type Run = (Vec<u8>, Result<(), StreamFault>, StreamFilter);

fn run(mut filter: StreamFilter, frames: &[&[u8]], clean: bool) -> Run {
    let mut sent = Vec::new();
    let mut out = |bytes: Bytes| sent.extend_from_slice(&bytes);
    for frame in frames {
        if let Err(fault) = filter.push(Bytes::copy_from_slice(frame), &mut out) {
            return (sent, Err(fault), filter);
        }
    }
    let result = if clean {
        filter.end(&mut out)
    } else {
        filter.broken(&mut out)
    };
    (sent, result, filter)
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, input)) = input.split_first() else {
        return;
    };
    let Some((bytes, frames)) = cuts::cut(input) else {
        return;
    };
    let grammar = match how & 3 {
        0 => Grammar::Chat,
        1 => Grammar::Completions,
        2 => Grammar::Responses,
        _ => Grammar::Messages,
    };
    let (hide, clean) = (how & 4 != 0, how & 8 != 0);
    let expected = 1 + usize::from(how >> 4 & 1);
    let new = || StreamFilter::new(grammar, hide).expected_choices(expected);

    let (sent, result, one) = run(new(), &[bytes], clean);
    let (cut_sent, cut_result, cut) = run(new(), &frames, clean);
    // The fault of an event longer than what is held shows sooner or later.
    if bytes.len() <= 16 * 1024 || result.is_ok() {
        assert_eq!(sent, cut_sent);
    }
    assert_eq!(result, cut_result);
    assert_eq!(format!("{one:?}"), format!("{cut:?}"));

    if bytes.len() <= 16 * 1024 && !reference::has_rewritten_numbers(bytes) {
        if let Some(plain) = reference::judge(bytes, grammar, hide, expected, clean) {
            assert_eq!(
                sent.escape_ascii().to_string(),
                plain.sent.escape_ascii().to_string()
            );
            assert_eq!(result, plain.result);
            assert_eq!(one.usage(), plain.usage);
            assert_eq!(one.malformed(), plain.malformed);
            assert_eq!(one.output_seen(), plain.output);
        }
    }

    let hold = 8 + usize::from(how >> 5) * 20;
    let (long_sent, long_result, _) = run(fuzzing::holding(new(), hold), &[bytes], clean);
    let (cut_sent, cut_result, _) = run(fuzzing::holding(new(), hold), &frames, clean);
    assert_eq!(long_result, cut_result);
    assert!(long_sent.starts_with(&cut_sent) || cut_sent.starts_with(&long_sent));
    // What is whole when it is not held is whole when it is.
    assert!(long_result.is_err() || result.is_ok());
});
