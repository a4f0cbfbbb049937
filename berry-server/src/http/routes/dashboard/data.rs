//! The data of the dashboard, in one response.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use berry_tower::backend::Model as Served;
use serde::Serialize;

use crate::{
    http::routes::{
        health::HealthCounts,
        status::{BackendReport, Moment, backend_reports, millis, rfc3339, state},
    },
    observability::{
        Observability,
        history::{self, EventKind, History, Point, STEP},
    },
    state::Snapshot,
};

/// The response of `/dashboard/data`.
#[derive(Serialize)]
pub(in crate::http::routes) struct Data {
    /// `healthy`, `degraded` or `unhealthy`, as `/health` says.
    status: &'static str,
    /// Whether the server is draining.
    draining: bool,
    /// The time of the response.
    timestamp: String,
    /// The time since the server started.
    uptime_seconds: u64,
    /// The time at which the configuration in force was loaded.
    loaded_at: String,
    /// The result of the last reload.
    last_reload: Option<LastReload>,
    /// In the order of the configuration.
    models: Vec<Model>,
    /// The last minute.
    latest: Latest,
    /// The last 15 minutes.
    history: Series,
    /// The last failed attempts and changes of state, the latest first.
    events: Vec<Event>,
}

/// The result of a reload, without its errors, which are for admins.
#[derive(Serialize)]
struct LastReload {
    at: String,
    /// Whether the new configuration is in force.
    ok: bool,
    /// The number of errors.
    errors: usize,
}

/// A model and its backends.
#[derive(Serialize)]
struct Model {
    /// The public name.
    name: String,
    /// The strategy.
    strategy: &'static str,
    /// Whether it is enabled.
    enabled: bool,
    /// The models that are used when it has no backend left.
    fallbacks: Vec<String>,
    /// In the order of the configuration.
    backends: Vec<Backend>,
}

/// The state of a backend. Its counters include the attempts of all models that share it.
#[derive(Serialize)]
struct Backend {
    /// The provider's id.
    provider: String,
    /// The provider's name of the model.
    model: String,
    /// `disabled`, `open`, `half_open`, `cooling_down`, `full`, or the stage of its health.
    state: &'static str,
    /// Whether it can serve: enabled, healthy or recovering, neither open nor cooling down.
    usable: bool,
    /// The time until its breaker or cool-down admits a request.
    retry_in_seconds: Option<f64>,
    /// The weight in the configuration.
    weight: f64,
    /// The weight that the strategy uses now.
    effective_weight: f64,
    /// Its priority; lower is preferred.
    priority: u8,
    /// Whether it has the tag `premium`, which makes it the reserve.
    premium: bool,
    /// The confidence, from 0 to 1.
    confidence: f64,
    /// Requests in flight.
    in_flight: u32,
    /// The most requests in flight; 0 if there is no bound.
    max_in_flight: u32,
    /// The attempts of users that have ended.
    requests: u64,
    /// The failed attempts.
    errors: u64,
    /// The failed attempts by class.
    errors_by_class: BTreeMap<&'static str, u64>,
    /// The class of the last failure.
    last_error: Option<&'static str>,
    /// The moving average of the time to the first byte.
    latency_ms: Option<f64>,
    /// The moving average of the time to a stream's first output.
    first_token_ms: Option<f64>,
}

/// The last minute.
#[derive(Serialize)]
struct Latest {
    /// The length of the period: a little more than a minute, or less after a start.
    seconds: f64,
    /// Model requests that ended.
    requests: u64,
    /// Those that failed or were interrupted.
    failed: u64,
    /// Those that were refused.
    refused: u64,
    /// Output tokens.
    tokens: u64,
    /// The median time to the end of the response.
    p50_ms: Option<f64>,
    /// The 95th percentile of that time.
    p95_ms: Option<f64>,
}

/// The last 15 minutes in steps. Each list has one entry per step, the oldest first.
#[derive(Serialize)]
struct Series {
    step_seconds: u64,
    /// The end of the last step, in seconds since 1970.
    until: f64,
    requests: Vec<u64>,
    failed: Vec<u64>,
    refused: Vec<u64>,
    tokens: Vec<u64>,
    p50_ms: Vec<Option<f64>>,
    p95_ms: Vec<Option<f64>>,
}

/// A failed attempt, or a change of a backend's state.
#[derive(Serialize)]
struct Event {
    at: String,
    provider: String,
    model: String,
    #[serde(flatten)]
    kind: Kind,
}

/// The kind of an event.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    /// An attempt failed.
    Attempt { class: &'static str, status: Option<u16>, reason: Option<String> },
    /// The health changed.
    Health { from: &'static str, to: &'static str },
    /// The circuit breaker changed.
    Breaker { from: &'static str, to: &'static str },
}

impl Model {
    fn of(model: &Served, moment: &Moment) -> Self {
        Self {
            name: model.name().to_string(),
            strategy: model.strategy().name(),
            enabled: model.is_enabled(),
            fallbacks: model.fallbacks().iter().map(ToString::to_string).collect(),
            backends: backend_reports(model, moment).iter().map(Backend::of).collect(),
        }
    }
}

impl Backend {
    fn of(report: &BackendReport<'_>) -> Self {
        let (backend, live) = (report.backend, &report.state);
        let view = &live.view;
        Self {
            provider: report.provider(),
            model: report.model(),
            state: state(backend, view, live.circuit),
            usable: report.is_enabled() && view.is_healthy() && view.is_free(),
            retry_in_seconds: (!view.is_free()).then(|| view.free_in().as_secs_f64()),
            weight: backend.weight(),
            effective_weight: report.effective_weight,
            priority: backend.priority(),
            premium: backend.is_premium(),
            confidence: view.confidence,
            in_flight: view.in_flight,
            max_in_flight: backend.max_in_flight(),
            requests: live.requests(),
            errors: live.errors(),
            errors_by_class: live.errors_by_class().filter(|(_, n)| *n > 0).collect(),
            last_error: live.last_error,
            latency_ms: live.average_latency.map(millis),
            first_token_ms: live.average_first_token.map(millis),
        }
    }
}

impl Latest {
    fn of(history: &History, moment: &Moment) -> Self {
        let (point, during) = history.series.latest(moment.now);
        let Point { requests, failed, refused, tokens, p50, p95 } = point;
        Self { seconds: during.as_secs_f64(), requests, failed, refused, tokens, p50_ms: p50, p95_ms: p95 }
    }
}

impl Series {
    fn of(history: &History, moment: &Moment) -> Self {
        let (points, ended): (Vec<Point>, Duration) = history.series.points(moment.now);
        let count = |of: fn(&Point) -> u64| points.iter().map(of).collect();
        Self {
            step_seconds: STEP.as_secs(),
            until: moment.wall.as_millisecond() as f64 / 1e3 - ended.as_secs_f64(),
            requests: count(|point| point.requests),
            failed: count(|point| point.failed),
            refused: count(|point| point.refused),
            tokens: count(|point| point.tokens),
            p50_ms: points.iter().map(|point| point.p50).collect(),
            p95_ms: points.iter().map(|point| point.p95).collect(),
        }
    }
}

impl Event {
    fn of(event: &history::Event) -> Self {
        Self {
            at: rfc3339(event.at),
            provider: event.backend.provider.to_string(),
            model: event.backend.model.to_string(),
            kind: match &event.kind {
                EventKind::Failed { class, status, reason } => {
                    Kind::Attempt { class, status: *status, reason: reason.clone() }
                }
                EventKind::Health { from, to } => Kind::Health { from: from.name(), to: to.name() },
                EventKind::Breaker { from, to } => Kind::Breaker { from, to },
            },
        }
    }
}

/// `GET /dashboard/data`
///
/// The state of every model and its backends, the last 15 minutes of requests, and the last
/// failures and changes of state.
pub(in crate::http::routes) async fn data(
    State(snapshot): State<Arc<Snapshot>>,
    State(observability): State<Observability>,
) -> Json<Data> {
    let moment = Moment::now();
    let history = &observability.history;
    Json(Data {
        status: HealthCounts::of(&snapshot).status(),
        draining: snapshot.process.is_draining(),
        timestamp: moment.timestamp(),
        uptime_seconds: snapshot.process.uptime().as_secs(),
        loaded_at: rfc3339(snapshot.loaded_at),
        last_reload: snapshot.process.last_reload.load().as_deref().map(|last| LastReload {
            at: rfc3339(last.at),
            ok: last.ok,
            errors: last.errors.len(),
        }),
        models: snapshot.catalog.load().models().iter().map(|model| Model::of(model, &moment)).collect(),
        latest: Latest::of(history, &moment),
        history: Series::of(history, &moment),
        events: history.events().iter().map(|event| Event::of(event)).collect(),
    })
}
