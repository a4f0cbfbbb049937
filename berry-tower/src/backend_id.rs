//! The id of a backend.

use std::{
    fmt::{self, Display},
    sync::Arc,
};

/// Identifies a backend by its provider and the provider's name of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId {
    /// The provider's id.
    pub provider: Arc<str>,
    /// The provider's name of the model.
    pub model: Arc<str>,
}

impl Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.model)
    }
}
