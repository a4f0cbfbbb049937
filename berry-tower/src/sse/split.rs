//! Splits the bytes of an event stream into fields and events, wherever the frames are cut.

const BOM: &[u8] = b"\xef\xbb\xbf";
const FIELDS: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];
const LONGEST: usize = 5;

/// The kind of the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A line `data` begins; its value follows as `Data`, in parts.
    DataLine,
    Data(&'a [u8]),
    /// A line `event` begins; its value follows as `Name`, in parts.
    NameLine,
    Name(&'a [u8]),
    /// The blank line that ends an event was read, its line feed included when that is here already.
    End,
    /// The line feed of a blank line that was reported as `End` at its carriage return.
    Tail,
    /// The first line that is not blank is no line of an event stream. The byte that says so is not
    /// consumed.
    Foreign,
    /// All bytes have been read.
    More,
}

#[derive(Clone, Copy)]
enum Field {
    Data,
    Event,
    Other,
}

#[derive(Clone, Copy)]
enum Line {
    Start,
    Name,
    /// After the colon, where one space is skipped.
    Space(Field),
    Value(Field),
}

/// Splits lines; its memory does not grow with lines or events.
pub(crate) struct Splitter {
    line: Line,
    name: [u8; LONGEST],
    named: usize,
    /// How much of a byte order mark has come; past its length when none may come any more.
    bom: usize,
    /// The last byte was a carriage return, to which a line feed would belong.
    after_cr: bool,
    /// That carriage return ended an event.
    tail: bool,
    /// No line but blank ones so far.
    opening: bool,
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Self { line: Line::Start, name: [0; LONGEST], named: 0, bom: 0, after_cr: false, tail: false, opening: true }
    }

    /// Nothing but blank lines, or a part of the first field's name, has come.
    pub(crate) fn is_opening(&self) -> bool {
        self.opening
    }

    /// The next byte is the first of a line that is not blank.
    pub(crate) fn is_line_begin(&self) -> bool {
        matches!(self.line, Line::Name) && self.named == 0
    }

    /// The bytes that would end the event that is open.
    pub(crate) fn owed(&self) -> &'static [u8] {
        match self.line {
            Line::Start if !self.after_cr => b"\n",
            // A single line feed would only complete the carriage return.
            _ => b"\n\n",
        }
    }

    /// Takes a leading line feed that belongs to an event already reported as ended.
    pub(crate) fn take_tail(&mut self, bytes: &[u8]) -> usize {
        let tail = !bytes.is_empty() && std::mem::take(&mut self.tail) && bytes[0] == b'\n';
        usize::from(tail)
    }

    /// Reads the next token; returns also the number of bytes read.
    pub(crate) fn next<'a>(&mut self, bytes: &'a [u8]) -> (usize, Token<'a>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let token = match self.line {
                Line::Start => self.start(bytes, &mut at),
                Line::Name => self.field_name(byte, &mut at),
                Line::Space(field) => {
                    at += usize::from(byte == b' ');
                    self.line = Line::Value(field);
                    None
                }
                Line::Value(field) => self.value(field, bytes, &mut at),
            };
            if let Some(token) = token {
                return (at, token);
            }
        }
        (at, Token::More)
    }

    fn start<'a>(&mut self, bytes: &'a [u8], at: &mut usize) -> Option<Token<'a>> {
        let byte = bytes[*at];
        let tail = std::mem::take(&mut self.tail);
        if std::mem::take(&mut self.after_cr) && byte == b'\n' {
            *at += 1;
            return tail.then_some(Token::Tail);
        }
        if BOM.get(self.bom) == Some(&byte) {
            self.bom += 1;
            *at += 1;
            return None;
        }
        let bom = std::mem::replace(&mut self.bom, usize::MAX);
        if (1..BOM.len()).contains(&bom) {
            return Some(Token::Foreign);
        }
        if !matches!(byte, b'\n' | b'\r') {
            if bytes[*at..].starts_with(b"data:") {
                // A shortcut for the most frequent line; `field_name` gives the same result.
                *at += 5;
                self.opening = false;
                self.line = Line::Space(Field::Data);
                return Some(Token::DataLine);
            }
            self.line = Line::Name;
            self.named = 0;
            return None;
        }
        *at += 1;
        if byte == b'\r' {
            if bytes.get(*at) == Some(&b'\n') {
                *at += 1;
            } else {
                self.after_cr = true;
            }
        }
        if self.opening {
            return None;
        }
        self.tail = self.after_cr;
        Some(Token::End)
    }

    fn field_name<'a>(&mut self, byte: u8, at: &mut usize) -> Option<Token<'a>> {
        let name = &self.name[..self.named];
        let ends = matches!(byte, b':' | b'\n' | b'\r');
        if ends {
            let comment = name.is_empty();
            if self.opening && !comment && !FIELDS.contains(&name) {
                return Some(Token::Foreign);
            }
            let field = match name {
                b"data" => Field::Data,
                b"event" => Field::Event,
                _ => Field::Other,
            };
            self.opening = false;
            self.line = Line::Value(field);
            if byte == b':' {
                *at += 1;
                self.line = Line::Space(field);
            }
            return match field {
                Field::Data => Some(Token::DataLine),
                Field::Event => Some(Token::NameLine),
                Field::Other => None,
            };
        }
        let known = FIELDS.iter().any(|f| f.starts_with(name) && f.get(name.len()) == Some(&byte));
        if known {
            self.name[self.named] = byte;
            self.named += 1;
            *at += 1;
        } else if self.opening {
            return Some(Token::Foreign);
        } else {
            self.line = Line::Value(Field::Other);
        }
        None
    }

    fn value<'a>(&mut self, field: Field, bytes: &'a [u8], at: &mut usize) -> Option<Token<'a>> {
        let rest = &bytes[*at..];
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        *at += end;
        if end == 0 {
            self.after_cr = rest[0] == b'\r';
            self.line = Line::Start;
            *at += 1;
            return None;
        }
        match field {
            Field::Data => Some(Token::Data(&rest[..end])),
            Field::Event => Some(Token::Name(&rest[..end])),
            Field::Other => None,
        }
    }
}
