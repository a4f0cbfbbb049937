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
            // The backend reports the error to the client.
            None => (false, None),
        };
        Self { include_usage, at: Some(at), edit }
    }
}

#[cfg(test)]
mod tests;
