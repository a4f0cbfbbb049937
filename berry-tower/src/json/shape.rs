//! The members at the top of a plain response.

// Only the client reads plain responses.
#![cfg_attr(not(any(test, feature = "client")), allow(dead_code))]

use super::tokenizer::{Visit, Word};
use crate::sse::scan::is_failed_finish;

/// The value of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is missing or null.
    #[default]
    Missing,
    /// It is an empty text, list or object.
    Empty,
    Filled,
}

/// The members at the top of a plain response, which show whether it holds an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) choices: Presence,
    pub(crate) content: Presence,
    pub(crate) data: Presence,
    pub(crate) output: Presence,
    /// `status` is `failed`.
    pub(crate) is_failed: bool,
    /// A choice has a message, a text or a delta.
    pub(crate) has_message: bool,
    /// A choice has a finish reason of a model that failed.
    pub(crate) has_error_finish: bool,
    /// `base_resp.status_code` is not 0.
    pub(crate) has_error_code: bool,
}

/// A member at the top.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Member {
    #[default]
    Other,
    Choices,
    Content,
    Data,
    Output,
    Status,
    BaseResp,
}

/// Reads a [`Shape`] beside another visitor.
#[derive(Default)]
pub(super) struct ShapeReader {
    pub(super) shape: Shape,
    /// The containers that are open.
    depth: usize,
    member: Member,
    /// The next value decides about a flag.
    is_of_use: bool,
    /// The next value is what a choice says.
    is_message: bool,
}

impl ShapeReader {
    fn presence(&mut self) -> Option<&mut Presence> {
        match self.member {
            Member::Choices => Some(&mut self.shape.choices),
            Member::Content => Some(&mut self.shape.content),
            Member::Data => Some(&mut self.shape.data),
            Member::Output => Some(&mut self.shape.output),
            Member::Other | Member::Status | Member::BaseResp => None,
        }
    }

    fn value(&mut self, presence: Presence) {
        self.shape.has_message |= std::mem::take(&mut self.is_message);
        // Inside a member of the top the first value fills it.
        let presence = match self.depth {
            1 => presence,
            2 => Presence::Filled,
            _ => return,
        };
        if let Some(member) = self.presence() {
            *member = presence;
        }
    }

    pub(super) fn key(&mut self, name: &[u8]) {
        // One choice stands for a list of one.
        self.is_message = matches!((self.depth, self.member), (2 | 3, Member::Choices))
            && matches!(name, b"message" | b"text" | b"delta");
        self.is_of_use = match (self.depth, self.member) {
            (1, _) => {
                self.member = match name {
                    b"choices" => Member::Choices,
                    b"content" => Member::Content,
                    b"data" => Member::Data,
                    b"output" => Member::Output,
                    b"status" => Member::Status,
                    b"base_resp" => Member::BaseResp,
                    _ => Member::Other,
                };
                // A name that comes again takes back what it said before.
                if let Some(member) = self.presence() {
                    *member = Presence::Missing;
                }
                self.member == Member::Status
            }
            (2, Member::BaseResp) => name == b"status_code",
            (2 | 3, Member::Choices) => name == b"finish_reason",
            _ => false,
        };
    }

    pub(super) fn open(&mut self, depth: usize) {
        self.value(Presence::Empty);
        self.is_of_use = false;
        self.depth = depth + 1;
    }

    pub(super) fn close(&mut self, depth: usize) {
        self.depth = depth;
    }

    pub(super) const fn wants_text(&self) -> bool {
        self.is_of_use
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        self.value(if text.is_empty() { Presence::Empty } else { Presence::Filled });
        if self.is_of_use {
            match self.member {
                Member::Status => self.shape.is_failed = text == b"failed",
                Member::BaseResp => self.shape.has_error_code = !matches!(text, b"" | b"0"),
                Member::Choices => self.shape.has_error_finish |= is_failed_finish(text),
                _ => {}
            }
        }
        self.is_of_use = false;
    }

    pub(super) fn number(&mut self, digits: &[u8]) {
        self.value(Presence::Filled);
        if self.is_of_use && self.member == Member::BaseResp {
            self.shape.has_error_code = digits != b"0";
        }
        self.is_of_use = false;
    }

    pub(super) fn word(&mut self, word: Word) {
        if word == Word::Null {
            self.is_message = false;
        }
        if self.depth != 1 || word == Word::Bool {
            self.value(Presence::Filled);
        }
        self.is_of_use = false;
    }
}

/// Forwards the tokens to a reader of the shape, and to another visitor.
pub(super) struct WithShape<'a, V> {
    pub(super) shape: &'a mut ShapeReader,
    pub(super) other: &'a mut V,
}

impl<V: Visit> Visit for WithShape<'_, V> {
    #[inline]
    fn key(&mut self, name: &[u8]) {
        self.shape.key(name);
        self.other.key(name);
    }

    #[inline]
    fn open(&mut self, depth: usize, object: bool) {
        self.shape.open(depth);
        self.other.open(depth, object);
    }

    #[inline]
    fn close(&mut self, depth: usize) {
        self.shape.close(depth);
        self.other.close(depth);
    }

    #[inline]
    fn text(&mut self, text: &[u8]) {
        self.shape.text(text);
        self.other.text(text);
    }

    #[inline]
    fn number(&mut self, digits: &[u8]) {
        self.shape.number(digits);
        self.other.number(digits);
    }

    #[inline]
    fn word(&mut self, word: Word) {
        self.shape.word(word);
        self.other.word(word);
    }

    #[inline]
    fn wants_text(&self) -> bool {
        self.shape.wants_text() || self.other.wants_text()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ObjectCheck, *};

    fn shape(body: &str) -> Shape {
        let mut check = ObjectCheck::new();
        for byte in body.as_bytes().chunks(3) {
            check.push(byte).unwrap();
        }
        let whole = {
            let mut check = ObjectCheck::new();
            check.push(body.as_bytes()).unwrap();
            check.finish().unwrap().shape
        };
        let cut = check.finish().unwrap().shape;
        assert_eq!(cut, whole, "{body}");
        cut
    }

    #[test]
    fn distinguishes_missing_empty_and_filled_members() {
        for (value, expected) in [
            ("null", Presence::Missing),
            ("[]", Presence::Empty),
            ("\"\"", Presence::Empty),
            ("{}", Presence::Empty),
            ("[null]", Presence::Filled),
            ("[{}]", Presence::Filled),
            ("\"x\"", Presence::Filled),
        ] {
            let body = |name| format!(r#"{{"a":[{{"{name}":[1]}}],"{name}":{value},"z":[[1],2]}}"#);
            assert_eq!(shape(&body("choices")).choices, expected, "{value}");
            assert_eq!(shape(&body("content")).content, expected, "{value}");
            assert_eq!(shape(&body("data")).data, expected, "{value}");
            assert_eq!(shape(&body("output")).output, expected, "{value}");
        }
        assert_eq!(shape("{}"), Shape::default());
    }

    #[test]
    fn tells_whether_a_choice_says_anything() {
        for said in
            [r#"[{"message":{}}]"#, r#"[{"text":""}]"#, r#"[null,{"index":1,"message":{"a":[]}}]"#, r#"{"message":{}}"#]
        {
            assert!(shape(&format!(r#"{{"choices":{said}}}"#)).has_message, "{said}");
        }
        for said in ["[]", "[null]", "[{}]", r#"[{"message":null,"index":0}]"#, r#"[{"a":{"message":{}}}]"#] {
            assert!(!shape(&format!(r#"{{"choices":{said},"message":"x"}}"#)).has_message, "{said}");
        }
    }

    #[test]
    fn recognises_failures() {
        assert!(shape(r#"{"status":"failed","output":[]}"#).is_failed);
        assert!(!shape(r#"{"status":"completed","x":{"status":"failed"}}"#).is_failed);
        assert!(shape(r#"{"base_resp":{"status_msg":"x","status_code":1004},"choices":null}"#).has_error_code);
        assert!(!shape(r#"{"base_resp":{"status_code":0,"status_msg":""}}"#).has_error_code);
        assert!(shape(r#"{"choices":[{"finish_reason":"insufficient_system_resource"}]}"#).has_error_finish);
        assert!(shape(r#"{"choices":[{"index":0,"finish_reason":"error","message":{}}]}"#).has_error_finish);
        assert!(
            !shape(r#"{"choices":[{"finish_reason":"stop","message":{"finish_reason":"error"}}]}"#).has_error_finish
        );
    }
}
