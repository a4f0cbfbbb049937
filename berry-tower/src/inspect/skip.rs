//! Finds the members of a JSON object without looking into what nobody asks for: several times as
//! fast as a parser, which long conversations are worth.

use crate::json::{escaped, number::number, plain};

/// Objects and arrays nested deeper than this are left to a parser that minds less.
const DEPTH: u32 = 64;

/// Calls `member` with each key, as it is written and with its quotes, and each value of the object
/// that `bytes` are. `None`: they are no such object, or one that is not for this reader, or `member`
/// gave it up; then a parser must say what it is. What was read to its end is UTF-8.
pub(super) fn members<'a>(bytes: &'a [u8], mut member: impl FnMut(&'a [u8], &'a [u8]) -> Option<()>) -> Option<()> {
    let mut cursor = Cursor { bytes, at: 0 };
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
    (cursor.at == bytes.len()).then_some(())
}

/// A place in a text.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
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
        // One bit for each container around: set for an object.
        let (mut depth, mut objects) = (0, 0_u64);
        let end = |objects: u64| if objects & 1 == 1 { b'}' } else { b']' };
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.at += number(&self.bytes[self.at..])?.0.len(),
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                open @ (b'{' | b'[') if depth < DEPTH => {
                    self.at += 1;
                    (depth, objects) = (depth + 1, (objects << 1) | u64::from(open == b'{'));
                    self.space();
                    if !self.took(end(objects)) {
                        self.key_in(objects)?;
                        continue;
                    }
                    (depth, objects) = (depth - 1, objects >> 1);
                }
                _ => return None,
            }
            // A value has ended, and with it perhaps what is around it.
            loop {
                if depth == 0 {
                    return Some(());
                }
                self.space();
                if self.took(b',') {
                    self.space();
                    self.key_in(objects)?;
                    break;
                }
                self.take(end(objects))?;
                (depth, objects) = (depth - 1, objects >> 1);
            }
        }
    }

    /// The key that comes before a value of an object; of an array there is none.
    fn key_in(&mut self, objects: u64) -> Option<()> {
        if objects & 1 == 1 {
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
                0x80.. => self.longer()?,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    /// Longer characters than those of ASCII, and what stands between them.
    fn longer(&mut self) -> Option<()> {
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

    /// Reads a text by this module, and whether `serde_json` holds it for an object.
    fn both(text: &str) -> (Option<Vec<(String, String)>>, bool) {
        let mut found = Vec::new();
        let read = members(text.as_bytes(), |key, value| {
            found.push((str(key), str(value)));
            Some(())
        });
        let raw = serde_json::from_str::<&RawValue>(text);
        (read.map(|()| found), raw.is_ok_and(|raw| raw.get().starts_with('{')))
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
    fn deep_nesting_is_left_to_others() {
        let nested = |n: usize| format!("{{\"k\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(both(&nested(64)).0.is_some());
        assert!(both(&nested(65)).0.is_none());
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
