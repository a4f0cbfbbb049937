//! Prometheus metrics.
//!
//! Each server has its own recorder, so that two servers in one process do not mix their numbers. Events, such as the end
//! of a request, are recorded as they happen, by handles that are looked up once per backend and route. States, and what
//! backends count themselves, are read at the scrape ([`scrape`]): they cost requests nothing, agree with the status
//! pages, and disappear with their backend.

mod backends;
mod names;
mod requests;
mod scrape;

use std::{sync::Arc, time::Duration};

use berry_tower::{observe::Observer, rate_limit::LimitKind};
use http::Request;
use metrics::{counter, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::time::{Instant, MissedTickBehavior, interval};

pub(crate) use requests::{RequestMetrics, RouteMetrics};

use crate::state::Snapshot;
use names::{CANCELLED, GATEWAY, OTHER, RATE_LIMITED, RECORDED, describe};
use requests::Routes;

/// The interval at which samples are moved into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// The upper bounds of the duration buckets, in seconds.
const SECONDS: [f64; 15] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
/// The upper bounds for the gateway's own time, most of which would fall into the first duration bucket.
const OVERHEAD: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The metrics of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    routes: Arc<Routes>,
}

impl Metrics {
    /// Creates empty metrics.
    pub(crate) fn new() -> Arc<Self> {
        let recorder = Arc::new(recorder());
        describe(&recorder, &RECORDED);
        Arc::new(Self { handle: recorder.handle(), routes: Arc::new(Routes::new(&recorder)), recorder })
    }

    /// Starts the upkeep task, which ends when the metrics are dropped.
    pub(crate) fn keep(self: &Arc<Self>) {
        let kept = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut ticks = interval(UPKEEP);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(metrics) = kept.upgrade() else { break };
                metrics.handle.run_upkeep();
            }
        });
    }

    /// Returns the observer of the backends.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(backends::Backends::new(self.recorder.clone()))
    }

    /// Counts a request that was refused by a rate limit.
    pub(crate) fn rate_limited(&self, limit: LimitKind) {
        with_local_recorder(&*self.recorder, || counter!(RATE_LIMITED, "reason" => limit.name()).increment(1));
    }

    /// Counts a request whose client left before the end, by the model's public name.
    pub(crate) fn cancelled(&self, model: Option<&str>) {
        let model = model.unwrap_or(OTHER).to_owned();
        with_local_recorder(&*self.recorder, || counter!(CANCELLED, "model" => model).increment(1));
    }

    /// Returns the handles of the route with this path.
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

    /// Returns all metrics in Prometheus's text format.
    pub(crate) fn render(&self, snapshot: &Snapshot) -> String {
        let mut text = self.handle.render();
        text.push_str(&scrape::render(snapshot));
        text
    }
}

fn recorder() -> PrometheusRecorder {
    let builder = PrometheusBuilder::new();
    // Setting buckets fails only for an empty list.
    let builder = match builder.set_buckets(&SECONDS) {
        Ok(builder) => builder.set_buckets_for_metric(Matcher::Full(GATEWAY.to_owned()), &OVERHEAD),
        Err(error) => Err(error),
    };
    builder.unwrap_or_default().build_recorder()
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
        let told: BTreeSet<&str> = rows.map(|line| line.split('`').nth(1).unwrap()).collect();
        let there: BTreeSet<&str> = RECORDED.iter().chain(&scrape::READ).map(|(name, _)| *name).collect();
        assert_eq!(told, there);
    }
}
