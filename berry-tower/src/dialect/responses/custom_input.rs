//! Unwraps the input of a custom tool from the arguments of the function that stands for it, as they come.

/// The member that holds the input.
pub(super) const INPUT: &str = "input";

/// The arguments before the text of the input, without white space.
const HEAD: &str = "{\"input\":\"";

/// Unwraps one input; a state machine for streams.
///
/// Arguments of another shape are kept until their end: a lone text within them is the input, and otherwise they are
/// the input themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct CustomInput {
    state: State,
    /// The number of characters of [`HEAD`] that have come.
    head: usize,
    /// An escape sequence that has begun.
    escape: String,
    /// The first half of a surrogate pair.
    high: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the text of the input.
    #[default]
    Head,
    /// Within it.
    Text,
    /// Behind it.
    Behind,
    /// The arguments have another shape.
    Other,
}

impl CustomInput {
    /// Reads a piece of the arguments, and returns the text that it adds to the input.
    pub(super) fn push(&mut self, arguments: &str) -> String {
        let mut out = String::new();
        for c in arguments.chars() {
            match self.state {
                State::Head => self.head(c),
                State::Text => self.text(c, &mut out),
                State::Behind | State::Other => {}
            }
        }
        out
    }

    fn head(&mut self, c: char) {
        // White space within the name would be a part of it.
        let is_in_name = (2..8).contains(&self.head);
        if c.is_ascii_whitespace() && !is_in_name {
            return;
        }
        if HEAD[self.head..].starts_with(c) {
            self.head += 1;
        } else {
            self.state = State::Other;
        }
        if self.head == HEAD.len() {
            self.state = State::Text;
        }
    }

    fn text(&mut self, c: char, out: &mut String) {
        if self.escape.is_empty() {
            match c {
                '\\' => self.escape.push(c),
                '"' => {
                    self.lone(out);
                    self.state = State::Behind;
                }
                c => {
                    self.lone(out);
                    out.push(c);
                }
            }
            return;
        }
        self.escape.push(c);
        let plain = match (self.escape.len(), c) {
            (2, 'u') => return,
            (2, 'n') => '\n',
            (2, 't') => '\t',
            (2, 'r') => '\r',
            (2, 'b') => '\u{8}',
            (2, 'f') => '\u{c}',
            (2, c) => c,
            (3..6, c) if c.is_ascii_hexdigit() => return,
            (6, c) if c.is_ascii_hexdigit() => {
                let unit = u32::from_str_radix(&self.escape[2..], 16).unwrap_or_default();
                self.escape.clear();
                return self.unit(unit, out);
            }
            // No escape of JSON: the text stays as it is.
            _ => {
                self.lone(out);
                out.push_str(&std::mem::take(&mut self.escape));
                return;
            }
        };
        self.escape.clear();
        self.lone(out);
        out.push(plain);
    }

    /// Adds a UTF-16 code unit.
    fn unit(&mut self, unit: u32, out: &mut String) {
        match (self.high, unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                self.high = None;
                out.push(char::from_u32(0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00)).unwrap_or('\u{fffd}'));
            }
            (_, 0xd800..=0xdbff) => {
                self.lone(out);
                self.high = Some(unit);
            }
            _ => {
                self.lone(out);
                out.push(char::from_u32(unit).unwrap_or('\u{fffd}'));
            }
        }
    }

    /// Adds a first half whose second one did not come.
    fn lone(&mut self, out: &mut String) {
        if self.high.take().is_some() {
            out.push('\u{fffd}');
        }
    }

    /// Returns what is missing of the input when all arguments have come.
    pub(super) fn finish(&mut self, arguments: &str) -> String {
        let mut out = String::new();
        match self.state {
            State::Text => {
                self.lone(&mut out);
                out.push_str(&std::mem::take(&mut self.escape));
            }
            State::Behind => {}
            State::Head | State::Other => out = other_shape(arguments),
        }
        out
    }

    /// Whether the arguments ended within the input.
    pub(super) fn is_cut(&self, arguments: &str) -> bool {
        match self.state {
            State::Text => true,
            State::Behind => !arguments.trim_end().ends_with('}'),
            State::Head => !arguments.trim().is_empty(),
            State::Other => false,
        }
    }
}

/// Returns the input that arguments of an unexpected shape hold.
fn other_shape(arguments: &str) -> String {
    use crate::dialect::{embedded, value::Value};

    match embedded::value(arguments) {
        Some(Value::String(text)) => text,
        Some(Value::Object(members)) => {
            let text = members.get(INPUT).and_then(Value::as_str);
            let mut texts = members.values().filter_map(Value::as_str);
            let lone = texts.next().filter(|_| texts.next().is_none() && members.len() == 1);
            match text.or(lone) {
                Some(text) => text.to_owned(),
                None if members.is_empty() => String::new(),
                None => arguments.to_owned(),
            }
        }
        _ => arguments.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unwraps_other_shapes_at_their_end() {
        for (arguments, input) in [
            (r#"{"input":"a\nb"}"#, "a\nb"),
            (r#" { "input" : "x" , "why" : 1 } "#, "x"),
            (r#"{"patch":"*** Begin"}"#, "*** Begin"),
            (r#"{"why":1,"input":"x"}"#, "x"),
            (r#""plain""#, "plain"),
            ("*** Begin Patch", "*** Begin Patch"),
            (r#"{"a":"x","b":"y"}"#, r#"{"a":"x","b":"y"}"#),
            ("{}", ""),
            ("", ""),
            (r#"{"input":"\ud83d\ude00 \ud83d!\q"}"#, "😀 \u{fffd}!q"),
        ] {
            let mut custom = CustomInput::default();
            let text = custom.push(arguments) + &custom.finish(arguments);
            assert_eq!(text, input, "{arguments}");
        }
    }

    proptest! {
        #[test]
        fn unwraps_alike_wherever_the_arguments_are_cut(text: String, ascii: bool, at: Vec<prop::sample::Index>) {
            let mut arguments = serde_json::json!({ "input": text }).to_string();
            if ascii {
                let escape = |c: char| if c.is_ascii() { c.to_string() } else {
                    let mut units = [0; 2];
                    c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                };
                arguments = arguments.chars().map(escape).collect();
            }
            let places: Vec<usize> = arguments.char_indices().map(|(at, _)| at).collect();
            let mut cuts: Vec<_> = at.iter().map(|at| *at.get(&places)).chain([0, arguments.len()]).collect();
            cuts.sort_unstable();
            let mut input = CustomInput::default();
            let mut all: String = cuts.windows(2).map(|pair| input.push(&arguments[pair[0]..pair[1]])).collect();
            all.push_str(&input.finish(&arguments));
            prop_assert_eq!(all, text);
            prop_assert!(!input.is_cut(&arguments));
        }
    }
}
