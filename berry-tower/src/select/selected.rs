//! The extensions of requests and responses that name the selected model and backend.

use std::sync::Arc;

use crate::backend::{Backend, Model};

/// The backend that a request goes to; in its extensions, put by [`Select`](super::Select).
#[derive(Clone, Debug)]
pub struct Selected {
    backend: Arc<Backend>,
    is_last_resort: bool,
    is_last_of_model: bool,
}

impl Selected {
    /// Selects a backend, which is not the last resort.
    #[must_use]
    pub const fn new(backend: Arc<Backend>) -> Self {
        Self { backend, is_last_resort: false, is_last_of_model: false }
    }

    /// Says whether no candidate remains besides this backend.
    #[must_use]
    pub const fn with_last_resort(mut self, is_last_resort: bool) -> Self {
        self.is_last_resort = is_last_resort;
        self
    }

    /// Says whether no other backend of the model is a candidate, whatever its fallbacks have.
    #[must_use]
    pub const fn with_last_of_model(mut self, is_last_of_model: bool) -> Self {
        self.is_last_of_model = is_last_of_model;
        self
    }

    /// Whether no other backend of the model is a candidate.
    #[must_use]
    pub const fn is_last_of_model(&self) -> bool {
        self.is_last_of_model
    }

    /// The backend.
    #[must_use]
    pub const fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Whether no candidate remains besides this backend: the first-token deadline is not enforced.
    #[must_use]
    pub const fn is_last_resort(&self) -> bool {
        self.is_last_resort
    }
}

/// The model that a request is for, or the fallback that replaces it; in the extensions of requests
/// and responses, put by [`Select`](super::Select).
#[derive(Clone, Debug)]
pub struct RoutedModel(Arc<Model>);

impl RoutedModel {
    /// Wraps a model.
    #[must_use]
    pub const fn new(model: Arc<Model>) -> Self {
        Self(model)
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &Arc<Model> {
        &self.0
    }
}
