//! The caller and the model of a request, for the access log.

use std::sync::{Arc, OnceLock};

use berry_tower::inspect::Requested;
use http::Extensions;

use crate::config::build::Caller;

/// The caller of a request and the model that it asks for.
///
/// The access log puts an empty one into the request's extensions. The layers behind it fill it in, so that the log can
/// name the user of a refused request, and the model of a request whose client has left.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestIdentity(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    caller: OnceLock<Arc<Caller>>,
    model: OnceLock<Arc<str>>,
}

impl RequestIdentity {
    pub(super) fn caller(&self) -> Option<&Arc<Caller>> {
        self.0.caller.get()
    }

    /// Returns the model's name as the client wrote it.
    pub(super) fn model(&self) -> Option<&str> {
        self.0.model.get().map(|model| &**model)
    }

    /// Copies the caller and the model from a request's extensions, as far as they are there.
    pub(crate) fn fill_from(extensions: &Extensions) {
        let Some(Self(inner)) = extensions.get() else { return };
        if let Some(caller) = extensions.get::<Arc<Caller>>() {
            let _ = inner.caller.set(caller.clone());
        }
        if let Some(requested) = extensions.get::<Requested>() {
            let _ = inner.model.set(requested.model.clone());
        }
    }
}
