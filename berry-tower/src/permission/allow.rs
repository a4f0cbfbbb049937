//! Who may use which model: the trait, and a list of names.

use std::{collections::HashSet, sync::Arc};

/// Decides whether a caller may use a model.
///
/// The name is the one that the client wrote. A model that does not exist is best allowed: whoever
/// routes the request then answers 404, the same to everybody.
pub trait Allow<I> {
    /// Whether `who` may use `model`.
    fn allows(&self, who: &I, model: &str) -> bool;
}

impl<F, I> Allow<I> for F
where
    F: Fn(&I, &str) -> bool,
{
    fn allows(&self, who: &I, model: &str) -> bool {
        self(who, model)
    }
}

/// The models that a user may use; an empty list allows all. A clone costs a reference count.
///
/// ```
/// use berry_tower::permission::AllowedModels;
///
/// let some = AllowedModels::from_iter(["fast", "cheap"]);
/// assert!(some.contains("fast"));
/// assert!(!some.contains("dear"));
/// assert!(AllowedModels::default().contains("dear"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedModels(Arc<HashSet<Box<str>>>);

impl AllowedModels {
    /// Whether `model` is allowed.
    #[must_use]
    pub fn contains(&self, model: &str) -> bool {
        self.0.is_empty() || self.0.contains(model)
    }

    /// Whether there is no list, and all models are allowed.
    #[must_use]
    pub fn allows_all(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Into<Box<str>>> FromIterator<T> for AllowedModels {
    fn from_iter<N: IntoIterator<Item = T>>(names: N) -> Self {
        Self(Arc::new(names.into_iter().map(Into::into).collect()))
    }
}
