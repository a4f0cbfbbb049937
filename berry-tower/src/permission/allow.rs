//! The trait that decides which models a caller may use, and a list of names.

use std::{collections::HashSet, sync::Arc};

/// Decides whether a caller may use a model.
///
/// The name is the one that the client wrote. A model that does not exist should be allowed: the
/// layer that routes the request then answers 404 to every caller alike.
pub trait Allow<I> {
    /// Returns whether `identity` may use `model`.
    fn allows(&self, identity: &I, model: &str) -> bool;
}

impl<F, I> Allow<I> for F
where
    F: Fn(&I, &str) -> bool,
{
    fn allows(&self, identity: &I, model: &str) -> bool {
        self(identity, model)
    }
}

/// The models that a caller may use: all of them, or those of a list. An empty list allows none.
///
/// A clone costs a reference count.
///
/// ```
/// use berry_tower::permission::AllowedModels;
///
/// let some = AllowedModels::from_iter(["fast", "cheap"]);
/// assert!(some.contains("fast"));
/// assert!(!some.contains("large"));
/// assert!(AllowedModels::all().contains("large"));
/// assert!(!AllowedModels::from_iter([""; 0]).contains("fast"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedModels(Option<Arc<HashSet<Box<str>>>>);

impl AllowedModels {
    /// Allows every model.
    #[must_use]
    pub const fn all() -> Self {
        Self(None)
    }

    /// Returns whether `model` is allowed.
    #[must_use]
    pub fn contains(&self, model: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(model))
    }

    /// Returns whether every model is allowed.
    #[must_use]
    pub const fn allows_all(&self) -> bool {
        self.0.is_none()
    }
}

impl<T: Into<Box<str>>> FromIterator<T> for AllowedModels {
    fn from_iter<N: IntoIterator<Item = T>>(names: N) -> Self {
        Self(Some(Arc::new(names.into_iter().map(Into::into).collect())))
    }
}
