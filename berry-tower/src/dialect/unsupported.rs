//! Fields of a request that a format cannot express.

use std::fmt;

use super::{
    capabilities::{Class, lost},
    value::{Object, Value},
};

/// A field of a request that a backend's format cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsupportedField {
    /// The field, as a path into the caller's request: `messages[2].content[0]`.
    pub param: String,
    /// The reason, in words for the caller.
    pub reason: String,
    /// The error code; `None` for `unsupported_parameter`.
    pub code: Option<&'static str>,
}

impl UnsupportedField {
    /// A field and the reason why it cannot be expressed.
    pub fn new(param: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { param: param.into(), reason: reason.into(), code: None }
    }

    /// A field that is not of the format, by the parser's words.
    pub(crate) fn malformed(error: serde_path_to_error::Error<serde_json::Error>) -> Self {
        let path = error.path().to_string();
        let error = error.into_inner();
        // The path says more than a position, which is that in the body after it was rewritten.
        let position = format!(" at line {} column {}", error.line(), error.column());
        let reason = error.to_string();
        Self::new(path, reason.strip_suffix(&position).unwrap_or(&reason))
    }

    /// Sets the error code.
    #[must_use]
    pub const fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }
}

impl fmt::Display for UnsupportedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.param, self.reason)
    }
}

impl std::error::Error for UnsupportedField {}

/// Rejects fields on behalf of a format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rejector(&'static str);

impl Rejector {
    /// Rejects fields that the format of this name lacks.
    pub(crate) const fn new(format: &'static str) -> Self {
        Self(format)
    }

    /// Rejects the first of an object's members that is essential, and notes those that are optional; the object
    /// is at `path`, which is empty for the request itself.
    ///
    /// # Errors
    /// The essential member.
    pub(crate) fn members(
        self,
        path: &str,
        members: &Object,
        class: fn(&str, &Value) -> Class,
        dropped: &mut Vec<String>,
    ) -> Result<(), UnsupportedField> {
        let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        dropped.extend(lost(members, class).map_err(|name| self.reject(at(name)))?.map(at));
        Ok(())
    }

    /// Returns the rejection of one field. The text begins as that of Anthropic's API, which agents know.
    pub(crate) fn reject(self, path: impl Into<String>) -> UnsupportedField {
        UnsupportedField::new(path, format!("Extra inputs are not permitted ({} cannot express this field)", self.0))
    }
}
