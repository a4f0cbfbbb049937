//! The check of plain bodies agrees with `serde_json`, however the bytes are cut.
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
    let facts = fuzzing::object_check(&[bytes]);
    assert_eq!(facts, fuzzing::object_check(&frames));
    assert_eq!(facts.is_some(), reference::is_object(bytes));
    // `serde_json` refuses lone surrogates and numbers out of range here, which clients take.
    let Ok(tree) = serde_json::from_slice::<reference::Tree>(bytes) else {
        return;
    };
    if let Some((usage, error)) = facts
        && !tree.has_twins()
        && !reference::has_rewritten_numbers(bytes)
    {
        assert_eq!(usage, tree.usage());
        if error
            .as_ref()
            .and_then(|e| e.message.as_ref())
            .is_none_or(|m| m.len() < 2000)
        {
            assert_eq!(error, tree.error());
        }
    }
});
