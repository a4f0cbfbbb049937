//! The inside of a JSON string, read in parts: checked whole, kept only as far as is of use.

use super::plain;
use super::tokenizer::Malformed;

/// How much of a text is kept: enough for any name, and for an error message worth quoting.
const KEEP: usize = 2048;

/// What a call of [`Text::read`] came to.
pub(super) enum Read<'a> {
    /// The string ended, and lay in the bytes as it is meant.
    Here(&'a [u8], usize),
    /// The string ended; [`Text::kept`] holds its beginning, unescaped.
    Kept(usize),
    /// All bytes are read and the string goes on.
    More,
}

#[derive(Clone, Copy)]
enum Escape {
    None,
    Backslash,
    Hex { left: u8, value: u16 },
}

/// Reads one string after another, from behind the opening quote.
pub(super) struct Text {
    kept: Vec<u8>,
    escape: Escape,
    /// The first half of a pair of `\u` escapes.
    high: Option<u16>,
    /// A character whose bytes have not all come.
    utf8: [u8; 4],
    utf8_len: usize,
    /// Nothing of this string is in `kept` so far, and nothing needs to be.
    fresh: bool,
}

impl Text {
    pub(super) fn new() -> Self {
        Self { kept: Vec::new(), escape: Escape::None, high: None, utf8: [0; 4], utf8_len: 0, fresh: true }
    }

    /// Makes ready for the next string.
    pub(super) fn begin(&mut self) {
        self.kept.clear();
        self.escape = Escape::None;
        self.high = None;
        self.utf8_len = 0;
        self.fresh = true;
    }

    /// The beginning of the string, or of the number that was pushed.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Keeps a part of a number, which needs no unescaping.
    pub(super) fn push(&mut self, part: &[u8]) {
        let room = KEEP.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&part[..part.len().min(room)]);
    }

    pub(super) fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<Read<'a>, Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            match self.escape {
                Escape::None => {
                    let from = at;
                    let split = self.utf8_len > 0;
                    at += if split { 0 } else { plain::ascii(&bytes[at..]) };
                    if split || bytes.get(at).is_some_and(|stop| !matches!(stop, b'"' | b'\\')) {
                        at += memchr::memchr2(b'"', b'\\', &bytes[at..]).unwrap_or(bytes.len() - at);
                        self.check(&bytes[from..at])?;
                    }
                    let part = &bytes[from..at];
                    let Some(&stop) = bytes.get(at) else {
                        self.keep(part);
                        break;
                    };
                    at += 1;
                    if self.utf8_len > 0 {
                        return Err(Malformed);
                    }
                    if stop == b'"' {
                        if self.fresh {
                            return Ok(Read::Here(part, at));
                        }
                        self.keep(part);
                        self.lone_surrogate();
                        return Ok(Read::Kept(at));
                    }
                    self.keep(part);
                    self.escape = Escape::Backslash;
                }
                Escape::Backslash => {
                    self.escape = self.short_escape(bytes[at])?;
                    at += 1;
                }
                Escape::Hex { left, value } => {
                    let digit = char::from(bytes[at]).to_digit(16).ok_or(Malformed)?;
                    // A hexadecimal digit is less than 16.
                    let value = (value << 4) | digit as u16;
                    at += 1;
                    self.escape = if left > 1 {
                        Escape::Hex { left: left - 1, value }
                    } else {
                        self.unit(value);
                        Escape::None
                    };
                }
            }
        }
        self.fresh = false;
        Ok(Read::More)
    }

    /// No control characters, and UTF-8, over the borders of frames.
    fn check(&mut self, part: &[u8]) -> Result<(), Malformed> {
        // Without a branch, so that the compiler turns it into vector code.
        let mut all = 0;
        let mut control = false;
        for &byte in part {
            all |= byte;
            control |= byte < 0x20;
        }
        if control {
            return Err(Malformed);
        }
        if all < 0x80 && self.utf8_len == 0 {
            return Ok(());
        }
        self.check_utf8(part)
    }

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
        let Err(e) = std::str::from_utf8(part) else {
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

    fn short_escape(&mut self, byte: u8) -> Result<Escape, Malformed> {
        let meant = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return Ok(Escape::Hex { left: 4, value: 0 }),
            _ => return Err(Malformed),
        };
        self.keep(&[meant]);
        Ok(Escape::None)
    }

    /// One `\u` escape. Half a pair on its own is let through, as clients' parsers do.
    fn unit(&mut self, unit: u16) {
        self.fresh = false;
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
        self.keep(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn keep(&mut self, part: &[u8]) {
        self.fresh = false;
        if !part.is_empty() {
            self.lone_surrogate();
        }
        self.push(part);
    }
}
