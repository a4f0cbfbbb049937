//! The names and descriptions of the metrics that are recorded as they happen.

use metrics::{histogram, with_local_recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

/// The label for everything that the configuration does not name.
pub(super) const OTHER: &str = "other";

pub(super) const REQUESTS: &str = "http_requests_total";
pub(super) const DURATION: &str = "http_request_duration_seconds";
pub(super) const IN_FLIGHT: &str = "http_requests_in_flight";
pub(super) const LATENCY: &str = "backend_latency_seconds";
pub(super) const FIRST_TOKEN: &str = "backend_time_to_first_token_seconds";
pub(super) const RETRIES: &str = "berry_retries_total";
pub(super) const RATE_LIMITED: &str = "berry_rate_limited_total";
pub(super) const CANCELLED: &str = "berry_client_cancelled_total";
pub(super) const TOKENS: &str = "berry_tokens_total";
pub(super) const GATEWAY: &str = "berry_gateway_overhead_seconds";

/// The metrics that are recorded as they happen, with their descriptions.
pub(super) const RECORDED: [(&str, &str); 10] = [
    (REQUESTS, "Requests of clients, counted when their responses have ended."),
    (DURATION, "Time from the head of a request to the end of its response."),
    (IN_FLIGHT, "Requests in flight."),
    (LATENCY, "Time from the start of an attempt to the head of the backend's response."),
    (FIRST_TOKEN, "Time from the start of a streamed attempt to the first output."),
    (RETRIES, "Attempts after the first, by the class of the failure before."),
    (RATE_LIMITED, "Requests refused by a rate limit."),
    (CANCELLED, "Requests whose client left before the end of the response."),
    (TOKENS, "Tokens as the backends count them; input includes cached ones."),
    (GATEWAY, "Time in the gateway alone, without upstreams, to the first byte of the response."),
];

/// Registers the descriptions of metrics.
pub(super) fn describe(recorder: &PrometheusRecorder, what: &[(&'static str, &'static str)]) {
    use metrics::Recorder;
    for (name, help) in what {
        // The exporter keeps one description for a name, whatever its kind.
        recorder.describe_counter((*name).into(), None, (*help).into());
    }
}

/// Returns a histogram without labels.
pub(super) fn plain_histogram(recorder: &PrometheusRecorder, name: &'static str) -> metrics::Histogram {
    with_local_recorder(recorder, || histogram!(name))
}
