//! The grammar of JSON's numbers.

/// Splits off the number at the beginning, if there is one.
#[inline(always)]
pub(crate) fn number(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let is = |at, byte| bytes.get(at) == Some(&byte);
    let digits = |from| {
        let mut at = from;
        while matches!(bytes.get(at), Some(b'0'..=b'9')) {
            at += 1;
        }
        (at > from).then_some(at)
    };
    let mut at = usize::from(is(0, b'-'));
    at = if is(at, b'0') { at + 1 } else { digits(at)? };
    if is(at, b'.') {
        at = digits(at + 1)?;
    }
    if is(at, b'e') || is(at, b'E') {
        at += 1;
        at = digits(at + usize::from(is(at, b'+') || is(at, b'-')))?;
    }
    bytes.split_at_checked(at)
}
