//! What stands for the metrics in a server that is built without them.

use std::sync::Arc;

use berry_tower::rate_limit::LimitKind;
use http::{Request, StatusCode};
use tokio::time::Instant;

/// Nothing.
#[derive(Debug)]
pub(crate) struct Metrics;

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self)
    }

    pub(crate) fn keep(self: &Arc<Self>) {}

    pub(crate) fn rate_limited(&self, _: LimitKind) {}

    pub(crate) fn cancelled(&self, _: Option<&str>) {}

    pub(crate) fn route(&self, _: &str) -> Known {
        Known
    }
}

/// A route.
#[derive(Clone, Debug)]
pub(crate) struct Known;

/// A request that is not measured.
#[derive(Debug)]
pub(crate) struct Measured;

impl Measured {
    pub(crate) fn new<R>(_: &Arc<Metrics>, _: &mut Request<R>, _: Option<&Known>, _: Instant) -> Self {
        Self
    }

    pub(crate) fn answered(&self) {}

    pub(crate) fn ended(&self, _: Option<StatusCode>, _: Instant) {}
}
