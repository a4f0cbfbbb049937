//! Reads the members of a body that routing needs, borrowed from the body.

use std::{borrow::Cow, collections::HashSet, fmt, ops::Range};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json_scanner::{self, Shape};

/// Why a body is not a valid model request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// It is not UTF-8, or not one JSON object.
    NotAnObject(String),
    /// It is not a valid multipart form, at an endpoint that takes one.
    InvalidForm(String),
    /// A key of the object occurs twice. Permission would be asked for one value, and a backend
    /// might obey the other.
    DuplicateKey(String),
    /// A key differs from one that matters only in case or by Unicode case folding. A backend that
    /// compares keys that way would obey it, and permission was not asked for it.
    AmbiguousKey {
        /// The key of the body.
        key: String,
        /// The key that it could be taken for.
        known: &'static str,
    },
    /// The object has more keys than any API knows.
    TooManyKeys,
    /// `stream` is neither a boolean nor null.
    BadStream,
    /// `model` is missing.
    NoModel,
    /// `model` is not a string, or empty.
    BadModel,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject(why) => write!(f, "the request body must be a JSON object: {why}"),
            Self::InvalidForm(why) => write!(f, "the request body must be a multipart form: {why}"),
            Self::DuplicateKey(key) => write!(f, "the request body has the key `{key}` twice; give it once"),
            Self::AmbiguousKey { key, known } => {
                write!(f, "the request body has the key `{key}`, which could be taken for `{known}`; write `{known}`")
            }
            Self::TooManyKeys => write!(f, "the request body has more than {MAX_KEYS} keys"),
            Self::BadStream => f.write_str("`stream` must be true or false"),
            Self::NoModel => f.write_str("the request body has no `model`; name the model to use"),
            Self::BadModel => f.write_str("`model` must be a string that names the model to use"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// The members of `stream_options`, as far as usage is concerned.
pub(super) struct Usage<'a> {
    pub(super) members: usize,
    /// The last `include_usage`, which is the one that most parsers use.
    pub(super) value: Option<&'a str>,
}

impl<'a> Usage<'a> {
    pub(super) fn find(raw: &'a str) -> Option<Self> {
        serde_json::Deserializer::from_str(raw).deserialize_map(UsageVisitor).ok()
    }
}

struct UsageVisitor;

impl<'de> Visitor<'de> for UsageVisitor {
    type Value = Usage<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Usage<'de>, A::Error> {
        let mut usage = Usage { members: 0, value: None };
        while let Some(key) = map.next_key_seed(Key)? {
            usage.members += 1;
            let value = map.next_value::<&'de RawValue>()?.get();
            if *key == *b"include_usage" {
                usage.value = Some(value);
            }
        }
        Ok(usage)
    }
}

/// The most keys of a body.
const MAX_KEYS: usize = 4096;

/// The members of the body that matter, as they are written.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub(super) model: Option<&'a str>,
    pub(super) stream: bool,
    pub(super) stream_options: Option<&'a str>,
    pub(super) choices: Option<u32>,
    pub(super) prompts: Option<u32>,
    /// `None` if only the slower parser could read the body.
    pub(super) shape: Option<Shape>,
}

/// The part of the body that was read so far.
#[derive(Default)]
struct Seen<'a> {
    found: Found<'a>,
    keys: Keys<'a>,
    /// The first thing that is wrong with a member.
    error: Option<Unreadable>,
}

impl<'a> Seen<'a> {
    fn key(&mut self, key: Cow<'a, [u8]>) -> Name {
        let name = Name::of(&key);
        if self.error.is_some() {
            return Name::Other;
        }
        if name == Name::Other
            && let Some(known) = taken_for(&key)
        {
            self.error = Some(Unreadable::AmbiguousKey { key: shortened(&String::from_utf8_lossy(&key)), known });
        } else if self.keys.len() >= MAX_KEYS {
            self.error = Some(Unreadable::TooManyKeys);
        } else if let Some(again) = self.keys.insert(key) {
            self.error = Some(Unreadable::DuplicateKey(shortened(&String::from_utf8_lossy(&again))));
        }
        name
    }

    fn value(&mut self, name: Name, value: &'a str) {
        match name {
            Name::Model => self.found.model = Some(value),
            Name::Stream => match value {
                "true" | "false" | "null" => self.found.stream = value == "true",
                _ => {
                    self.error.get_or_insert(Unreadable::BadStream);
                }
            },
            Name::StreamOptions => self.found.stream_options = Some(value),
            Name::N => self.found.choices = count(value),
            Name::Prompt => self.found.prompts = prompts(value),
            Name::Other => {}
        }
    }
}

pub(super) fn parse(body: &[u8]) -> Result<Found<'_>, Unreadable> {
    let mut seen = Seen::default();
    let read = json_scanner::members(body, |key, value| {
        match seen.key(unescaped(key)?) {
            Name::Other => {}
            name => seen.value(name, simdutf8::basic::from_utf8(value).ok()?),
        }
        Some(())
    });
    seen.found.shape = read;
    if read.is_none() {
        let text = str::from_utf8(body).map_err(|e| Unreadable::NotAnObject(format!("it is not UTF-8 ({e})")))?;
        seen = parse_again(text).map_err(|e| Unreadable::NotAnObject(shortened(&e.to_string())))?;
    }
    match seen.error {
        Some(error) => Err(error),
        None => Ok(seen.found),
    }
}

/// The keys that matter for permission, for the format of the response, and for how it is judged.
pub(super) const KNOWN: [&str; 7] = ["model", "stream", "stream_options", "n", "messages", "input", "tools"];

/// Returns the known key that a backend could take another key for.
pub(super) fn taken_for(key: &[u8]) -> Option<&'static str> {
    // Each character of a key has at most three bytes, and none folds to more than three letters.
    const LONGEST: usize = 3 * "stream_options".len();
    if key.is_ascii() {
        return KNOWN.into_iter().find(|known| key.eq_ignore_ascii_case(known.as_bytes()) && key != known.as_bytes());
    }
    let key = str::from_utf8(key).ok().filter(|key| key.len() <= LONGEST)?;
    // Both directions, since `ſ` and `ı` are letters of ASCII in upper case only, and the Kelvin sign in
    // lower case only; `ẞ` is in the upper case of its lower case. The dot is what lower case leaves of `İ`.
    let upper = key.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase);
    let folded: String = upper.flat_map(char::to_lowercase).filter(|c| *c != '\u{307}').collect();
    KNOWN.into_iter().find(|known| folded == **known)
}

/// Returns the text of a JSON string; borrowed if there is nothing to unescape.
pub(super) fn unescaped(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inside = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inside.contains(&b'\\') {
        return serde_json::from_slice(raw).ok().map(|text: String| Cow::Owned(text.into_bytes()));
    }
    Some(Cow::Borrowed(inside))
}

/// Reads a body with a parser that can tell what is wrong with it.
fn parse_again(text: &str) -> serde_json::Result<Seen<'_>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let seen = deserializer.deserialize_map(BodyVisitor)?;
    deserializer.end()?;
    Ok(seen)
}

/// Reads a whole number in any notation.
fn count(value: &str) -> Option<u32> {
    let n = value.parse::<f64>().ok().filter(|n| n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(n))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and within bounds")]
    Some(n as u32)
}

/// Counts the prompts: each text or token list in a list is one.
fn prompts(value: &str) -> Option<u32> {
    let first = value.strip_prefix('[')?.trim_start().chars().next()?;
    if !matches!(first, '"' | '[') {
        return None;
    }
    serde_json::from_str::<Vec<IgnoredAny>>(value).ok().and_then(|prompts| prompts.len().try_into().ok())
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Seen<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen<'de>, A::Error> {
        let mut seen = Seen::default();
        while let Some(key) = map.next_key_seed(Key)? {
            match seen.key(key) {
                Name::Other => drop(map.next_value::<IgnoredAny>()?),
                name => seen.value(name, map.next_value::<&'de RawValue>()?.get()),
            }
        }
        Ok(seen)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Model,
    Stream,
    StreamOptions,
    N,
    Prompt,
    Other,
}

impl Name {
    fn of(key: &[u8]) -> Self {
        match key {
            b"model" => Self::Model,
            b"stream" => Self::Stream,
            b"stream_options" => Self::StreamOptions,
            b"n" => Self::N,
            b"prompt" => Self::Prompt,
            _ => Self::Other,
        }
    }
}

/// The keys so far. A few are compared one by one, more are hashed, so that the time is linear in the
/// size of the body.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Cow<'a, [u8]>>,
    many: HashSet<Cow<'a, [u8]>>,
}

const FEW: usize = 32;

impl<'a> Keys<'a> {
    fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }

    /// Returns the key if it was there already.
    fn insert(&mut self, key: Cow<'a, [u8]>) -> Option<Cow<'a, [u8]>> {
        if self.few.contains(&key) || self.many.contains(&key) {
            return Some(key);
        }
        if self.few.len() < FEW {
            if self.few.is_empty() {
                self.few.reserve(FEW / 2);
            }
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
        None
    }
}

/// A key of an object, unescaped; borrowed if there is nothing to unescape.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, [u8]>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key.as_bytes()))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.as_bytes().to_owned()))
    }
}

/// Cuts a client's text, so that it can be repeated in an error.
fn shortened(text: &str) -> String {
    const MOST: usize = 200;
    if text.len() <= MOST {
        return text.to_owned();
    }
    let end = (0..=MOST).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Returns the range of `part`, which is a slice of `whole`.
pub(crate) fn range_in(whole: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}
