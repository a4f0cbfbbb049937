//! The names, descriptions, types and buckets of all metrics.

use super::histogram::Bounds;

/// The label for everything that the configuration does not name.
pub(super) const OTHER: &str = "other";

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number that only rises.
    Counter,
    /// A number that rises and falls.
    Gauge,
    /// Observations in buckets of these bounds.
    Histogram(&'static Bounds),
}

macro_rules! metrics {
    ($($id:ident: $name:literal, $kind:expr, $unit:literal, $help:literal;)+) => {
        /// A metric of the server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Metric { $(#[doc = $help] $id,)+ }

        impl Metric {
            /// All metrics, in the order of the output.
            pub(crate) const ALL: [Self; [$($name),+].len()] = [$(Self::$id),+];

            /// The name in Prometheus's text format and in OTLP.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$id => $name,)+ }
            }

            /// Whether the metric is in Prometheus's format too, whose names have no dots. The others are exported by OTLP
            /// alone, and Prometheus has their content in another form.
            pub(super) fn is_in_prometheus(self) -> bool {
                !self.name().contains('.')
            }

            /// The description.
            pub(crate) const fn help(self) -> &'static str {
                match self { $(Self::$id => $help,)+ }
            }

            #[cfg(feature = "otlp")]
            /// The unit by UCUM; `1` for a ratio or a state.
            pub(crate) const fn unit(self) -> &'static str {
                match self { $(Self::$id => $unit,)+ }
            }

            pub(crate) const fn kind(self) -> Kind {
                match self { $(Self::$id => $kind,)+ }
            }
        }
    };
}

use Kind::{Counter, Gauge, Histogram};

metrics! {
    Requests: "http_requests_total", Counter, "{request}", "Requests of clients, counted when their responses have ended.";
    Duration: "http_request_duration_seconds", Histogram(&Bounds::SECONDS), "s", "Time from the head of a request to the end of its response.";
    InFlight: "http_requests_in_flight", Gauge, "{request}", "Requests in flight.";
    Latency: "backend_latency_seconds", Histogram(&Bounds::SECONDS), "s", "Time from the start of an attempt to the head of the backend's response.";
    AttemptDuration: "backend_request_duration_seconds", Histogram(&Bounds::SECONDS), "s", "Time from the start of an attempt to the end of its response.";
    FirstToken: "backend_time_to_first_token_seconds", Histogram(&Bounds::SECONDS), "s", "Time from the start of a streamed attempt to the first output.";
    PerOutputToken: "backend_time_per_output_token_seconds", Histogram(&Bounds::PER_TOKEN), "s", "Time per output token of a stream, after the first one.";
    TokensPerSecond: "backend_output_tokens_per_second", Gauge, "{token}/s", "Output tokens per second of the attempts that ended in the last minute.";
    TokenUsage: "gen_ai.client.token.usage", Histogram(&Bounds::TOKENS), "{token}", "Tokens of an attempt, as the backend counts them.";
    Retries: "berry_retries_total", Counter, "{attempt}", "Attempts after the first, by the class of the failure before.";
    RetryBudget: "berry_retry_budget_remaining", Gauge, "{attempt}", "Retries that the retry budget still allows now.";
    RateLimited: "berry_rate_limited_total", Counter, "{request}", "Requests refused by a rate limit.";
    LimitOvershoot: "berry_limit_overshoot_tokens_total", Counter, "{token}", "Tokens that requests have used beyond those that their limits had reserved.";
    Cancelled: "berry_client_cancelled_total", Counter, "{request}", "Requests whose client left before the end of the response.";
    DroppedFields: "berry_dropped_fields_total", Counter, "{field}", "Optional fields left out of upstream requests, because the backend's format cannot express them.";
    Tokens: "berry_tokens_total", Counter, "{token}", "Tokens as the backends count them; input includes cached ones.";
    Overhead: "berry_gateway_overhead_seconds", Histogram(&Bounds::OVERHEAD), "s", "Time in the gateway alone, without upstreams, to the first byte of the response.";
    Queued: "berry_requests_queued", Gauge, "{request}", "Requests that wait for a free connection slot.";
    LogLinesDropped: "berry_log_lines_dropped_total", Counter, "{line}", "Log lines that were dropped because standard output did not keep up.";
    TelemetryDropped: "berry_telemetry_dropped_total", Counter, "{item}", "Requests and series of metrics that could not be exported by OTLP.";
    StoreUp: "berry_store_up", Gauge, "1", "1 if the shared store of limits can be reached, else 0.";
    StoreOutages: "berry_store_outages_total", Counter, "{outage}", "Outages of the shared store of limits.";
    StoreErrors: "berry_store_errors_total", Counter, "{call}", "Calls of the shared store of limits that failed or had no answer in time.";
    StoreReplicas: "berry_store_replicas", Gauge, "{replica}", "Replicas that shared the store of limits lately, this one included.";
    DatabaseUp: "berry_database_up", Gauge, "1", "1 if the database answered the last statement, else 0.";
    Keys: "berry_runtime_keys", Gauge, "{key}", "Tokens of keys that were made at run time, in memory.";
    LedgerRows: "berry_ledger_rows_total", Counter, "{row}", "Rows of the ledger that were written, or dropped because the queue was full.";
    LedgerQueued: "berry_ledger_queued", Gauge, "{row}", "Rows of the ledger that wait to be written.";
    Health: "backend_health_status", Gauge, "1", "1 for a healthy or recovering backend, else 0.";
    Attempts: "backend_request_count_total", Counter, "{attempt}", "Attempts of users that have ended, without probes.";
    Errors: "backend_error_count_total", Counter, "{attempt}", "Failed attempts, without errors of the caller and cancelled ones.";
    BackendInFlight: "backend_in_flight", Gauge, "{attempt}", "Attempts in flight.";
    Selections: "load_balance_selections_total", Counter, "{selection}", "Selections of a provider by a model's strategy.";
    Confidence: "smart_ai_confidence_score", Gauge, "1", "The confidence in a backend, from 0 to 1.";
    Circuit: "circuit_breaker_state", Gauge, "1", "0 closed, 1 half-open, 2 open.";
    Transitions: "circuit_breaker_transitions_total", Counter, "{transition}", "Changes of the circuit breaker, by its new state.";
    ReloadOk: "berry_config_last_reload_success", Gauge, "1", "1 if the configuration that was loaded last is in force, 0 if it was refused.";
    ReloadAt: "berry_config_last_reload_timestamp_seconds", Gauge, "s", "Time at which a configuration was last loaded.";
    Build: "berry_build_info", Gauge, "1", "1, with the version as a label.";
}
