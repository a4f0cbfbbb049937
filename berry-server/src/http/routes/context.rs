//! What the handlers read: the snapshot, the metrics and history, and the handle for reloads.

use std::sync::Arc;

use axum::extract::FromRef;

use crate::{observability::Observability, reload::Reloader, state::Snapshot};

/// The state of the router. Handlers extract the part that they need.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) observability: Observability,
    reloader: Reloader,
}

impl Context {
    pub(crate) fn new(snapshot: Arc<Snapshot>, observability: Observability, reloader: Reloader) -> Self {
        Self { snapshot, observability, reloader }
    }
}

impl FromRef<Context> for Arc<Snapshot> {
    fn from_ref(context: &Context) -> Self {
        context.snapshot.clone()
    }
}

impl FromRef<Context> for Observability {
    fn from_ref(context: &Context) -> Self {
        context.observability.clone()
    }
}

impl FromRef<Context> for Reloader {
    fn from_ref(context: &Context) -> Self {
        context.reloader.clone()
    }
}
