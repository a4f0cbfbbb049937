//! Finds the members of a JSON object and counts its values without parsing them.
//!
//! It is several times as fast as a parser, which matters for long conversations.

use crate::json::{escaped, number::number, plain};

/// The size of the tree that a parser would make of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The number of values, the outermost included.
    pub(super) nodes: usize,
    /// The number of objects and arrays around the innermost value.
    pub(super) depth: usize,
}

/// Calls `member` with each key (as it is written, with its quotes) and each value of the object in
/// `bytes`. Returns `None` if `bytes` is not one valid JSON object, or if `member` returned `None`;
/// a parser can then tell why. A text for which it returns `Some` is UTF-8.
pub(super) fn members<'a>(bytes: &'a [u8], mut member: impl FnMut(&'a [u8], &'a [u8]) -> Option<()>) -> Option<Shape> {
    let mut cursor = Cursor { bytes, at: 0, shape: Shape { nodes: 1, depth: 1 } };
    cursor.space();
    cursor.take(b'{')?;
    cursor.space();
    if !cursor.took(b'}') {
        loop {
            let from = cursor.at;
            cursor.string()?;
            let key = &bytes[from..cursor.at];
            cursor.colon()?;
            let from = cursor.at;
            cursor.value()?;
            member(key, bytes.get(from..cursor.at)?)?;
            cursor.space();
            if !cursor.took(b',') {
                break;
            }
            cursor.space();
        }
        cursor.take(b'}')?;
    }
    cursor.space();
    (cursor.at == bytes.len()).then_some(cursor.shape)
}

/// A position in a text.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    shape: Shape,
}

/// The objects and arrays around a position: one bit for each, set for an object. Only texts that
/// are nested deeper than 64 levels need more than one word.
struct Nesting {
    depth: usize,
    innermost: u64,
    outer: Vec<u64>,
}

impl Nesting {
    const fn new() -> Self {
        Self { depth: 0, innermost: 0, outer: Vec::new() }
    }

    const fn is_in_object(&self) -> bool {
        self.innermost & 1 == 1
    }

    const fn end(&self) -> u8 {
        if self.is_in_object() { b'}' } else { b']' }
    }

    fn enter(&mut self, is_object: bool) {
        if self.depth.is_multiple_of(64) && self.depth > 0 {
            self.outer.push(self.innermost);
            self.innermost = 0;
        }
        self.depth += 1;
        self.innermost = (self.innermost << 1) | u64::from(is_object);
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.innermost >>= 1;
        if self.depth.is_multiple_of(64)
            && let Some(outer) = self.outer.pop()
        {
            self.innermost = outer;
        }
    }
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn took(&mut self, byte: u8) -> bool {
        let took = self.peek() == Some(byte);
        self.at += usize::from(took);
        took
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.took(byte).then_some(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn colon(&mut self) -> Option<()> {
        self.space();
        self.take(b':')?;
        self.space();
        Some(())
    }

    fn value(&mut self) -> Option<()> {
        let mut nesting = Nesting::new();
        loop {
            self.shape.nodes += 1;
            match self.peek()? {
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.at += number(&self.bytes[self.at..])?.0.len(),
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    nesting.enter(open == b'{');
                    self.shape.depth = self.shape.depth.max(nesting.depth + 1);
                    self.space();
                    if !self.took(nesting.end()) {
                        self.key_in(&nesting)?;
                        continue;
                    }
                    nesting.leave();
                }
                _ => return None,
            }
            // A value has ended, and perhaps the objects and arrays around it.
            loop {
                if nesting.depth == 0 {
                    return Some(());
                }
                self.space();
                if self.took(b',') {
                    self.space();
                    self.key_in(&nesting)?;
                    break;
                }
                self.take(nesting.end())?;
                nesting.leave();
            }
        }
    }

    /// Skips the key before a value, if the innermost container is an object.
    fn key_in(&mut self, nesting: &Nesting) -> Option<()> {
        if nesting.is_in_object() {
            self.string()?;
            self.colon()?;
        }
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let is_it = self.bytes[self.at..].starts_with(word);
        self.at += word.len();
        is_it.then_some(())
    }

    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        let mut escapes = 0;
        loop {
            self.at += plain::ascii(&self.bytes[self.at..]);
            match self.peek()? {
                b'"' => break,
                b'\\' => match escaped::many(&mut escapes, &self.bytes[self.at..]) {
                    0 => self.escape()?,
                    many => self.at += many,
                },
                0x80.. => self.non_ascii()?,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    /// Skips characters outside of ASCII, and the text between them.
    fn non_ascii(&mut self) -> Option<()> {
        let rest = &self.bytes[self.at..];
        let part = &rest[..plain::text(rest)];
        self.at += part.len();
        simdutf8::basic::from_utf8(part).ok().map(drop)
    }

    fn escape(&mut self) -> Option<()> {
        self.at += 2;
        match self.bytes.get(self.at - 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.bytes.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};
    use serde_json::{Value, value::RawValue};

    use super::*;

    fn str(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_owned()).unwrap()
    }

    /// Reads a text with this module. Returns the result, and whether `serde_json` reads an object.
    fn both(text: &str) -> (Option<Vec<(String, String)>>, bool) {
        let mut found = Vec::new();
        let read = members(text.as_bytes(), |key, value| {
            found.push((str(key), str(value)));
            Some(())
        });
        let raw = serde_json::from_str::<&RawValue>(text);
        (read.map(|_| found), raw.is_ok_and(|raw| raw.get().starts_with('{')))
    }

    #[test]
    fn numbers_words_and_escapes_are_as_strict_as_a_parsers() {
        let values = [
            "0",
            "-0",
            "01",
            "-",
            "1.",
            "1.5",
            ".5",
            "1e",
            "1e5",
            "1E+5",
            "1e-",
            "1e400",
            "00",
            "+1",
            "true",
            "tru",
            "nulll",
            "falsex",
            r#""\n\"\\\/\b\f\r\t""#,
            r#""\u00e9""#,
            r#""\u00g9""#,
            r#""\x""#,
            "\"\n\"",
            "\"é中\"",
            "\"",
            r#""\"#,
            "[]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[[],{}]",
            "{}",
            r#"{"a":1,}"#,
            r#"{"a"}"#,
            r#"{"a":[}]"#,
            "[",
            "",
        ];
        for value in values {
            for text in [
                format!(r#"{{"k":{value}}}"#),
                format!(" {{ \"k\" : {value} , \"l\":1 }}\n"),
                format!("{{\"k\":{value}}}x"),
            ] {
                let (read, is_object) = both(&text);
                assert_eq!(read.is_some(), is_object, "{text}");
            }
        }
    }

    #[test]
    fn reads_any_depth() {
        for depth in [1_usize, 63, 64, 65, 127, 128, 129, 1000] {
            let open: String = (0..depth).map(|i| if i % 3 == 0 { "[1," } else { r#"{"k":"# }).collect();
            let close: String = (0..depth).rev().map(|i| if i % 3 == 0 { "]" } else { "}" }).collect();
            let shape = |text: &str| members(text.as_bytes(), |_, _| Some(()));
            let nodes = 2 + depth + depth.div_ceil(3);
            let expected = Some(Shape { nodes, depth: depth + 1 });
            assert_eq!(shape(&format!(r#"{{"k":{open}0{close}}}"#)), expected, "{depth}");
            assert_eq!(shape(&format!(r#"{{"k":{open}0{close}]}}"#)), None);
            assert_eq!(shape(&format!(r#"{{"k":{open}0}}"#)), None);
        }
    }

    #[test]
    fn counts_the_values_that_a_parser_would_make() {
        fn count(value: &Value) -> (usize, usize) {
            let inner: Vec<_> = match value {
                Value::Array(list) => list.iter().map(count).collect(),
                Value::Object(map) => map.values().map(count).collect(),
                _ => return (1, 0),
            };
            (1 + inner.iter().map(|(n, _)| n).sum::<usize>(), 1 + inner.iter().map(|(_, d)| *d).max().unwrap_or(0))
        }
        for text in ["{}", r#"{"a":1}"#, r#"{"a":[],"b":[1,"x",{"c":null}],"d":{"e":{}}}"#] {
            let (nodes, depth) = count(&serde_json::from_str(text).unwrap());
            assert_eq!(members(text.as_bytes(), |_, _| Some(())), Some(Shape { nodes, depth }), "{text}");
        }
    }

    proptest! {
        /// Whatever is made of the pieces of JSON, both hold the same for an object.
        #[test]
        fn it_reads_what_a_parser_reads(pieces in vec(select(vec![
            "{", "}", "[", "]", ",", ":", " ", "\"a\"", "\"\"", "\"b\\n\"", "\"é\"", "\"", "1", "-2.5e3", "true", "null", "\\",
            "{\"k\":", ",\"m\":", "[]", "{}", "\"a long text that goes on and on, for longer than a block of bytes is, and on\"",
        ]), 0..12)) {
            let text = pieces.concat();
            let (read, is_object) = both(&text);
            prop_assert_eq!(read.is_some(), is_object, "{}", text);
        }

        /// What it reads to its end is UTF-8, and spoiled text is as good as the parser says.
        #[test]
        fn what_is_no_utf8_is_left_to_others(
            pieces in vec(select(vec![
                "é", "中文", "😀", " a few plain words between them, ", "\\n", "\\\"", "\\\\", "\\u00e9", "\\ud83d", "x",
            ]), 0..60),
            spoil: prop::sample::Index,
            byte: u8,
        ) {
            let mut bytes = format!("{{\"é\":\"{}\"}}", pieces.concat()).into_bytes();
            let at = spoil.index(bytes.len());
            bytes[at] = byte;
            let read = members(&bytes, |_, _| Some(()));
            let is_object = std::str::from_utf8(&bytes).is_ok_and(|text| both(text).1);
            prop_assert_eq!(read.is_some(), is_object, "{:?}", bytes);
        }

        #[test]
        fn it_finds_the_members(members in vec((any::<String>(), any::<String>()), 0..6), pretty: bool) {
            let object: serde_json::Map<String, Value> =
                members.into_iter().map(|(key, value)| (key, serde_json::json!([value, {"x": value}]))).collect();
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
            let read = both(&text).0.unwrap();
            let read: serde_json::Map<String, Value> = read
                .into_iter()
                .map(|(key, value)| (serde_json::from_str(&key).unwrap(), serde_json::from_str(&value).unwrap()))
                .collect();
            prop_assert_eq!(read, object);
        }
    }
}
