//! A JSON object read byte by byte as it comes: checked by the grammar, shown to a visitor, kept nowhere.

use super::text::{Read, Text};

/// The deepest nesting that is read, as in `serde_json`: an answer of a model comes nowhere near it.
pub(crate) const DEPTH: usize = 127;

/// What was read is not the beginning of a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A value without parts.
#[derive(Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool,
    /// As it is written.
    Number(&'a [u8]),
    /// Unescaped; only the beginning when it is long.
    Text(&'a [u8]),
}

/// Is told what the tokenizer meets. `depth` counts the objects and arrays around it.
pub(crate) trait Visit {
    /// A member's name; its value comes next.
    fn key(&mut self, depth: usize, name: &[u8]);
    /// An object or an array begins.
    fn open(&mut self, depth: usize, object: bool);
    /// The innermost object or array ends.
    fn close(&mut self, depth: usize);
    fn scalar(&mut self, depth: usize, value: Scalar<'_>);
}

#[derive(Clone, Copy)]
enum State {
    Start,
    FirstKey,
    Key,
    Colon,
    FirstElement,
    Value,
    After,
    Text { key: bool },
    Number(Number),
    Word { word: Word, at: u8 },
    Whole,
    Malformed,
}

#[derive(Clone, Copy)]
enum Word {
    True,
    False,
    Null,
}

impl Word {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::True => b"true",
            Self::False => b"false",
            Self::Null => b"null",
        }
    }
}

#[derive(Clone, Copy)]
enum Number {
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

impl Number {
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

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Int | Self::Fraction | Self::Power)
    }
}

/// Reads one JSON object, in parts of any size.
pub(crate) struct Tokenizer {
    state: State,
    depth: usize,
    /// One bit for each container around: set for an object.
    objects: u128,
    text: Text,
}

impl Tokenizer {
    pub(crate) fn new() -> Self {
        Self { state: State::Start, depth: 0, objects: 0, text: Text::new() }
    }

    /// Makes ready for another object.
    pub(crate) fn reset(&mut self) {
        self.state = State::Start;
        self.depth = 0;
    }

    /// One complete object was read, and nothing but white space after it.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.state, State::Whole)
    }

    /// No further bytes can make this an object.
    pub(crate) fn is_malformed(&self) -> bool {
        matches!(self.state, State::Malformed)
    }

    /// Reads on; once malformed, always malformed.
    pub(crate) fn push(&mut self, bytes: &[u8], visit: &mut impl Visit) -> Result<(), Malformed> {
        let read = self.read(bytes, visit);
        if read.is_err() {
            self.state = State::Malformed;
        }
        read
    }

    fn read(&mut self, mut rest: &[u8], visit: &mut impl Visit) -> Result<(), Malformed> {
        while let Some((&byte, tail)) = rest.split_first() {
            rest = match self.state {
                State::Text { key } => self.text(key, rest, visit)?,
                State::Number(number) => self.number(number, rest, visit)?,
                State::Word { word, at } => self.word(word, at, rest, visit)?,
                _ if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') => tail,
                State::Value | State::FirstElement if matches!(byte, b'-' | b'0'..=b'9') => {
                    self.text.begin();
                    self.state = State::Number(Number::Start);
                    rest
                }
                _ => {
                    self.structure(byte, visit)?;
                    tail
                }
            };
        }
        Ok(())
    }

    fn text<'a>(&mut self, key: bool, bytes: &'a [u8], visit: &mut impl Visit) -> Result<&'a [u8], Malformed> {
        let read = self.text.read(bytes)?;
        let (text, used) = match read {
            Read::More => return Ok(&[]),
            Read::Here(text, used) => (text, used),
            Read::Kept(used) => (self.text.kept(), used),
        };
        if key {
            visit.key(self.depth, text);
            self.state = State::Colon;
        } else {
            visit.scalar(self.depth, Scalar::Text(text));
            self.state = State::After;
        }
        Ok(&bytes[used..])
    }

    fn number<'a>(
        &mut self,
        mut number: Number,
        bytes: &'a [u8],
        visit: &mut impl Visit,
    ) -> Result<&'a [u8], Malformed> {
        let mut used = 0;
        while let Some(next) = bytes.get(used).and_then(|byte| number.next(*byte)) {
            number = next;
            used += 1;
        }
        let (part, rest) = bytes.split_at(used);
        if rest.is_empty() {
            // The next bytes may belong to it.
            self.text.push(part);
            self.state = State::Number(number);
            return Ok(rest);
        }
        if !number.may_end() {
            return Err(Malformed);
        }
        let whole = if self.text.kept().is_empty() {
            part
        } else {
            self.text.push(part);
            self.text.kept()
        };
        visit.scalar(self.depth, Scalar::Number(whole));
        self.state = State::After;
        Ok(rest)
    }

    fn word<'a>(&mut self, word: Word, at: u8, bytes: &'a [u8], visit: &mut impl Visit) -> Result<&'a [u8], Malformed> {
        let expected = &word.bytes()[usize::from(at)..];
        let come = bytes.len().min(expected.len());
        if bytes[..come] != expected[..come] {
            return Err(Malformed);
        }
        if come < expected.len() {
            // No word is longer than five letters.
            self.state = State::Word { word, at: at + come as u8 };
            return Ok(&[]);
        }
        let null = matches!(word, Word::Null);
        visit.scalar(self.depth, if null { Scalar::Null } else { Scalar::Bool });
        self.state = State::After;
        Ok(&bytes[come..])
    }

    /// A byte that is neither white space nor inside a scalar.
    fn structure(&mut self, byte: u8, visit: &mut impl Visit) -> Result<(), Malformed> {
        match (self.state, byte) {
            (State::Start | State::Value | State::FirstElement, b'{') => self.open(true, visit),
            (State::Value | State::FirstElement, b'[') => self.open(false, visit),
            (State::FirstKey, b'}') => self.close(visit),
            (State::FirstElement, b']') => self.close(visit),
            (State::After, b'}') if self.in_object() => self.close(visit),
            (State::After, b']') if !self.in_object() => self.close(visit),
            (State::After, b',') => {
                self.state = if self.in_object() { State::Key } else { State::Value };
                Ok(())
            }
            (State::Colon, b':') => {
                self.state = State::Value;
                Ok(())
            }
            (State::FirstKey | State::Key, b'"') => {
                self.text.begin();
                self.state = State::Text { key: true };
                Ok(())
            }
            (State::Value | State::FirstElement, _) => self.begin_scalar(byte),
            _ => Err(Malformed),
        }
    }

    fn begin_scalar(&mut self, byte: u8) -> Result<(), Malformed> {
        let word = |word| State::Word { word, at: 1 };
        self.state = match byte {
            b'"' => State::Text { key: false },
            b't' => word(Word::True),
            b'f' => word(Word::False),
            b'n' => word(Word::Null),
            _ => return Err(Malformed),
        };
        self.text.begin();
        Ok(())
    }

    fn open(&mut self, object: bool, visit: &mut impl Visit) -> Result<(), Malformed> {
        if self.depth == DEPTH {
            return Err(Malformed);
        }
        visit.open(self.depth, object);
        self.depth += 1;
        self.objects = (self.objects << 1) | u128::from(object);
        self.state = if object { State::FirstKey } else { State::FirstElement };
        Ok(())
    }

    fn close(&mut self, visit: &mut impl Visit) -> Result<(), Malformed> {
        visit.close(self.depth);
        self.depth -= 1;
        self.objects >>= 1;
        self.state = if self.depth == 0 { State::Whole } else { State::After };
        Ok(())
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}
