//! The metrics of a server that is built without them.

use std::sync::Arc;

use berry_tower::{rate_limit::LimitKind, spend::LimitReached};
use http::{Request, StatusCode};
use tokio::time::Instant;

/// No metrics.
#[derive(Debug)]
pub(crate) struct Metrics;

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self)
    }

    pub(crate) fn rate_limited(&self, _: LimitKind) {}

    pub(crate) fn limit_reached(&self, _: &LimitReached) {}

    pub(crate) fn limit_overshoot(&self, _: u64) {}

    pub(crate) fn cancelled(&self, _: Option<&str>) {}

    pub(crate) fn dropped_fields(&self, _: &str) {}

    pub(crate) fn route(&self, _: &str) -> RouteMetrics {
        RouteMetrics
    }

    pub(crate) fn start<R>(&self, _: &mut Request<R>, _: Option<&RouteMetrics>, _: Instant) -> RequestMetrics {
        RequestMetrics
    }
}

/// A route without metrics.
#[derive(Clone, Debug)]
pub(crate) struct RouteMetrics;

/// A request that is not measured.
#[derive(Debug)]
pub(crate) struct RequestMetrics;

impl RequestMetrics {
    pub(crate) fn record_head(&self) {}

    pub(crate) fn record_end(&self, _: Option<StatusCode>, _: Instant) {}
}
