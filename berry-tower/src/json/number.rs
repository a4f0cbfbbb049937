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

/// How far a number has been read that comes in parts.
#[cfg(feature = "sse")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Start,
    Minus,
    Zero,
    Int,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

#[cfg(feature = "sse")]
impl Number {
    /// Reads the rest of the number. Returns its number of bytes.
    pub(super) fn read(mut self, bytes: &[u8]) -> (Self, usize) {
        let mut at = 0;
        while let Some(next) = bytes.get(at).and_then(|byte| self.next(*byte)) {
            self = next;
            at += 1;
        }
        (self, at)
    }

    /// The state after one more byte, or `None` when the byte is no part of the number.
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Int, b'0'..=b'9') | (Self::Start | Self::Minus, b'1'..=b'9') => Self::Int,
            (Self::Start | Self::Minus, b'0') => Self::Zero,
            (Self::Start, b'-') => Self::Minus,
            (Self::Zero | Self::Int, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Int | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::Sign,
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Self::Power,
            _ => return None,
        })
    }

    pub(super) fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Int | Self::Fraction | Self::Power)
    }
}
