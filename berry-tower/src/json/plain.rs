//! The inside of JSON strings, many bytes at a time.

use wide::u8x16;

/// How many bytes at the front stand for themselves in a JSON string: ASCII, and no quote, no
/// backslash, no control character.
#[inline(always)]
pub(crate) fn ascii(bytes: &[u8]) -> usize {
    run::<false>(bytes)
}

/// The same, for bytes that are known to be UTF-8 or will be looked at again: all longer characters
/// stand for themselves.
#[inline(always)]
pub(crate) fn text(bytes: &[u8]) -> usize {
    run::<true>(bytes)
}

/// Most strings are names and short words: their first bytes are looked at in place.
#[inline(always)]
fn run<const WIDE: bool>(bytes: &[u8]) -> usize {
    let Some((block, rest)) = bytes.split_first_chunk() else { return short::<WIDE>(bytes) };
    match special::<WIDE>([block]) {
        0 => 16 + short::<WIDE>(rest),
        special => special.trailing_zeros() as usize,
    }
}

#[inline(never)]
fn short<const WIDE: bool>(bytes: &[u8]) -> usize {
    // A longer step does not pay before.
    const SHORT: usize = 64;
    let at = blocks::<WIDE>(&bytes[..bytes.len().min(SHORT)]);
    if at == SHORT { SHORT + long::<WIDE>(&bytes[SHORT..]) } else { at }
}

#[inline(never)]
fn long<const WIDE: bool>(bytes: &[u8]) -> usize {
    let is_plain = |chunk: &&[u8; 128]| special::<WIDE>(chunk.as_chunks().0) == 0;
    let at = 128 * bytes.as_chunks().0.iter().take_while(is_plain).count();
    at + blocks::<WIDE>(&bytes[at..])
}

#[inline(always)]
fn blocks<const WIDE: bool>(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks();
    for (i, block) in blocks.iter().enumerate() {
        let special = special::<WIDE>([block]);
        if special != 0 {
            return 16 * i + special.trailing_zeros() as usize;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20) || !WIDE && *byte >= 0x80;
    16 * blocks.len() + rest.iter().position(special).unwrap_or(rest.len())
}

/// Sets a bit for each place at which there is a special byte in one of the blocks.
#[inline(always)]
fn special<'a, const WIDE: bool>(blocks: impl IntoIterator<Item = &'a [u8; 16]>) -> u32 {
    // Moved so that what is special lies at the bottom: control characters and the quote, and below
    // them the parts of longer characters. Only the backslash is left.
    let (bit, last) = if WIDE { (0x02, 0x20) } else { (0x82, 0xa0) };
    let (mut lowest, mut backslash) = (u8x16::splat(u8::MAX), u8x16::splat(0));
    for block in blocks {
        let moved = u8x16::new(*block) ^ u8x16::splat(bit);
        lowest = lowest.min(moved);
        backslash |= moved.simd_eq(u8x16::splat(b'\\' ^ bit));
    }
    (lowest.simd_eq(lowest.min(u8x16::splat(last))) | backslash).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_special_byte_at_every_position() {
        for length in 0..200 {
            let all = vec![b'x'; length];
            assert_eq!((ascii(&all), text(&all)), (length, length));
            for at in 0..length {
                for special in [b'"', b'\\', 0, b'\n', 0x1f, 0x80, 0x82, 0xa0, 0xdc, 0xe4, 0xff] {
                    let mut bytes = all.clone();
                    bytes[at] = special;
                    bytes[length - 1] = if at + 1 < length { b'"' } else { special };
                    assert_eq!(ascii(&bytes), at, "{special} at {at} of {length}");
                    let wide = if special < 0x80 { at } else { length - usize::from(at + 1 < length) };
                    assert_eq!(text(&bytes), wide, "{special} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn neighbours_of_special_bytes_are_plain() {
        let mut all: Vec<u8> = (0x20..=0x7f).filter(|byte| !matches!(byte, b'"' | b'\\')).collect();
        for shift in 0..all.len() {
            let turned = [&all[shift..], &all[..shift], b"\\"].concat();
            assert_eq!((ascii(&turned), text(&turned)), (all.len(), all.len()));
        }
        all.extend(0x80..=0xff);
        for shift in 0..all.len() {
            let turned = [&all[shift..], &all[..shift], b"\\"].concat();
            assert_eq!(text(&turned), all.len());
        }
    }
}
