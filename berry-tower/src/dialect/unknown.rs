//! Members that a format has no words for.

use serde_json::Value;

use super::Inexpressible;

/// Refuses the members that are not in the types, for a format by its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unknown(&'static str);

impl Unknown {
    /// For the format of this name.
    pub(crate) const fn to(format: &'static str) -> Self {
        Self(format)
    }

    /// Refuses the first of an object's members that says anything; the object stands at `path`.
    pub(crate) fn members<'a>(
        self,
        path: &str,
        members: impl IntoIterator<Item = (&'a String, &'a Value)>,
    ) -> Result<(), Inexpressible> {
        match members.into_iter().find(|(name, value)| !is_neutral(value) && *name != "cache_control") {
            Some((name, _)) if path.is_empty() => Err(self.refuse(name)),
            Some((name, _)) => Err(self.refuse(format!("{path}.{name}"))),
            None => Ok(()),
        }
    }

    /// The refusal of this field.
    pub(crate) fn refuse(self, path: impl Into<String>) -> Inexpressible {
        Inexpressible::new(path, format!("{} has no words for it", self.0))
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
