//! Fields of a request that a format cannot express.

use std::fmt;

use super::value::Value;

/// A field of a request that a backend's format cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsupportedField {
    /// The field, as a path into the caller's request: `messages[2].content[0]`.
    pub param: String,
    /// The reason, in words for the caller.
    pub reason: String,
}

impl UnsupportedField {
    /// A field and the reason why it cannot be expressed.
    pub fn new(param: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { param: param.into(), reason: reason.into() }
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

    /// Rejects the first of an object's members that means something; the object is at `path`.
    pub(crate) fn members<'a>(
        self,
        path: &str,
        members: impl IntoIterator<Item = (&'a String, &'a Value)>,
    ) -> Result<(), UnsupportedField> {
        match members.into_iter().find(|(name, value)| !is_neutral(value) && *name != "cache_control") {
            Some((name, _)) if path.is_empty() => Err(self.reject(name)),
            Some((name, _)) => Err(self.reject(format!("{path}.{name}"))),
            None => Ok(()),
        }
    }

    /// Returns the rejection of one field. The text begins as that of Anthropic's API, which agents know.
    pub(crate) fn reject(self, path: impl Into<String>) -> UnsupportedField {
        UnsupportedField::new(path, format!("Extra inputs are not permitted ({} cannot express this field)", self.0))
    }
}

/// Whether a value says no more than the member's absence.
fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.values().all(is_neutral),
        _ => false,
    }
}
