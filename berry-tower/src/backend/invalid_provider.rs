//! The error of a provider that cannot be created.

use std::fmt;

/// Returned when a provider cannot be created; the text says which part is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProvider(pub &'static str);

impl fmt::Display for InvalidProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidProvider {}
