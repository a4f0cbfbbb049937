//! A JSON object read as it comes: checked by the grammar, shown to a visitor, kept nowhere.

use super::malformed::Malformed;
use super::number::{Number, number};
use super::plain;
use super::text::Text;

/// The deepest nesting that is read, as in `serde_json`: an answer of a model comes nowhere near it.
pub(crate) const DEPTH: usize = 127;

/// A value that is a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Null,
    Bool,
}

/// Receives the tokens of an object. `depth` is the number of objects and arrays around a token.
pub(crate) trait Visit {
    /// A member's name; its value comes next.
    fn key(&mut self, name: &[u8]);
    /// An object or an array begins.
    fn open(&mut self, depth: usize, object: bool);
    /// The innermost object or array ends.
    fn close(&mut self, depth: usize);
    /// A string, unescaped; only the beginning when it is long.
    fn text(&mut self, text: &[u8]);
    /// A number as it is written; only the beginning when it is long.
    fn number(&mut self, digits: &[u8]);
    fn word(&mut self, word: Word);
    /// Whether it matters what the text says that comes next, and not only that it is not empty.
    fn wants_text(&self) -> bool;
}

/// What may come next, white space aside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    FirstKey,
    Key,
    Colon,
    FirstElement,
    Value,
    After,
    Whole,
    Malformed,
}

/// What the last part left unfinished.
#[derive(Clone, Copy)]
enum Cut {
    Nowhere,
    Text {
        key: bool,
    },
    Number(Number),
    /// What it will be, and what is still to come of `true`, `false`, `null`.
    Word(Word, &'static [u8]),
}

/// Reads one JSON object, in parts of any size.
pub(crate) struct Tokenizer {
    state: State,
    cut: Cut,
    depth: usize,
    /// One bit for each container around: set for an object.
    objects: u128,
    text: Text,
}

impl Tokenizer {
    pub(crate) const fn new() -> Self {
        Self { state: State::Start, cut: Cut::Nowhere, depth: 0, objects: 0, text: Text::new() }
    }

    /// Makes ready for another object.
    pub(crate) fn reset(&mut self) {
        self.state = State::Start;
        self.cut = Cut::Nowhere;
        self.depth = 0;
    }

    /// One complete object was read, and nothing but white space after it.
    pub(crate) fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// No further bytes can make this an object.
    pub(crate) fn is_malformed(&self) -> bool {
        self.state == State::Malformed
    }

    /// Reads on; once malformed, always malformed.
    pub(crate) fn push(&mut self, bytes: &[u8], visit: &mut impl Visit) -> Result<(), Malformed> {
        if self.is_malformed() {
            return Err(Malformed);
        }
        let read = self.read(bytes, visit);
        if read.is_err() {
            (self.state, self.cut) = (State::Malformed, Cut::Nowhere);
        }
        read
    }

    fn read(&mut self, bytes: &[u8], visit: &mut impl Visit) -> Result<(), Malformed> {
        let mut rest = self.finish_cut(bytes, visit)?;
        let mut state = self.state;
        if state == State::Start {
            match trimmed(rest) {
                [b'{', tail @ ..] => rest = tail,
                [] => return Ok(()),
                _ => return Err(Malformed),
            }
            state = self.open(true, visit)?;
        }
        // One round reads a member of an object, or an element of an array; it begins where the
        // last part has ended.
        while state != State::Whole {
            if let State::FirstKey | State::Key = state {
                rest = trimmed(rest);
                match rest {
                    [b'"', tail @ ..] => {
                        rest = self.text(true, tail, visit)?;
                        state = State::Colon;
                    }
                    [b'}', tail @ ..] if state == State::FirstKey => {
                        rest = tail;
                        state = self.close(visit);
                        continue;
                    }
                    [] => break,
                    _ => return Err(Malformed),
                }
            }
            if state == State::Colon {
                match trimmed(rest) {
                    [b':', tail @ ..] => rest = tail,
                    [] => break,
                    _ => return Err(Malformed),
                }
                state = State::Value;
            }
            if let State::Value | State::FirstElement = state {
                rest = trimmed(rest);
                let [byte, tail @ ..] = rest else { break };
                rest = match byte {
                    b'"' => self.text(false, tail, visit)?,
                    b'-' | b'0'..=b'9' => self.number(rest, visit)?,
                    b't' => self.word(Word::Bool, b"rue", tail, visit)?,
                    b'f' => self.word(Word::Bool, b"alse", tail, visit)?,
                    b'n' => self.word(Word::Null, b"ull", tail, visit)?,
                    b'{' | b'[' => {
                        rest = tail;
                        state = self.open(*byte == b'{', visit)?;
                        continue;
                    }
                    b']' if state == State::FirstElement => {
                        _ = self.close(visit);
                        tail
                    }
                    _ => return Err(Malformed),
                };
                // Within an object or an array there is always something after it.
                state = State::After;
            }
            match trimmed(rest) {
                [b',', tail @ ..] => {
                    rest = tail;
                    state = if self.in_object() { State::Key } else { State::Value };
                }
                [byte, tail @ ..] if *byte == if self.in_object() { b'}' } else { b']' } => {
                    rest = tail;
                    state = self.close(visit);
                }
                [] => break,
                _ => return Err(Malformed),
            }
        }
        self.state = state;
        if state == State::Whole && !is_space(rest) { Err(Malformed) } else { Ok(()) }
    }

    /// Reads the rest of what the last part left unfinished.
    fn finish_cut<'a>(&mut self, bytes: &'a [u8], visit: &mut impl Visit) -> Result<&'a [u8], Malformed> {
        if bytes.is_empty() {
            return Ok(bytes);
        }
        match std::mem::replace(&mut self.cut, Cut::Nowhere) {
            Cut::Nowhere => Ok(bytes),
            Cut::Text { key } => self.long_text(key, bytes, 0, visit),
            Cut::Number(number) => {
                let (number, end) = number.read(bytes);
                self.text.push(&bytes[..end]);
                if end == bytes.len() {
                    self.cut = Cut::Number(number);
                } else if number.may_end() {
                    visit.number(self.text.kept());
                } else {
                    return Err(Malformed);
                }
                Ok(&bytes[end..])
            }
            Cut::Word(word, letters) => self.word(word, letters, bytes, visit),
        }
    }

    /// Behind the opening quote. Most strings are whole, short and plain.
    #[inline(always)]
    fn text<'a>(&mut self, key: bool, bytes: &'a [u8], visit: &mut impl Visit) -> Result<&'a [u8], Malformed> {
        let plain = plain::ascii(bytes);
        if let Some((text, [b'"', rest @ ..])) = bytes.split_at_checked(plain) {
            Self::tell(key, text, visit);
            return Ok(rest);
        }
        self.begin_text(key, bytes, plain, visit)
    }

    #[inline(never)]
    fn begin_text<'a>(
        &mut self,
        key: bool,
        bytes: &'a [u8],
        plain: usize,
        visit: &mut impl Visit,
    ) -> Result<&'a [u8], Malformed> {
        self.text.begin(key || visit.wants_text());
        self.long_text(key, bytes, plain, visit)
    }

    /// A string that has escapes, or longer characters, or lies in several parts.
    fn long_text<'a>(
        &mut self,
        key: bool,
        bytes: &'a [u8],
        plain: usize,
        visit: &mut impl Visit,
    ) -> Result<&'a [u8], Malformed> {
        let Some(used) = self.text.read(bytes, plain)? else {
            self.cut = Cut::Text { key };
            return Ok(&[]);
        };
        Self::tell(key, self.text.kept(), visit);
        Ok(&bytes[used..])
    }

    #[inline(always)]
    fn tell(key: bool, text: &[u8], visit: &mut impl Visit) {
        if key {
            visit.key(text);
        } else {
            visit.text(text);
        }
    }

    #[inline(always)]
    fn number<'a>(&mut self, bytes: &'a [u8], visit: &mut impl Visit) -> Result<&'a [u8], Malformed> {
        if let Some((number, rest)) = number(bytes)
            && !rest.is_empty()
        {
            visit.number(number);
            return Ok(rest);
        }
        self.cut_number(bytes)?;
        Ok(&[])
    }

    /// A number to which the next bytes may belong.
    #[inline(never)]
    fn cut_number(&mut self, part: &[u8]) -> Result<(), Malformed> {
        let (number, end) = Number::Start.read(part);
        self.text.begin(true);
        self.text.push(part);
        self.cut = Cut::Number(number);
        if end == part.len() { Ok(()) } else { Err(Malformed) }
    }

    /// The rest of a word.
    #[inline(always)]
    fn word<'a>(
        &mut self,
        word: Word,
        letters: &'static [u8],
        bytes: &'a [u8],
        visit: &mut impl Visit,
    ) -> Result<&'a [u8], Malformed> {
        if let Some(rest) = bytes.strip_prefix(letters) {
            visit.word(word);
            return Ok(rest);
        }
        self.cut_word(word, letters, bytes)?;
        Ok(&[])
    }

    #[inline(never)]
    fn cut_word(&mut self, word: Word, letters: &'static [u8], part: &[u8]) -> Result<(), Malformed> {
        self.cut = Cut::Word(word, letters.strip_prefix(part).ok_or(Malformed)?);
        Ok(())
    }

    fn open(&mut self, object: bool, visit: &mut impl Visit) -> Result<State, Malformed> {
        if self.depth == DEPTH {
            return Err(Malformed);
        }
        visit.open(self.depth, object);
        self.depth += 1;
        self.objects = (self.objects << 1) | u128::from(object);
        Ok(if object { State::FirstKey } else { State::FirstElement })
    }

    fn close(&mut self, visit: &mut impl Visit) -> State {
        self.depth -= 1;
        visit.close(self.depth);
        self.objects >>= 1;
        if self.depth == 0 { State::Whole } else { State::After }
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// Without white space in front.
#[inline(always)]
fn trimmed(bytes: &[u8]) -> &[u8] {
    match bytes {
        [byte, ..] if *byte > b' ' => bytes,
        _ => behind_space(bytes),
    }
}

#[inline(never)]
fn behind_space(bytes: &[u8]) -> &[u8] {
    let space = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    &bytes[bytes.iter().take_while(space).count()..]
}

pub(super) fn is_space(bytes: &[u8]) -> bool {
    trimmed(bytes).is_empty()
}
