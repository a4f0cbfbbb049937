//! Who asks, and for what, as far as the layers behind have found out.

use std::sync::{Arc, OnceLock};

use berry_tower::inspect::Requested;
use http::Extensions;

use crate::config::build::Caller;

/// Who a request turned out to be from, and what it is for. It goes down with the request, to be
/// filled in behind the authentication, since refusals of the layers behind that are to name the
/// user too, and requests that their clients have left the model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Who(Arc<Learnt>);

#[derive(Debug, Default)]
struct Learnt {
    caller: OnceLock<Arc<Caller>>,
    model: OnceLock<Arc<str>>,
}

impl Who {
    /// The user.
    pub(super) fn caller(&self) -> Option<&Arc<Caller>> {
        self.0.caller.get()
    }

    /// What the client calls the model that it asks for.
    pub(super) fn model(&self) -> Option<&str> {
        self.0.model.get().map(|model| &**model)
    }

    /// Fills it in from what the layers outside have put there.
    pub(crate) fn learn(extensions: &Extensions) {
        let Some(Self(learnt)) = extensions.get() else { return };
        if let Some(caller) = extensions.get::<Arc<Caller>>() {
            let _ = learnt.caller.set(caller.clone());
        }
        if let Some(requested) = extensions.get::<Requested>() {
            let _ = learnt.model.set(requested.model.clone());
        }
    }
}
