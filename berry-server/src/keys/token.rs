//! The text of keys that are made at run time.
//!
//! A key is `berry-`, 43 digits of 32 random bytes in base 62, and 6 digits of a checksum over what stands before them.
//! Scanners for leaked secrets can tell a key from other text, and so does this server, without looking it up.

use sha2::{Digest, Sha256};

/// What every key begins with.
const PREFIX: &str = "berry-";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The digits that 32 bytes take at most.
const SECRET_DIGITS: usize = 43;
/// The digits that a checksum of 32 bits takes at most.
const CHECKSUM_DIGITS: usize = 6;

/// A key that was just made. Its text is shown once; it has no `Debug`.
pub(crate) struct Token(String);

impl Token {
    /// Makes a key from 32 random bytes.
    pub(crate) fn new(random: [u8; 32]) -> Self {
        let mut text = PREFIX.to_owned();
        text.push_str(&base62(random.to_vec(), SECRET_DIGITS));
        let checksum = base62(crc32(text.as_bytes()).to_be_bytes().to_vec(), CHECKSUM_DIGITS);
        text.push_str(&checksum);
        Self(text)
    }

    /// Makes a key from the system's random source.
    pub(crate) fn random() -> Self {
        Self::new(random())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// Returns the part that lists show, so that people can tell their keys apart.
    pub(crate) fn hint(&self) -> String {
        let (start, end) = (PREFIX.len() + 4, self.0.len() - 4);
        format!("{}…{}", &self.0[..start], &self.0[end..])
    }
}

/// Whether a text is a key of this server, by its form and its checksum.
pub(crate) fn is_well_formed(text: &str) -> bool {
    text.len() == PREFIX.len() + SECRET_DIGITS + CHECKSUM_DIGITS
        && text.starts_with(PREFIX)
        && text.is_ascii()
        && text.split_at_checked(PREFIX.len() + SECRET_DIGITS).is_some_and(|(body, checksum)| {
            base62(crc32(body.as_bytes()).to_be_bytes().to_vec(), CHECKSUM_DIGITS) == checksum
        })
}

/// Returns a new id of 12 digits behind a prefix.
pub(crate) fn id(prefix: &str) -> String {
    let digits = base62(random()[..16].to_vec(), 22);
    format!("{prefix}{}", &digits[10..])
}

/// Returns bytes of a generator that is seeded by the system and made for secrets.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes);
    bytes
}

/// Writes a big-endian number in base 62, padded with zeros.
fn base62(mut number: Vec<u8>, digits: usize) -> String {
    let mut text = vec![DIGITS[0]; digits];
    for digit in text.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        *digit = DIGITS[rest as usize];
    }
    text.into_iter().map(char::from).collect()
}

/// The checksum of IEEE 802.3, which zip and PNG use, too.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_that_of_other_programs() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(base62(vec![0xff; 32], SECRET_DIGITS).len(), SECRET_DIGITS);
        assert_eq!(base62(vec![1, 0], 3), "048");
    }

    #[test]
    fn a_key_has_one_form_and_any_change_breaks_it() {
        let token = Token::new([7; 32]);
        let text = token.text();
        assert_eq!(text.len(), 55);
        assert!(text.starts_with("berry-") && is_well_formed(text));
        for index in 0..text.len() {
            let mut other = text.as_bytes().to_vec();
            other[index] = if other[index] == b'A' { b'B' } else { b'A' };
            assert!(!is_well_formed(std::str::from_utf8(&other).unwrap()), "{index}");
        }
        assert!(!is_well_formed("berry-") && !is_well_formed(&format!("{text}A")));
        assert!(token.hint().len() < 20 && text.starts_with(&token.hint()[..10]));
        assert_ne!(Token::random().text(), Token::random().text());
    }
}
