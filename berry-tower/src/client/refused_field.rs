//! Fields that a provider refuses: the request is sent again without them, or with their other name.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{backend::OptionalField, classify::ErrorBody};

/// The fields that are looked for in a refusal. Where a text names both names of the token limit,
/// the first that it names is the refused one.
const FIELDS: [(OptionalField, &str); 7] = [
    (OptionalField::StreamOptions, "stream_options"),
    (OptionalField::MaxCompletionTokens, "max_completion_tokens"),
    (OptionalField::MaxTokens, "max_tokens"),
    (OptionalField::ParallelToolCalls, "parallel_tool_calls"),
    (OptionalField::ReasoningEffort, "reasoning_effort"),
    (OptionalField::User, "user"),
    (OptionalField::ReasoningSummary, "summary"),
];

/// How servers say that they do not know a field, rather than that its value is wrong.
const UNKNOWN_FIELD: [&str; 9] = [
    // OpenAI
    "unsupported parameter",
    "unrecognized request argument",
    "unknown parameter",
    // pydantic: Mistral, vLLM, Fireworks
    "extra inputs are not permitted",
    "extra fields not permitted",
    // Groq: property 'x' is unsupported
    "is unsupported",
    "not supported",
    // serde: unknown field `x`
    "unknown field",
    "unexpected keyword",
];

fn name(field: OptionalField) -> Option<&'static str> {
    FIELDS.iter().find(|(known, _)| *known == field).map(|row| row.1)
}

/// The name that replaces a field's, where it has another.
const fn other_name(field: OptionalField) -> Option<&'static str> {
    match field {
        OptionalField::MaxCompletionTokens => Some("max_tokens"),
        OptionalField::MaxTokens => Some("max_completion_tokens"),
        _ => None,
    }
}

/// The field that an error refuses, in any of the shapes that were [parsed](super::upstream_error).
pub(super) fn refused(status: StatusCode, error: &ErrorBody) -> Option<OptionalField> {
    if !matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) {
        return None;
    }
    let param = error.param.as_deref().unwrap_or_default();
    let message = error.message.as_deref().unwrap_or_default();
    let by_param = FIELDS.into_iter().find(|(_, name)| param.split('.').any(|step| step == *name));
    // Words of many sentences.
    let is_word = |field| matches!(field, OptionalField::User | OptionalField::ReasoningSummary);
    let named = FIELDS.into_iter().filter(|(field, _)| !is_word(*field));
    let first = named.filter_map(|field| Some((word(message, field.1)?, field))).min_by_key(|(at, _)| *at);
    let (field, _) = by_param.or(first.map(|(_, field)| field))?;
    let says_unknown = || {
        let text = message.to_ascii_lowercase();
        let code =
            error.code.as_deref().is_some_and(|code| matches!(code, "unsupported_parameter" | "unknown_parameter"));
        code || UNKNOWN_FIELD.iter().any(|phrase| text.contains(phrase))
    };
    // The gateway puts these in by itself, so the name alone is enough.
    let is_own = matches!(field, OptionalField::StreamOptions | OptionalField::ReasoningSummary);
    (is_own || says_unknown()).then_some(field)
}

/// Where a text has a name that is no part of a longer one.
fn word(text: &str, name: &str) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let stands_alone = |at: &usize| !text[..*at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part);
    text.match_indices(name).map(|(at, _)| at).find(stands_alone)
}

/// Fields that a request goes without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Omitted(u8);

impl Omitted {
    /// The fields, but for `stream_options`, of which a predicate is true.
    pub(super) fn new(mut is_refused: impl FnMut(OptionalField) -> bool) -> Self {
        let mut all = Self::default();
        for (field, _) in FIELDS {
            if field != OptionalField::StreamOptions && is_refused(field) {
                all.insert(field);
            }
        }
        all
    }

    fn bit(field: OptionalField) -> u8 {
        FIELDS.iter().position(|(known, _)| *known == field).map_or(0, |at| 1 << at)
    }

    pub(super) fn contains(self, field: OptionalField) -> bool {
        self.0 & Self::bit(field) != 0
    }

    pub(super) fn insert(&mut self, field: OptionalField) {
        self.0 |= Self::bit(field);
    }

    /// A body without these fields, each value as it was written.
    pub(super) fn apply(self, body: Bytes) -> Bytes {
        if self == Self::default() {
            return body;
        }
        let Ok(Members(members)) = serde_json::from_slice(&body) else { return body };
        let has = |name: &str| members.iter().any(|(key, _)| key == name);
        let mut out = Vec::with_capacity(body.len() + 16);
        for (key, value) in &members {
            let omitted = FIELDS.into_iter().find(|(field, name)| key == name && self.contains(*field));
            let key = match omitted {
                None => key.as_str(),
                Some((field, _)) => match other_name(field).filter(|other| !has(other)) {
                    Some(other) => other,
                    None => continue,
                },
            };
            out.push(if out.is_empty() { b'{' } else { b',' });
            // Writing to a vector cannot fail.
            let _ = serde_json::to_writer(&mut out, key);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
        if out.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
        out.into()
    }

    /// Whether a body has this field.
    pub(super) fn is_in(field: OptionalField, body: &[u8]) -> bool {
        let Ok(Members(members)) = serde_json::from_slice(body) else { return false };
        members.iter().any(|(key, _)| name(field) == Some(key))
    }
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(param: &str, message: &str) -> ErrorBody {
        let error = ErrorBody::default().with_message(message);
        if param.is_empty() { error } else { error.with_param(param) }
    }

    #[test]
    fn finds_the_refused_field() {
        let field = |param, message| refused(StatusCode::BAD_REQUEST, &error(param, message));
        for (param, message, expected) in [
            ("", "Unrecognized request argument supplied: stream_options", Some(OptionalField::StreamOptions)),
            ("", "stream_options.include_usage is odd", Some(OptionalField::StreamOptions)),
            (
                "max_tokens",
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                Some(OptionalField::MaxTokens),
            ),
            (
                "",
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                Some(OptionalField::MaxTokens),
            ),
            (
                "max_completion_tokens",
                "max_completion_tokens: Extra inputs are not permitted",
                Some(OptionalField::MaxCompletionTokens),
            ),
            ("user", "user: Extra inputs are not permitted", Some(OptionalField::User)),
            ("", "the user is not supported", None),
            ("", "unknown field `my_max_tokens`", None),
            ("max_tokens", "max_tokens must be at least 1", None),
            ("messages", "Extra inputs are not permitted", None),
        ] {
            assert_eq!(field(param, message), expected, "{param} {message}");
        }
        assert_eq!(refused(StatusCode::FORBIDDEN, &error("stream_options", "")), None);
    }

    #[test]
    fn omits_or_renames_and_keeps_all_else() {
        let omitted = |fields: &[OptionalField]| Omitted::new(|field| fields.contains(&field));
        let apply = |fields: &[OptionalField], body: &'static str| {
            String::from_utf8(omitted(fields).apply(Bytes::from_static(body.as_bytes())).to_vec()).unwrap()
        };
        let body = r#"{ "model":"m", "max_completion_tokens": 10, "parallel_tool_calls":false, "n": 1.0 }"#;
        assert_eq!(apply(&[], body), body);
        assert_eq!(
            apply(&[OptionalField::MaxCompletionTokens], body),
            r#"{"model":"m","max_tokens":10,"parallel_tool_calls":false,"n":1.0}"#
        );
        assert_eq!(
            apply(&[OptionalField::ParallelToolCalls], body),
            r#"{"model":"m","max_completion_tokens":10,"n":1.0}"#
        );
        let both = r#"{"max_tokens":1,"max_completion_tokens":2}"#;
        assert_eq!(apply(&[OptionalField::MaxTokens], both), r#"{"max_completion_tokens":2}"#);
        assert_eq!(apply(&[OptionalField::User], r#"{"user":"u"}"#), "{}");
    }
}
