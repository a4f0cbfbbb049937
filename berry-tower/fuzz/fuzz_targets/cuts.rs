//! Cuts the input into frames: its first two bytes say how.

/// The input without those bytes, and the frames.
pub fn cut(input: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (seed, bytes) = input.split_at_checked(2)?;
    let mut state = u32::from(seed[0]) | 1;
    let longest = u32::from(seed[1]) + 1;
    let mut frames = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = (state >> 8) % longest + 1;
        let (frame, tail) = rest.split_at(rest.len().min(length as usize));
        frames.push(frame);
        rest = tail;
    }
    Some((bytes, frames))
}
