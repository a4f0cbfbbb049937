//! The inside of long JSON strings that are full of escapes, such as source code and JSON itself.
//!
//! Going from one escape to the next costs a guess of the processor each time, and most are wrong.
//! Here sixty-four bytes are judged at once, whatever is in them.

use wide::u8x16;

/// At a backslash, of which there were so many in the string before: how many bytes to pass over, which
/// are whole characters and good escapes. None at all mostly, since a string with few escapes is read
/// sooner one by one.
#[inline]
pub(crate) fn many(escapes: &mut u32, bytes: &[u8]) -> usize {
    *escapes += 1;
    if escapes.is_multiple_of(4) { escaped(bytes) } else { 0 }
}

/// How many bytes at the front are whole characters and good escapes of a string that goes on behind
/// them, to a chunk.
#[inline(never)]
fn escaped(bytes: &[u8]) -> usize {
    let (mut at, mut goes_on, mut is_ascii) = (0, false, true);
    for chunk in bytes.as_chunks::<64>().0 {
        let chunk = Chunk::new(chunk);
        let (backslashes, quotes) = (chunk.places(b'\\'), chunk.places(b'"'));
        let (escaped, next) = behind(backslashes, goes_on);
        if chunk.has_control() || quotes & !escaped != 0 {
            break;
        }
        let others = escaped & !(backslashes | quotes);
        if others != 0 {
            let units = others & !chunk.letters();
            if units != 0 && (units & !chunk.places(b'u') != 0 || !are_hex(units, &bytes[at..])) {
                break;
            }
        }
        is_ascii &= chunk.is_ascii();
        goes_on = next;
        at += 64;
    }
    // An escape is left to be read as a whole.
    at -= usize::from(goes_on);
    if is_ascii { at } else { simdutf8::compat::from_utf8(&bytes[..at]).map_or_else(|e| e.valid_up_to(), str::len) }
}

/// The places behind a backslash that is not itself behind one; `begun` when the first place is.
/// Tells whether that goes on behind the last place.
fn behind(backslashes: u64, begun: bool) -> (u64, bool) {
    const EVEN: u64 = u64::MAX / 3;
    let begun = u64::from(begun);
    let backslashes = backslashes & !begun;
    let follows = backslashes << 1 | begun;
    // In a row of backslashes each second one is escaped. Adding the first of a row to the row carries
    // to the place behind it; so rows that begin at odd places are distinguished from the others.
    let odd_starts = backslashes & !EVEN & !follows;
    let (even_rows, goes_on) = backslashes.overflowing_add(odd_starts);
    ((EVEN ^ (even_rows << 1)) & follows, goes_on)
}

/// Whether behind each of the places there are four hexadecimal digits.
fn are_hex(mut places: u64, bytes: &[u8]) -> bool {
    while places != 0 {
        let from = places.trailing_zeros() as usize + 1;
        if !bytes.get(from..from + 4).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return false;
        }
        places &= places - 1;
    }
    true
}

struct Chunk([u8x16; 4]);

impl Chunk {
    #[inline(always)]
    fn new(bytes: &[u8; 64]) -> Self {
        let (blocks, _) = bytes.as_chunks();
        Self([0, 1, 2, 3].map(|i| u8x16::new(blocks[i])))
    }

    /// One bit for each place: set where the test is met.
    #[inline(always)]
    fn mask(&self, test: impl Fn(u8x16) -> u8x16) -> u64 {
        let [a, b, c, d] = self.0.map(|block| u64::from(test(block).to_bitmask()));
        (a | b << 16) | (c | d << 16) << 32
    }

    #[inline(always)]
    fn places(&self, byte: u8) -> u64 {
        self.mask(|block| block.simd_eq(u8x16::splat(byte)))
    }

    /// The places of what stands for a control character behind a backslash, and of the slash.
    #[inline(always)]
    fn letters(&self) -> u64 {
        self.mask(|block| {
            let is = |block: u8x16, byte| block.simd_eq(u8x16::splat(byte));
            // `b` and `f` differ in one bit.
            let pair = is(block | u8x16::splat(0x04), b'f');
            pair | is(block, b'n') | is(block, b'r') | is(block, b't') | is(block, b'/')
        })
    }

    #[inline(always)]
    fn has_control(&self) -> bool {
        let [a, b, c, d] = self.0;
        let lowest = a.min(b).min(c.min(d));
        lowest.simd_eq(lowest.min(u8x16::splat(0x1f))).to_bitmask() != 0
    }

    #[inline(always)]
    fn is_ascii(&self) -> bool {
        let [a, b, c, d] = self.0;
        (a | b | c | d).to_bitmask() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn inside() -> impl Strategy<Value = String> {
        let piece = select(vec![
            "x",
            "word ",
            "\\n",
            "\\\\",
            "\\\"",
            "\\/",
            "\\b\\f\\r\\t",
            "\\u00e9",
            "\\ud83d\\uDE00",
            "é",
            "中文",
            "😀",
        ]);
        vec(piece, 0..120).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn finds_what_follows_a_backslash(backslashes: u64, dense: bool, begun: bool) {
            let backslashes = if dense { backslashes | backslashes << 1 | backslashes << 3 } else { backslashes };
            let (mut expected, mut goes_on) = (0, begun);
            for place in 0..64 {
                if goes_on {
                    expected |= 1 << place;
                }
                goes_on = !goes_on && backslashes >> place & 1 == 1;
            }
            prop_assert_eq!(behind(backslashes, begun), (expected, goes_on));
        }

        #[test]
        fn skips_most_of_a_valid_string(inside in inside()) {
            let passed = escaped(inside.as_bytes());
            prop_assert!(passed <= inside.len());
            // What does not fill a chunk is left, an escape or a character over its border, and digits over the end.
            prop_assert!(passed + 64 + 64 > inside.len(), "{passed} of {}", inside.len());
            prop_assert!(inside.is_char_boundary(passed));
        }

        #[test]
        fn skips_nothing_invalid(
            good in inside(),
            bad in select(vec![&b"\""[..], b"\n", b"\0", b"\\x", b"\\v", b"\\\n", b"\\u12g4", b"\\u\"", b"\xff", b"\xe4\xb8x", b"\\\xc3\xa9"]),
            more in inside(),
        ) {
            let bytes = [good.as_bytes(), bad, more.as_bytes()].concat();
            prop_assert!(escaped(&bytes) <= good.len(), "{} of {}", escaped(&bytes), good.len());
        }
    }
}
