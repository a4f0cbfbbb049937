//! The output of an item so far, compared with the whole output that the item's end repeats.

use crate::dialect::codec::Malformed;

/// The output so far, as lengths and hashes. White space does not matter to a comparison.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// The length in bytes.
    length: usize,
    /// The hash of all bytes.
    exact: u64,
    /// The number of bytes that are no white space.
    solid: usize,
    /// The hash of these bytes.
    hash: u64,
}

impl Said {
    /// The prime of FNV-1a. A provider that forges a collision only harms its own answer.
    const PRIME: u64 = 0x100_0000_01b3;

    pub(super) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a piece.
    pub(super) fn add(&mut self, text: &str) {
        self.length += text.len();
        let next = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(Self::PRIME);
        for byte in text.bytes() {
            self.exact = next(self.exact, byte);
            if !byte.is_ascii_whitespace() {
                self.solid += 1;
                self.hash = next(self.hash, byte);
            }
        }
    }

    fn of(text: &str) -> Self {
        let mut said = Self::default();
        said.add(text);
        said
    }

    fn equals(&self, other: &Self) -> bool {
        (self.solid, self.hash) == (other.solid, other.hash)
    }

    /// Returns the part of the whole that is missing; nothing if the pieces said more than the whole.
    ///
    /// # Errors
    /// The whole is longer and does not begin with the pieces, so that a piece was lost.
    pub(super) fn rest<'a>(&self, whole: &'a str) -> Result<&'a str, Malformed> {
        if let Some((head, rest)) = whole.split_at_checked(self.length)
            && self.exact == Self::of(head).exact
        {
            return Ok(rest);
        }
        let mut solid = whole.char_indices().filter(|(_, c)| !c.is_ascii_whitespace());
        let mut head = 0;
        let mut end = 0;
        while head < self.solid {
            let Some((at, c)) = solid.next() else { return Ok("") };
            head += c.len_utf8();
            end = at + c.len_utf8();
        }
        match whole.split_at_checked(end) {
            Some((head, rest)) if self.equals(&Self::of(head)) => Ok(rest),
            _ => Err(Malformed("pieces that do not make up their whole")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_is_missing() {
        for (pieces, whole, rest) in [
            ("", "Hello", Some("Hello")),
            ("Hel", "Hello", Some("lo")),
            ("Hello", "Hello", Some("")),
            ("Hello ", "Hello you", Some("you")),
            ("Hello\n\nyou", "Hello you too", Some(" too")),
            ("Hello you", "Hello", Some("")),
            ("Hé", "Hééé", Some("éé")),
            ("lo", "Hello", None),
            ("H\u{e9}", "H\u{e8}llo", None),
        ] {
            let mut said = Said::default();
            pieces.chars().for_each(|c| said.add(c.encode_utf8(&mut [0; 4])));
            assert_eq!(said.rest(whole).ok(), rest, "{pieces:?} of {whole:?}");
        }
    }
}
