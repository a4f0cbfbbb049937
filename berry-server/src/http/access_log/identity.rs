//! The caller of a request, for the access log.

use std::sync::{Arc, OnceLock};

use http::Extensions;

use crate::config::build::Caller;

/// The caller of a request.
///
/// The access log puts an empty one into the request's extensions. The layers behind the authentication fill it in, so that
/// the log can name the user of a refused request.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestIdentity(Arc<OnceLock<Arc<Caller>>>);

impl RequestIdentity {
    pub(super) fn caller(&self) -> Option<&Arc<Caller>> {
        self.0.get()
    }

    /// Copies the caller from a request's extensions, if it is there.
    pub(crate) fn fill_from(extensions: &Extensions) {
        if let (Some(Self(slot)), Some(caller)) = (extensions.get(), extensions.get::<Arc<Caller>>()) {
            let _ = slot.set(caller.clone());
        }
    }
}
