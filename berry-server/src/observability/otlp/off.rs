//! The export of a server that is built without it.

use std::sync::Arc;

use http::{Extensions, HeaderMap};

use super::metrics::Metrics;
use crate::{config::Telemetry, state::Snapshot};

/// No export.
#[derive(Debug, Default)]
pub(crate) struct Otlp;

/// Never made.
#[derive(Clone, Debug)]
pub(crate) enum RequestTrace {}

impl RequestTrace {
    pub(crate) fn insert_into(&self, _: &mut Extensions) {}
}

impl Otlp {
    pub(crate) fn start(_: &Telemetry, _: &HeaderMap) -> Option<RequestTrace> {
        None
    }

    pub(crate) fn export(&self, _: &Arc<Snapshot>, _: &Arc<Metrics>) {}

    #[expect(clippy::unused_async, reason = "the same as with the feature")]
    pub(crate) async fn flush(&self) {}
}
