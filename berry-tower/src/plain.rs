//! The inside of JSON strings, many bytes at a time.

/// How many bytes at the front stand for themselves in a JSON string: ASCII, and no quote, no
/// backslash, no control character.
pub(crate) fn plain(bytes: &[u8]) -> usize {
    // Most strings are names and short words, for which a longer step does not pay.
    const SHORT: usize = 32;
    let short = words(&bytes[..bytes.len().min(SHORT)]);
    if short < SHORT {
        return short;
    }
    let (blocks, _) = bytes[SHORT..].as_chunks::<64>();
    let at = SHORT + 64 * blocks.iter().take_while(|block| is_plain(block)).count();
    at + words(&bytes[at..])
}

/// Without a branch, so that the compiler turns it into vector code.
fn is_plain(block: &[u8; 64]) -> bool {
    let mut special = false;
    for byte in block {
        // As signed numbers, parts of longer characters are less than a space too.
        special |= *byte == b'"' || *byte == b'\\' || byte.cast_signed() < 0x20;
    }
    !special
}

/// The same, eight bytes at a time.
fn words(bytes: &[u8]) -> usize {
    const EACH: u64 = u64::MAX / 0xff;
    const HIGH: u64 = EACH * 0x80;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        // The lowest byte whose high bit is set here is the first that is not plain: a byte less
        // than what is taken from it borrows, and no byte before it has.
        let word = u64::from_le_bytes(*word);
        let quote = (word ^ (EACH * u64::from(b'"'))).wrapping_sub(EACH);
        let backslash = (word ^ (EACH * u64::from(b'\\'))).wrapping_sub(EACH);
        let control = word.wrapping_sub(EACH * 0x20);
        let special = (word | quote | backslash | control) & HIGH;
        if special != 0 {
            return at * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20 | 0x80..);
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_is_special_is_found_at_every_place() {
        for length in 0..200 {
            let all = vec![b'x'; length];
            assert_eq!(plain(&all), length);
            for at in 0..length {
                for special in [b'"', b'\\', 0, b'\n', 0x1f, 0x80, 0xe4, 0xff] {
                    let mut bytes = all.clone();
                    bytes[at] = special;
                    bytes[length - 1] = if at + 1 < length { b'"' } else { special };
                    assert_eq!(plain(&bytes), at, "{special} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn what_is_next_to_special_is_not() {
        let all: Vec<u8> = (0x20..0x7f).filter(|byte| !matches!(byte, b'"' | b'\\')).chain([0x7f]).collect();
        for shift in 0..all.len() {
            let turned = [&all[shift..], &all[..shift], b"\\"].concat();
            assert_eq!(plain(&turned), all.len());
        }
    }
}
