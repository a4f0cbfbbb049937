//! The facts of a model request, and edits of its body.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, header::CONTENT_TYPE};

use super::{
    form::{self, Boundary, FormError},
    json_scanner::Shape,
    members::{Unreadable, Usage, parse, range_in, unescaped},
};
use crate::{body::Buffered, endpoint::Endpoint, error::MissingLayer};

/// The facts of a model request; an extension that [`Inspect`](super::Inspect) puts into requests.
///
/// ```
/// use berry_tower::inspect::Requested;
/// use bytes::Bytes;
///
/// let body = Bytes::from(r#"{ "model": "fast", "stream": true, "messages": [] }"#);
/// let requested = Requested::read(&body).unwrap();
/// assert_eq!(&*requested.model, "fast");
/// assert!(requested.stream);
/// assert_eq!(
///     requested.with_model(&body, "llama3:8b"),
///     r#"{ "model": "llama3:8b", "stream": true, "messages": [] }"#,
/// );
/// assert_eq!(
///     requested.with_usage(&body, "fast"),
///     r#"{ "model": "fast","stream_options":{"include_usage":true}, "stream": true, "messages": [] }"#,
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requested {
    /// The model's name.
    pub model: Arc<str>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// The range of the value of `model` in the body, with its quotes.
    pub model_at: Range<usize>,
    /// The endpoint that the path names, if it is a known one.
    pub endpoint: Option<Endpoint>,
    /// The facts of `stream_options`.
    pub stream_options: StreamOptions,
    /// The number of choices: `n`, or 1, for each prompt.
    pub choices: u32,
    pub(super) source: Source,
    pub(super) shape: Option<Shape>,
    /// The boundary of a multipart form; `None` for a JSON object.
    pub(super) boundary: Option<Boundary>,
}

/// The bytes that were read. They are kept, so that no other body can come to lie at their address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Source(Bytes);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Whether a body asks for usage in the stream, and the edit that makes it ask.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamOptions {
    /// Whether the client asked for usage itself.
    pub include_usage: bool,
    /// The range of the value of `stream_options` in the body, if it is there.
    pub at: Option<Range<usize>>,
    edit: Option<Edit>,
}

/// A range of the body and its replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit {
    at: Range<usize>,
    text: &'static str,
}

impl Requested {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// The body is no JSON object, has a key twice or one that could be taken for another, names no
    /// model, or has a `stream` that is no boolean.
    pub fn read(body: &Bytes) -> Result<Self, Unreadable> {
        if body.starts_with(b"\xef\xbb\xbf") {
            return Err(Unreadable::NotAnObject("it starts with a byte order mark".into()));
        }
        let found = parse(body)?;
        let raw = found.model.ok_or(Unreadable::NoModel)?;
        let model = unescaped(raw.as_bytes()).filter(|m| !m.is_empty()).ok_or(Unreadable::BadModel)?;
        let model = Arc::from(str::from_utf8(&model).map_err(|_| Unreadable::BadModel)?);
        let model_at = range_in(body, raw);
        Ok(Self {
            model,
            stream: found.stream,
            stream_options: StreamOptions::read(body, found.stream_options, model_at.end),
            model_at,
            endpoint: None,
            choices: found.choices.unwrap_or(1).saturating_mul(found.prompts.unwrap_or(1).max(1)),
            source: Source(body.clone()),
            shape: found.shape,
            boundary: None,
        })
    }

    /// Reads the body of a request to `path` whose headers are `headers`: a multipart form where the endpoint takes one
    /// and the content type says so, else a JSON object.
    ///
    /// # Errors
    ///
    /// The same as for [`read`](Self::read), and a form that is not valid.
    pub fn read_request(path: &str, headers: &HeaderMap, body: &Bytes) -> Result<Self, Unreadable> {
        let endpoint = Endpoint::from_path(path);
        let form = || {
            let content_type = headers.get(CONTENT_TYPE).filter(|_| endpoint.is_some_and(Endpoint::takes_form))?;
            form::boundary(content_type.to_str().ok()?)
        };
        let requested = match form() {
            Some(boundary) => Self::read_form(body, boundary.map_err(unreadable)?)?,
            None => Self::read(body)?,
        };
        Ok(Self { endpoint, ..requested })
    }

    fn read_form(body: &Bytes, boundary: Boundary) -> Result<Self, Unreadable> {
        let form = form::read(body, &boundary).map_err(unreadable)?;
        Ok(Self {
            model: form.model.into(),
            stream: form.stream,
            stream_options: StreamOptions { include_usage: false, at: None, edit: None },
            model_at: form.model_at,
            endpoint: None,
            choices: 1,
            source: Source(body.clone()),
            shape: Some(Shape { nodes: 1, depth: 0 }),
            boundary: Some(boundary),
        })
    }

    /// Reads a body that replaces the one that was read.
    fn read_again(&self, body: &Bytes) -> Result<Self, Unreadable> {
        let read = match &self.boundary {
            Some(boundary) => Self::read_form(body, boundary.clone())?,
            None => Self::read(body)?,
        };
        Ok(Self { endpoint: self.endpoint, ..read })
    }

    /// Sets the endpoint to the one that `path` names.
    #[must_use]
    pub fn with_path(self, path: &str) -> Self {
        Self { endpoint: Endpoint::from_path(path), ..self }
    }

    /// Returns what a request asks for. If another layer has replaced the body since it was read,
    /// the new body is read, and the extension is updated.
    ///
    /// # Errors
    ///
    /// No [`Inspect`](super::Inspect) has seen the request, or the new body cannot be read.
    pub fn of(request: &mut Request<Buffered>) -> Result<&Self, MissingLayer> {
        const MISSING: MissingLayer = MissingLayer("InspectLayer");
        let known = request.extensions().get::<Self>().ok_or(MISSING)?;
        if !known.was_read_from(request.body().bytes()) {
            let read = known.read_again(request.body().bytes()).map_err(|_| MISSING)?;
            request.extensions_mut().insert(read);
        }
        request.extensions().get::<Self>().ok_or(MISSING)
    }

    /// Whether the body is a multipart form.
    #[cfg(feature = "spend")]
    pub(crate) const fn is_form(&self) -> bool {
        self.boundary.is_some()
    }

    /// Returns the number of JSON values in the body, which bounds the memory that a parsed body
    /// takes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.shape.map_or(usize::MAX, |shape| shape.nodes)
    }

    /// Returns how many objects and arrays surround the innermost value of the body.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.shape.map_or(usize::MAX, |shape| shape.depth)
    }

    /// Whether these are the very bytes that were read.
    fn was_read_from(&self, body: &Bytes) -> bool {
        std::ptr::eq::<[u8]>(&*self.source.0, &**body)
    }

    /// Returns the body with another model's name, or the body itself if the name is the same. All
    /// other bytes stay as the client wrote them. A body that is not the one that was read is read
    /// first; if it cannot be, it is returned unchanged.
    #[must_use]
    pub fn with_model(&self, body: &Bytes, name: &str) -> Bytes {
        self.edited(body, name, false)
    }

    /// Like [`with_model`](Self::with_model), and asks for usage in the stream. Both changes cost
    /// one copy.
    #[must_use]
    pub fn with_usage(&self, body: &Bytes, name: &str) -> Bytes {
        self.edited(body, name, true)
    }

    /// Returns the body with another member, given with the comma before it, after the model's name.
    #[cfg(feature = "spend")]
    pub(crate) fn with_member(&self, body: &Bytes, member: &str) -> Bytes {
        let at = self.model_at.end;
        [&body[..at], member.as_bytes(), &body[at..]].concat().into()
    }

    fn edited(&self, body: &Bytes, name: &str, usage: bool) -> Bytes {
        if !self.was_read_from(body) {
            return self.read_again(body).map_or_else(|_| body.clone(), |read| read.edited(body, name, usage));
        }
        let edit = self.stream_options.edit.as_ref().filter(|_| usage);
        let renamed = *name != *self.model;
        if !renamed && edit.is_none() {
            return body.clone();
        }
        let mut out = Vec::with_capacity(body.len() + name.len() + 64);
        let model = |out: &mut Vec<u8>| {
            if self.boundary.is_some() {
                out.extend_from_slice(name.as_bytes());
            } else if renamed {
                // Writing a string into a vector cannot fail.
                let _ = serde_json::to_writer(out, name);
            } else {
                out.extend_from_slice(&body[self.model_at.clone()]);
            }
        };
        let before = edit.filter(|e| e.at.end <= self.model_at.start);
        let after = edit.filter(|e| e.at.start >= self.model_at.end);
        let mut from = 0;
        if let Some(edit) = before {
            out.extend_from_slice(&body[from..edit.at.start]);
            out.extend_from_slice(edit.text.as_bytes());
            from = edit.at.end;
        }
        out.extend_from_slice(&body[from..self.model_at.start]);
        model(&mut out);
        from = self.model_at.end;
        if let Some(edit) = after {
            out.extend_from_slice(&body[from..edit.at.start]);
            out.extend_from_slice(edit.text.as_bytes());
            from = edit.at.end;
        }
        out.extend_from_slice(&body[from..body.len()]);
        out.into()
    }
}

fn unreadable(why: FormError) -> Unreadable {
    match why {
        FormError::Invalid(why) => Unreadable::InvalidForm(why.to_owned()),
        FormError::Ambiguous { name, known } => {
            Unreadable::InvalidForm(format!("its part `{name}` could be taken for `{known}`; write `{known}`"))
        }
        FormError::Duplicate(key) => Unreadable::DuplicateKey(key.to_owned()),
        FormError::BadStream => Unreadable::InvalidForm("its part `stream` must be `true` or `false`".to_owned()),
        FormError::NoModel => Unreadable::NoModel,
        FormError::BadModel => Unreadable::BadModel,
    }
}

impl StreamOptions {
    fn read(body: &[u8], options: Option<&str>, after_model: usize) -> Self {
        const MEMBER: &str = r#","stream_options":{"include_usage":true}"#;
        let Some(raw) = options else {
            return Self {
                include_usage: false,
                at: None,
                edit: Some(Edit { at: after_model..after_model, text: MEMBER }),
            };
        };
        let at = range_in(body, raw);
        let edit = |at, text| Some(Edit { at, text });
        let (include_usage, edit) = match Usage::find(raw) {
            Some(Usage { value: Some("true"), .. }) => (true, None),
            Some(Usage { value: Some(value), .. }) => (false, edit(range_in(body, value), "true")),
            Some(Usage { members: 0, .. }) => (false, edit(at.clone(), r#"{"include_usage":true}"#)),
            Some(_) => (false, edit(at.start + 1..at.start + 1, r#""include_usage":true,"#)),
            None if raw == "null" => (false, edit(at.clone(), r#"{"include_usage":true}"#)),
            // The backend tells the client what is wrong with it.
            None => (false, None),
        };
        Self { include_usage, at: Some(at), edit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Requested {
        Requested::read(&Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    fn error(body: impl AsRef<[u8]>) -> Unreadable {
        Requested::read(&Bytes::copy_from_slice(body.as_ref())).unwrap_err()
    }

    #[test]
    fn what_matters_is_found_wherever_it_stands() {
        let body = r#" {"messages":[{"model":"no"}],"n":3,"stream" : true , "model" :  "a/b:c" }"#;
        let requested = read(body);
        assert_eq!(&*requested.model, "a/b:c");
        assert_eq!(&body[requested.model_at.clone()], r#""a/b:c""#);
        assert_eq!((requested.stream, requested.choices), (true, 3));
        assert_eq!(requested.stream_options.at, None);
    }

    #[test]
    fn names_and_keys_are_unescaped() {
        let requested = read(r#"{"m\u006fdel":"caf\u00e9 \"x\"","str\u0065am":true}"#);
        assert_eq!(&*requested.model, "café \"x\"");
        assert!(requested.stream);
    }

    #[test]
    fn rejects_a_stream_that_is_no_boolean() {
        for value in ["false", "null"] {
            assert!(!read(&format!(r#"{{"model":"m","stream":{value}}}"#)).stream, "{value}");
        }
        for value in ["1", "0", "\"true\"", "\"\"", "[true]", "{}"] {
            assert_eq!(error(format!(r#"{{"model":"m","stream":{value}}}"#)), Unreadable::BadStream, "{value}");
        }
    }

    #[test]
    fn rejects_keys_that_could_be_taken_for_others() {
        let keys = [
            ("Model", "model"),
            ("MODEL", "model"),
            ("\\u004dodel", "model"),
            ("ſtream", "stream"),
            ("\\u017fTREAM", "stream"),
            ("stream_optionſ", "stream_options"),
            ("\u{fb06}ream", "stream"),
            ("N", "n"),
            ("meſſages", "messages"),
            ("\u{131}nput", "input"),
            ("\u{130}nput", "input"),
            ("toolſ", "tools"),
            ("Tools", "tools"),
        ];
        for (key, known) in keys {
            let error = error(format!(r#"{{"model":"m","{key}":true}}"#));
            assert!(matches!(error, Unreadable::AmbiguousKey { known: k, .. } if k == known), "{key}: {error:?}");
        }
        for key in ["modeł", "models", "mode", "nn", "User", "ñ", "streams", "日本語", "x"] {
            assert!(Requested::read(&Bytes::from(format!(r#"{{"model":"m","{key}":true}}"#))).is_ok(), "{key}");
        }
        assert!(Requested::read(&Bytes::from(r#"{"model":"m","x":{"Model":1}}"#)).is_ok(), "at the top level only");
    }

    #[test]
    fn rejects_more_keys_than_any_api_knows() {
        let body = |n: usize| (0..n).map(|i| format!(r#""k{i}":0,"#)).collect::<String>();
        assert!(Requested::read(&format!(r#"{{{}"model":"m"}}"#, body(4095)).into()).is_ok());
        assert_eq!(error(format!(r#"{{{}"model":"m"}}"#, body(4096))), Unreadable::TooManyKeys);
    }

    #[test]
    fn a_number_of_answers_that_is_none_counts_as_one() {
        for (value, n) in [("2", 2), ("2.0", 2), ("null", 1), ("-1", 1), ("1e400", 1), ("\"3\"", 1), ("4294967296", 1)]
        {
            assert_eq!(read(&format!(r#"{{"model":"m","n":{value}}}"#)).choices, n, "{value}");
        }
    }

    #[test]
    fn each_prompt_of_several_has_answers_of_its_own() {
        for (prompt, n) in [("\"a\"", 2), ("[\"a\",\"b\",\"c\"]", 6), ("[1,2,3]", 2), ("[[1],[2]]", 4), ("[]", 2)] {
            assert_eq!(read(&format!(r#"{{"model":"m","n":2,"prompt":{prompt}}}"#)).choices, n, "{prompt}");
        }
    }

    #[test]
    fn a_key_that_occurs_twice_is_refused_after_unescaping() {
        assert_eq!(error(r#"{"model":"a","model":"b"}"#), Unreadable::DuplicateKey("model".into()));
        assert_eq!(error(r#"{"model":"a","mod\u0065l":"b"}"#), Unreadable::DuplicateKey("model".into()));
        assert_eq!(error(r#"{"model":"a","x":1,"x":1}"#), Unreadable::DuplicateKey("x".into()));
        assert!(Requested::read(&Bytes::from(r#"{"model":"a","y":{"x":1,"x":1}}"#)).is_ok(), "at the top level only");
        let many: String = (0..100).map(|i| format!(r#""k{i}":0,"#)).collect();
        assert_eq!(error(format!(r#"{{{many}"model":"a","k77":0}}"#)), Unreadable::DuplicateKey("k77".into()));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["", " ", "[]", "\"model\"", "null", "1", "{", r#"{"model":"m"} x"#, r#"{"model":"m",}"#, "{]"] {
            assert!(matches!(error(body), Unreadable::NotAnObject(_)), "{body}");
        }
        assert!(matches!(error(b"\xef\xbb\xbf{\"model\":\"m\"}"), Unreadable::NotAnObject(_)));
        assert!(matches!(error(b"{\"model\":\"m\",\"x\":\"\xff\"}"), Unreadable::NotAnObject(_)));
        assert!(matches!(error(r#"{"model":"m","\ud800":1}"#), Unreadable::NotAnObject(_)));
    }

    #[test]
    fn a_model_must_be_a_name() {
        assert_eq!(error("{}"), Unreadable::NoModel);
        for value in ["null", "1", "\"\"", "[\"m\"]", r#""\ud800""#] {
            assert_eq!(error(format!(r#"{{"model":{value}}}"#)), Unreadable::BadModel, "{value}");
        }
    }

    #[test]
    fn deep_nesting_and_huge_numbers_pass() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(&*read(&format!(r#"{{"x":{deep},"z":{deep},"y":1e400,"model":"m"}}"#)).model, "m");
        assert!(matches!(error(deep), Unreadable::NotAnObject(_)));
    }

    #[test]
    fn a_new_name_is_escaped_and_the_same_name_copies_nothing() {
        let body = Bytes::from_static(br#"{"model":"m","x":1}"#);
        let requested = Requested::read(&body).unwrap();
        assert_eq!(requested.with_model(&body, "a\"b\\"), r#"{"model":"a\"b\\","x":1}"#);
        assert_eq!(requested.with_model(&body, "m").as_ptr(), body.as_ptr());
    }

    #[test]
    fn usage_is_asked_for_whatever_the_client_wrote() {
        for (options, expected) in [
            ("null", r#"{"include_usage":true}"#),
            ("{}", r#"{"include_usage":true}"#),
            ("{ }", r#"{"include_usage":true}"#),
            (r#"{"a":1}"#, r#"{"include_usage":true,"a":1}"#),
            (r#"{"include_usage":false,"a":1}"#, r#"{"include_usage":true,"a":1}"#),
            (r#"{"a":1,"include_usage": null}"#, r#"{"a":1,"include_usage": true}"#),
            (r#"{"include_usage":true}"#, r#"{"include_usage":true}"#),
            ("[1]", "[1]"),
        ] {
            let body = Bytes::from(format!(r#"{{"stream_options":{options},"model":"m"}}"#));
            let requested = Requested::read(&body).unwrap();
            assert_eq!(requested.stream_options.include_usage, options == expected && options != "[1]");
            let with_usage = requested.with_usage(&body, "m");
            assert_eq!(with_usage, format!(r#"{{"stream_options":{expected},"model":"m"}}"#));
            let body = Bytes::from(format!(r#"{{"model":"m","stream_options":{options}}}"#));
            let with_usage = Requested::read(&body).unwrap().with_usage(&body, "longer");
            assert_eq!(with_usage, format!(r#"{{"model":"longer","stream_options":{expected}}}"#));
        }
    }

    #[test]
    fn edits_a_replaced_body_where_its_own_members_are() {
        let requested = read(r#"{"model":"m","stream_options":{}}"#);
        let replaced = Bytes::from_static(br#"{"user":"u","model":"m"}"#);
        assert_eq!(requested.with_model(&replaced, "n"), r#"{"user":"u","model":"n"}"#);
        let usage = r#"{"user":"u","model":"n","stream_options":{"include_usage":true}}"#;
        assert_eq!(requested.with_usage(&replaced, "n"), usage);
        assert_eq!(requested.with_model(&Bytes::from_static(b"{}"), "n"), "{}");
    }

    #[test]
    fn reads_a_replaced_body_again() {
        let mut request = Request::post("/v1/embeddings").body(Buffered::from(r#"{"model":"m"}"#)).unwrap();
        assert_eq!(Requested::of(&mut request), Err(MissingLayer("InspectLayer")));
        let requested = Requested::read(request.body().bytes()).unwrap().with_path("/v1/embeddings");
        request.extensions_mut().insert(requested.clone());
        assert_eq!(Requested::of(&mut request), Ok(&requested));
        // The same length, in the place of the other.
        *request.body_mut() = Buffered::from(r#"{"model":"n"}"#);
        let read = Requested::of(&mut request).unwrap();
        assert_eq!((&*read.model, read.endpoint), ("n", Some(Endpoint::Embeddings)));
        *request.body_mut() = Buffered::from("[]");
        assert_eq!(Requested::of(&mut request), Err(MissingLayer("InspectLayer")));
    }
}
