//! Estimates of the tokens that a request may use, from its body, before it is sent.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    endpoint::Endpoint,
    inspect::{Requested, range_in},
};

/// How the use of a request is estimated before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Estimate {
    /// The most that it can be, so that a limit is never exceeded.
    Bound,
    /// What it probably is: a third of the bytes of the input, and of the output no more than 19 of
    /// 20 earlier responses of the model had. A limit can be exceeded by what is in flight.
    Likely,
}

/// The tokens that a request may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) input: u64,
    pub(super) output: u64,
}

/// The most tokens of one picture: what the dearest of the models takes for a large one.
const PICTURE: u64 = 5_000;
/// The most tokens of one document, whose pages may be read as text and as pictures.
const DOCUMENT: u64 = 100_000;
/// A string without spaces that is at least this long may be encoded media.
const ENCODED_FROM: usize = 512;
/// The members that hold encoded media. Elsewhere the same text is a part of the prompt.
const MEDIA: [&[u8]; 4] = [b"data", b"url", b"image_url", b"file_data"];
/// The tokens of a picture and of a document, as a rule.
const LIKELY_PICTURE: u64 = 1_000;
const LIKELY_DOCUMENT: u64 = 5_000;

/// What a body holds that costs tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Bytes of everything but encoded media.
    text: u64,
    pictures: u64,
    documents: u64,
}

impl Content {
    /// Scans the strings of a JSON body. Text in which a JSON document is quoted has its quotation
    /// marks escaped, so that it adds no pictures.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut content = Self { text: body.len() as u64, ..Self::default() };
        let mut encoded = 0u64;
        let mut rest = body;
        let mut name: &[u8] = b"";
        while let Some(start) = memchr::memchr(b'"', rest) {
            let string = &rest[start + 1..];
            let length = end_of(string);
            let value = &string[..length.min(string.len())];
            match value {
                b"image_url" | b"input_image" | b"image" => content.pictures += 1,
                b"document" | b"file" | b"input_file" | b"input_audio" | b"container_upload" => content.documents += 1,
                _ if MEDIA.contains(&name) && is_encoded(value) => encoded += value.len() as u64,
                _ => {}
            }
            rest = string.get(length + 1..).unwrap_or_default();
            let is_name = rest.trim_ascii_start().starts_with(b":");
            name = if is_name { value } else { b"" };
        }
        // Encoded data without a mark of what it is counts as text.
        if content.pictures + content.documents > 0 {
            content.text -= encoded;
        }
        content
    }

    /// A form holds a file, such as audio, in its own bytes.
    fn of_form(body: &[u8]) -> Self {
        Self { text: (body.len() as u64).min(1_024), documents: 1, ..Self::default() }
    }

    fn bound(&self) -> u64 {
        self.text + self.pictures * PICTURE + self.documents * DOCUMENT
    }

    fn likely(&self) -> u64 {
        self.text.div_ceil(3) + self.pictures * LIKELY_PICTURE + self.documents * LIKELY_DOCUMENT
    }
}

/// Returns the length of a string that begins here, up to its closing quotation mark.
fn end_of(string: &[u8]) -> usize {
    let mut at = 0;
    while let Some(next) = memchr::memchr2(b'"', b'\\', &string[at..]) {
        at += next;
        if string[at] == b'"' {
            return at;
        }
        at += 2;
        if at >= string.len() {
            break;
        }
    }
    string.len()
}

/// Whether a string is a data URL or long base64.
fn is_encoded(value: &[u8]) -> bool {
    let is_base64 =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'\\');
    if value.len() < ENCODED_FROM {
        return false;
    }
    value.starts_with(b"data:") && memchr::memmem::find(&value[..128], b";base64,").is_some()
        || value.iter().all(is_base64)
}

/// The caller's own limit of output tokens.
#[derive(Deserialize, Default)]
struct OutputLimits<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    max_output_tokens: Option<&'a RawValue>,
}

/// Reads a member as it is written, also if it is `null`.
fn raw<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

impl<'a> OutputLimits<'a> {
    /// Returns the limit; what is no whole number is the backend's to refuse.
    fn get(&self) -> Option<u64> {
        let all = [self.max_tokens, self.max_completion_tokens, self.max_output_tokens];
        all.into_iter().flatten().filter_map(|raw| raw.get().parse().ok()).max()
    }

    fn member(&self, name: &str) -> Option<&'a RawValue> {
        match name {
            "max_completion_tokens" => self.max_completion_tokens,
            "max_output_tokens" => self.max_output_tokens,
            _ => self.max_tokens,
        }
    }
}

/// The member that would limit the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingLimit {
    /// The body does not have it.
    Absent(&'static str),
    /// It is the `null` at this offset.
    Null(usize),
}

impl MissingLimit {
    /// Returns the body with this limit.
    pub(super) fn set(self, requested: &Requested, body: &Bytes, limit: u64) -> Bytes {
        match self {
            Self::Absent(name) => requested.with_member(body, &format!(r#","{name}":{limit}"#)),
            Self::Null(at) => [&body[..at], limit.to_string().as_bytes(), &body[at + "null".len()..]].concat().into(),
        }
    }
}

/// What is known of the use of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimates {
    pub(super) bound: Tokens,
    pub(super) likely: Tokens,
    /// The member that would limit the output, if the caller has set no limit.
    pub(super) missing_limit: Option<MissingLimit>,
}

impl Estimates {
    /// Reads a request. `assumed` is the output of a response that the caller has not limited,
    /// `usual` what the model's responses usually have.
    pub(super) fn of(requested: &Requested, body: &[u8], assumed: u64, usual: Option<u64>) -> Self {
        let is_form = requested.is_form();
        let content = if is_form { Content::of_form(body) } else { Content::of(body) };
        let limit_name = match requested.endpoint {
            Some(Endpoint::ChatCompletions) | None => Some("max_completion_tokens"),
            Some(Endpoint::Completions | Endpoint::Messages) => Some("max_tokens"),
            Some(Endpoint::Responses) => Some("max_output_tokens"),
            Some(_) => None,
        };
        let limits: OutputLimits<'_> = match limit_name {
            Some(_) if !is_form => serde_json::from_slice(body).unwrap_or_default(),
            _ => OutputLimits::default(),
        };
        let choices = u64::from(requested.choices.max(1));
        let (most, likely) = match (limit_name, limits.get()) {
            (None, _) => (0, 0),
            (Some(_), Some(limit)) => (limit, usual.unwrap_or(limit).min(limit)),
            (Some(_), None) => (assumed, usual.unwrap_or(assumed)),
        };
        let missing = |name: &'static str| match limits.member(name) {
            None => Some(MissingLimit::Absent(name)),
            Some(raw) => (raw.get() == "null").then(|| MissingLimit::Null(range_in(body, raw.get()).start)),
        };
        Self {
            bound: Tokens { input: content.bound(), output: most.saturating_mul(choices) },
            likely: Tokens { input: content.likely(), output: likely.saturating_mul(choices) },
            missing_limit: limit_name.filter(|_| limits.get().is_none() && !is_form).and_then(missing),
        }
    }

    /// Returns the estimates of a request that nothing limits.
    pub(super) const fn none() -> Self {
        let none = Tokens { input: 0, output: 0 };
        Self { bound: none, likely: none, missing_limit: None }
    }

    pub(super) const fn get(&self, estimate: Estimate) -> Tokens {
        match estimate {
            Estimate::Bound => self.bound,
            Estimate::Likely => self.likely,
        }
    }
}

/// The number of output tokens that 19 of 20 responses of a model stay below, moved a little by each.
#[derive(Debug, Default)]
pub(super) struct UsualOutputs(DashMap<Arc<str>, AtomicU64, RandomState>);

impl UsualOutputs {
    pub(super) fn get(&self, model: &str) -> Option<u64> {
        self.0.get(model).map(|usual| usual.load(Relaxed))
    }

    pub(super) fn record(&self, model: &Arc<str>, output: u64) {
        if let Some(usual) = self.0.get(model) {
            let moved = |usual: u64| {
                // It rises 19 times as fast as it falls, so it rests where 1 of 20 is above it.
                let step = (usual / 100).max(1);
                Some(if output > usual {
                    (usual + 19 * step).min(output)
                } else {
                    usual.saturating_sub(step).max(output)
                })
            };
            let _ = usual.fetch_update(Relaxed, Relaxed, moved);
            return;
        }
        self.0.entry(model.clone()).or_insert_with(|| AtomicU64::new(output));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn of(path: &str, body: &str) -> Estimates {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let requested = Requested::read(&body).unwrap().with_path(path);
        Estimates::of(&requested, &body, 4_096, None)
    }

    #[test]
    fn input_is_at_most_the_bytes_of_the_body() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"héllo"}]}"#;
        let estimates = of("/v1/chat/completions", body);
        assert_eq!(estimates.bound, Tokens { input: body.len() as u64, output: 4_096 });
        assert_eq!(estimates.likely.input, (body.len() as u64).div_ceil(3));
        assert_eq!(estimates.missing_limit, Some(MissingLimit::Absent("max_completion_tokens")));
    }

    #[test]
    fn encoded_media_count_by_their_kind() {
        let data = "A".repeat(100_000);
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}]}}]}}"#
        );
        let bound = of("/v1/chat/completions", &body).bound.input;
        assert!((5_000..11_000).contains(&bound), "{bound}: the member's name counts, too");
        let text = format!(r#"{{"model":"m","prompt":"{}"}}"#, "{\\\"type\\\":\\\"image\\\"} ".repeat(1_000));
        assert_eq!(of("/v1/completions", &text).bound.input, text.len() as u64);
    }

    #[test]
    fn text_that_looks_encoded_counts_as_text() {
        let data = "A".repeat(100_000);
        for prompt in
            [format!(r#""{data}""#), format!(r#"["url","{data}"]"#), format!(r#""data:text/plain;base64,{data}""#)]
        {
            let body = format!(r#"{{"model":"m","prompt":{prompt},"user":"image"}}"#);
            assert!(of("/v1/completions", &body).bound.input > 100_000, "{prompt:.40}");
        }
        let source = format!(r#"{{"type":"image","source":{{"type":"base64","data" : "{data}"}}}}"#);
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{source}]}}]}}"#);
        assert!(of("/v1/messages", &body).bound.input < 11_000);
    }

    #[test]
    fn output_is_the_callers_limit_for_each_choice() {
        for (path, body, output) in [
            ("/v1/chat/completions", r#"{"model":"m","max_tokens":10,"n":3}"#, 30),
            ("/v1/chat/completions", r#"{"model":"m","max_completion_tokens":7}"#, 7),
            ("/v1/responses", r#"{"model":"m","max_output_tokens":9}"#, 9),
            ("/v1/messages", r#"{"model":"m","max_tokens":11}"#, 11),
            ("/v1/chat/completions", r#"{"model":"m","max_tokens":"many"}"#, 4_096),
            ("/v1/embeddings", r#"{"model":"m","input":"x"}"#, 0),
        ] {
            assert_eq!(of(path, body).bound.output, output, "{body}");
        }
    }

    #[test]
    fn usual_output_is_above_most_responses() {
        let (usual, model) = (UsualOutputs::default(), "m".into());
        for i in 0..10_000_u64 {
            usual.record(&model, (i * 7_919) % 1_000);
        }
        let p95 = usual.get("m").unwrap();
        assert!((850..1_000).contains(&p95), "{p95}");
    }
}
