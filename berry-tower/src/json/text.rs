//! The inside of a JSON string, read in parts: checked whole, kept only as far as is of use.

use super::malformed::Malformed;
use super::{escaped, plain};

/// How much of a text is kept: enough for any name, and for an error message worth quoting.
pub(crate) const KEEP: usize = 2048;

#[derive(Clone, Copy)]
enum Escape {
    None,
    Backslash,
    Hex { left: u8, value: u16 },
}

/// Reads one string after another, from behind the opening quote.
pub(super) struct Text {
    kept: Vec<u8>,
    /// How much is to be kept.
    keep: usize,
    escape: Escape,
    /// The first half of a pair of `\u` escapes.
    high: Option<u16>,
    /// A character whose bytes have not all come.
    utf8: [u8; 4],
    utf8_len: usize,
}

impl Text {
    pub(super) const fn new() -> Self {
        Self { kept: Vec::new(), keep: 0, escape: Escape::None, high: None, utf8: [0; 4], utf8_len: 0 }
    }

    /// Prepares for the next string. Of one that the visitor does not `want`, only the beginning is kept,
    /// which shows that it is not empty.
    pub(super) fn begin(&mut self, wants: bool) {
        self.kept.clear();
        self.keep = if wants { KEEP } else { 1 };
        self.escape = Escape::None;
        self.high = None;
        self.utf8_len = 0;
    }

    /// The beginning of the string, unescaped, or of the number that was pushed.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    fn room(&self) -> usize {
        self.keep - self.kept.len()
    }

    /// Keeps a part of a number, which needs no unescaping.
    pub(super) fn push(&mut self, part: &[u8]) {
        let room = self.room();
        if room > 0 {
            self.kept.extend_from_slice(&part[..part.len().min(room)]);
        }
    }

    /// Reads on, over the first `ascii` bytes that are known to stand for themselves. Tells where
    /// the string has ended, behind its quote, if it has.
    pub(super) fn read(&mut self, bytes: &[u8], ascii: usize) -> Result<Option<usize>, Malformed> {
        let (mut from, mut at, mut escapes) = (0, ascii, 0);
        if !matches!(self.escape, Escape::None) {
            let Some(end) = self.cut_escape(bytes, 0)? else { return Ok(None) };
            (from, at) = (end, end);
        }
        loop {
            at += plain::ascii(&bytes[at..]);
            if self.utf8_len > 0 || bytes.get(at).is_some_and(|byte| *byte >= 0x80) {
                at += plain::text(&bytes[at..]);
                self.check_utf8(&bytes[from..at])?;
            }
            self.keep(&bytes[from..at]);
            let Some(&stop) = bytes.get(at) else { return Ok(None) };
            if self.utf8_len > 0 {
                return Err(Malformed);
            }
            match stop {
                b'"' => {
                    self.lone_surrogate();
                    return Ok(Some(at + 1));
                }
                b'\\' => {}
                _ => return Err(Malformed),
            }
            let many = if self.room() == 0 { escaped::many(&mut escapes, &bytes[at..]) } else { 0 };
            if many > 0 {
                at += many;
                from = at;
                continue;
            }
            at += 2;
            if let Some(meant) = bytes.get(at - 1).and_then(|byte| meant(*byte)) {
                self.keep(&[meant]);
            } else {
                self.escape = Escape::Backslash;
                let Some(end) = self.cut_escape(bytes, at - 1)? else { return Ok(None) };
                at = end;
            }
            from = at;
        }
    }

    /// Reads the rest of an escape. Returns where it ended, if it has.
    fn cut_escape(&mut self, bytes: &[u8], from: usize) -> Result<Option<usize>, Malformed> {
        for (at, byte) in bytes.iter().enumerate().skip(from) {
            self.escape = match self.escape {
                Escape::Hex { left, value } => {
                    let digit = char::from(*byte).to_digit(16).ok_or(Malformed)?;
                    // A hexadecimal digit is less than 16.
                    let value = (value << 4) | digit as u16;
                    if left > 1 {
                        Escape::Hex { left: left - 1, value }
                    } else {
                        self.unit(value);
                        Escape::None
                    }
                }
                _ if *byte == b'u' => Escape::Hex { left: 4, value: 0 },
                _ => {
                    self.keep(&[meant(*byte).ok_or(Malformed)?]);
                    Escape::None
                }
            };
            if let Escape::None = self.escape {
                return Ok(Some(at + 1));
            }
        }
        Ok(None)
    }

    /// UTF-8, over the borders of frames.
    fn check_utf8(&mut self, mut part: &[u8]) -> Result<(), Malformed> {
        while self.utf8_len > 0 {
            let Some((&byte, rest)) = part.split_first() else {
                return Ok(());
            };
            part = rest;
            self.utf8[self.utf8_len] = byte;
            self.utf8_len += 1;
            match std::str::from_utf8(&self.utf8[..self.utf8_len]) {
                Ok(_) => self.utf8_len = 0,
                // An unfinished character has three bytes at most, so that there is room.
                Err(e) if e.error_len().is_none() => {}
                Err(_) => return Err(Malformed),
            }
        }
        let Err(e) = simdutf8::compat::from_utf8(part) else {
            return Ok(());
        };
        if e.error_len().is_some() {
            return Err(Malformed);
        }
        let tail = &part[e.valid_up_to()..];
        self.utf8[..tail.len()].copy_from_slice(tail);
        self.utf8_len = tail.len();
        Ok(())
    }

    /// One `\u` escape. Half a pair on its own is let through, as clients' parsers do.
    fn unit(&mut self, unit: u16) {
        if let Some(high) = self.high.take() {
            if let Some(Ok(c)) = char::decode_utf16([high, unit]).next() {
                self.keep_char(c);
                return;
            }
            self.keep_char(char::REPLACEMENT_CHARACTER);
        }
        match char::from_u32(u32::from(unit)) {
            Some(c) => self.keep_char(c),
            None if unit < 0xdc00 => self.high = Some(unit),
            None => self.keep_char(char::REPLACEMENT_CHARACTER),
        }
    }

    fn lone_surrogate(&mut self) {
        if self.high.take().is_some() {
            self.keep_char(char::REPLACEMENT_CHARACTER);
        }
    }

    fn keep_char(&mut self, c: char) {
        self.push(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn keep(&mut self, part: &[u8]) {
        if !part.is_empty() {
            self.lone_surrogate();
            self.push(part);
        }
    }
}

/// What this byte means behind a backslash, if that is all of the escape.
fn meant(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' | b'/' => byte,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    })
}
