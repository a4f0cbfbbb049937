//! Prometheus metrics.
//!
//! Each server has a recorder of its own, so that two of them in one process do not mix their
//! numbers. What happens once and is over, such as a request's duration, is recorded as it happens,
//! by handles that are looked up once for each backend and each route. What is a state, and what
//! backends count anyway, is read at the scrape ([`scrape`]): it costs requests nothing, is never
//! stale, agrees with the status pages, and goes when its backend goes.

mod backends;
mod requests;
mod scrape;

use std::{sync::Arc, time::Duration};

use berry_tower::{observe::Observer, rate_limit::LimitKind};
use metrics::{counter, histogram, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::time::{MissedTickBehavior, interval};

pub(crate) use requests::{RequestMetrics, RouteMetrics};

use crate::state::Snapshot;
use requests::Routes;

/// How often samples are put into their buckets; until then they lie about in memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// The upper bounds of durations, in seconds.
const SECONDS: [f64; 15] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
/// And of the gateway's own time, most of which would be in the first bucket of those.
const OVERHEAD: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// What a server has measured.
#[derive(Debug)]
pub(crate) struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    routes: Routes,
}

impl Metrics {
    /// Nothing yet.
    pub(crate) fn new() -> Arc<Self> {
        let recorder = Arc::new(recorder());
        describe(&recorder, &RECORDED);
        Arc::new(Self { handle: recorder.handle(), routes: Routes::new(&recorder), recorder })
    }

    /// Keeps the samples in order, as long as anybody holds the metrics.
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

    /// Who is to be told of what happens to backends.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(backends::Backends::new(self.recorder.clone()))
    }

    /// A request was refused since its user has reached a limit.
    pub(crate) fn rate_limited(&self, limit: LimitKind) {
        with_local_recorder(&*self.recorder, || counter!(RATE_LIMITED, "reason" => limit.name()).increment(1));
    }

    /// The client of a request for this model, by its public name, has left before the end.
    pub(crate) fn cancelled(&self, model: Option<&str>) {
        let model = model.unwrap_or(OTHER).to_owned();
        with_local_recorder(&*self.recorder, || counter!(CANCELLED, "model" => model).increment(1));
    }

    /// All that there is to tell, in Prometheus's text format.
    pub(crate) fn render(&self, snapshot: &Snapshot) -> String {
        let mut text = self.handle.render();
        text.push_str(&scrape::render(snapshot));
        text
    }
}

/// What stands for everything that the configuration does not name.
const OTHER: &str = "other";

const REQUESTS: &str = "http_requests_total";
const DURATION: &str = "http_request_duration_seconds";
const IN_FLIGHT: &str = "http_requests_in_flight";
const LATENCY: &str = "backend_latency_seconds";
const FIRST_TOKEN: &str = "backend_time_to_first_token_seconds";
const RETRIES: &str = "berry_retries_total";
const RATE_LIMITED: &str = "berry_rate_limited_total";
const CANCELLED: &str = "berry_client_cancelled_total";
const TOKENS: &str = "berry_tokens_total";
const GATEWAY: &str = "berry_gateway_overhead_seconds";

/// What is recorded as it happens, and what it is.
const RECORDED: [(&str, &str); 10] = [
    (REQUESTS, "Requests by clients, counted when their answers have ended."),
    (DURATION, "From the head of a request to the end of its answer."),
    (IN_FLIGHT, "Requests that are being served."),
    (LATENCY, "From the start of an attempt to the head of the backend's answer."),
    (FIRST_TOKEN, "From the start of a streamed attempt to the first output."),
    (RETRIES, "Attempts after the first, by what the attempt before has failed with."),
    (RATE_LIMITED, "Requests refused for a limit of their user."),
    (CANCELLED, "Requests whose client has left before the end of the answer."),
    (TOKENS, "Tokens as the backends count them; input holds the cached ones."),
    (GATEWAY, "Time in the gateway alone, upstreams aside, to the first byte of the answer."),
];

fn recorder() -> PrometheusRecorder {
    let builder = PrometheusBuilder::new();
    // They fail for want of buckets only.
    let builder = match builder.set_buckets(&SECONDS) {
        Ok(builder) => builder.set_buckets_for_metric(Matcher::Full(GATEWAY.to_owned()), &OVERHEAD),
        Err(error) => Err(error),
    };
    builder.unwrap_or_default().build_recorder()
}

/// Says what each metric is.
fn describe(recorder: &PrometheusRecorder, what: &[(&'static str, &'static str)]) {
    use metrics::Recorder;
    for (name, help) in what {
        // The exporter keeps one description for a name, whatever its kind.
        recorder.describe_counter((*name).into(), None, (*help).into());
    }
}

/// A histogram without labels.
fn plain_histogram(recorder: &PrometheusRecorder, name: &'static str) -> metrics::Histogram {
    with_local_recorder(recorder, || histogram!(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_guide_tells_of_every_metric_and_of_no_other() {
        let guide = include_str!("../../../docs/operations.md");
        let table = guide.split("## Metrics").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let told: BTreeSet<&str> = rows.map(|line| line.split('`').nth(1).unwrap()).collect();
        let there: BTreeSet<&str> = RECORDED.iter().chain(&scrape::READ).map(|(name, _)| *name).collect();
        assert_eq!(told, there);
    }
}
