//! The metrics of one server.
//!
//! Events, such as the end of a request, are counted as they happen, in copies per thread ([`sharded`]) that are looked up
//! once per backend and route. States, and what backends count themselves, are read at the scrape ([`states`]): they cost
//! requests nothing, agree with the status pages, and disappear with their backend.

mod backends;
mod histogram;
mod labelled;
mod names;
mod requests;
pub(crate) mod scrape;
pub(crate) mod sharded;
mod states;
mod text;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use berry_tower::{
    observe::Observer,
    rate_limit::LimitKind,
    spend::{LimitReached, Measure},
};
use http::Request;
use tokio::time::Instant;

#[cfg(feature = "otlp")]
pub(crate) use names::Kind;
pub(crate) use names::Metric;
pub(crate) use requests::{RequestMetrics, RouteMetrics};

use crate::state::Snapshot;
use backends::{BackendMetrics, Backends};
use labelled::LabelledCounters;
use names::OTHER;
use requests::Routes;
use scrape::Scrape;

/// The metrics of one server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    routes: Arc<Routes>,
    backends: Arc<Backends>,
    rate_limited: LabelledCounters<1>,
    cancelled: LabelledCounters<1>,
    dropped_fields: LabelledCounters<1>,
    telemetry_dropped: LabelledCounters<1>,
    limit_overshoot: AtomicU64,
}

impl Metrics {
    /// Creates empty metrics.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Returns the observer of the backends.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(BackendMetrics(self.backends.clone()))
    }

    /// Counts a request that was refused by a rate limit.
    pub(crate) fn rate_limited(&self, limit: LimitKind) {
        self.rate_limited.add([limit.name().into()], 1);
    }

    /// Counts a request that a limit of tokens or cost refused, or one that replicas share.
    pub(crate) fn limit_reached(&self, limit: &LimitReached) {
        self.rate_limited.add([reason(limit).into()], 1);
    }

    /// Counts tokens that a request has used beyond those that its limits had reserved.
    pub(crate) fn limit_overshoot(&self, tokens: u64) {
        self.limit_overshoot.fetch_add(tokens, Relaxed);
    }

    /// Counts a request whose client left before the end, by the model's public name.
    pub(crate) fn cancelled(&self, model: Option<&str>) {
        self.cancelled.add([model.unwrap_or(OTHER).into()], 1);
    }

    /// Counts the fields that were left out of an upstream request, a list separated by commas.
    pub(crate) fn dropped_fields(&self, fields: &str) {
        for field in fields.split(',') {
            self.dropped_fields.add([field.trim().into()], 1);
        }
    }

    /// Counts what could not be exported: `traces` or `metrics`.
    #[cfg(feature = "otlp")]
    pub(crate) fn telemetry_dropped(&self, signal: &str, n: u64) {
        self.telemetry_dropped.add([signal.into()], n);
    }

    /// Returns the metrics of the route with this path.
    pub(crate) fn route(&self, path: &str) -> RouteMetrics {
        self.routes.route(path)
    }

    /// Begins to measure a request whose head has arrived. Without `route`, the router has found it.
    pub(crate) fn start<R>(
        &self,
        request: &mut Request<R>,
        route: Option<&RouteMetrics>,
        started: Instant,
    ) -> RequestMetrics {
        RequestMetrics::new(&self.routes, request, route, started)
    }

    /// Reads all metrics.
    pub(crate) fn scrape(&self, snapshot: &Snapshot) -> Scrape {
        let mut scrape = Scrape::new();
        self.routes.read(&mut scrape);
        self.backends.read(&mut scrape);
        let labelled = [
            (Metric::RateLimited, "reason", &self.rate_limited),
            (Metric::Cancelled, "model", &self.cancelled),
            (Metric::DroppedFields, "field", &self.dropped_fields),
            (Metric::TelemetryDropped, "signal", &self.telemetry_dropped),
        ];
        for (metric, label, counters) in labelled {
            for ([value], count) in counters.read() {
                scrape.count(metric, vec![(label, value.to_string())], count);
            }
        }
        scrape.count(Metric::LimitOvershoot, Vec::new(), self.limit_overshoot.load(Relaxed));
        states::read(snapshot, &mut scrape);
        scrape
    }

    /// Returns all metrics in Prometheus's text format.
    pub(crate) fn render(&self, snapshot: &Snapshot) -> String {
        text::encode(&self.scrape(snapshot))
    }
}

/// Returns the label of a limit.
fn reason(limit: &LimitReached) -> String {
    match limit.measure() {
        Measure::Requests | Measure::Concurrency => limit.window().to_owned(),
        measure => format!("{}_{}", measure.name(), limit.window().trim_start_matches("utc_")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_guide_lists_exactly_the_metrics() {
        let guide = include_str!("../../../docs/operations.md");
        let table = guide.split("## Metrics").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let listed: BTreeSet<&str> = rows.map(|line| line.split('`').nth(1).unwrap()).collect();
        let expected: BTreeSet<&str> =
            Metric::ALL.into_iter().filter(|metric| metric.is_in_prometheus()).map(Metric::name).collect();
        assert_eq!(listed, expected);
    }
}
