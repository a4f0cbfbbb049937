//! What the status endpoints share: the time of a response, models by name, reports on backends, and query parameters.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, Query},
    response::{IntoResponse, Response},
};
use berry_tower::{
    backend::{Backend, BackendId, BackendState, BackendStateSnapshot, Model, PREMIUM, View},
    breaker::State as Circuit,
    render::Refusal,
    select::candidates::{ADMIN, SelectionContext, explain},
};
use http::{StatusCode, request::Parts};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tokio::time::Instant;

use super::refusals::refuse;
use crate::state::Snapshot;

/// The time of a response, on the monotonic clock of the states and on the wall clock.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) wall: Timestamp,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { now: Instant::now(), wall: Timestamp::now() }
    }

    /// Returns the wall clock's time as RFC 3339 in UTC.
    pub(super) fn timestamp(&self) -> String {
        rfc3339(self.wall)
    }

    /// Returns the time of an event that happened `ago` before, if it happened.
    pub(super) fn ago(&self, ago: Option<Duration>) -> Option<String> {
        let at = self.wall.checked_sub(jiff::SignedDuration::try_from(ago?).ok()?).ok()?;
        Some(rfc3339(at))
    }
}

/// Formats a time as RFC 3339 in UTC, to the millisecond.
pub(super) fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// The state of one of a model's backends.
pub(super) struct BackendReport<'a> {
    pub(super) backend: &'a Backend,
    pub(super) state: BackendStateSnapshot,
    /// The weight that the strategy uses; 0 for a disabled backend.
    pub(super) effective_weight: f64,
}

impl BackendReport<'_> {
    /// Whether the backend and its provider are enabled.
    pub(super) fn is_enabled(&self) -> bool {
        is_enabled(self.backend)
    }

    /// Whether the backend is healthy or recovering.
    pub(super) fn is_healthy(&self) -> bool {
        self.state.view.is_healthy()
    }

    pub(super) fn provider(&self) -> String {
        self.backend.id().provider.to_string()
    }

    pub(super) fn model(&self) -> String {
        self.backend.id().model.to_string()
    }

    /// Returns the tags, `premium` included.
    pub(super) fn tags(&self) -> Vec<String> {
        let premium = self.backend.is_premium().then_some(PREMIUM);
        self.backend.tags().iter().map(|tag| &**tag).chain(premium).map(str::to_owned).collect()
    }

    pub(super) fn billing_mode(&self) -> &'static str {
        self.backend.billing().name()
    }
}

/// Returns the reports on a model's backends, in the order of the file.
pub(super) fn backend_reports<'a>(model: &'a Model, moment: &Moment) -> Vec<BackendReport<'a>> {
    let admin = [Arc::from(ADMIN)];
    let context = SelectionContext::default().with_tags(&admin);
    let report = |explained: berry_tower::select::candidates::Explained<'a>| BackendReport {
        backend: explained.backend,
        // The view that the weight was computed from, so that the two agree.
        state: BackendStateSnapshot { view: explained.view, ..explained.backend.state().snapshot(moment.now) },
        effective_weight: if is_enabled(explained.backend) { explained.effective_weight } else { 0.0 },
    };
    explain(model, &context, moment.now).into_iter().map(report).collect()
}

/// Returns the name of a backend's state: what excludes it, else the stage of its health.
pub(super) fn state(backend: &Backend, view: &View, circuit: Circuit) -> &'static str {
    match () {
        () if !is_enabled(backend) => "disabled",
        () if circuit.index() != 0 => circuit.name(),
        () if view.cooling.is_some() => "cooling_down",
        () if view.is_full(backend.max_in_flight()) => "full",
        () => view.stage.name(),
    }
}

fn is_enabled(backend: &Backend) -> bool {
    backend.is_enabled()
}

/// Returns the backends of a provider, sorted by name, each once even if several models share it.
pub(super) fn of_provider<'a>(
    catalog: &'a berry_tower::backend::CatalogSnapshot,
    provider: &str,
    moment: &Moment,
) -> Vec<(&'a BackendId, BackendStateSnapshot)> {
    let of = |(id, _): &(&BackendId, &Arc<BackendState>)| &*id.provider == provider;
    let mut found: Vec<_> = catalog.states().filter(of).map(|(id, live)| (id, live.snapshot(moment.now))).collect();
    found.sort_by(|(a, _), (b, _)| a.model.cmp(&b.model));
    found
}

/// Whether a provider is enabled and has a healthy backend; `None` if no model uses it.
pub(super) fn provider_health(enabled: bool, backends: &[(&BackendId, BackendStateSnapshot)]) -> Option<bool> {
    let healthy = |(_, live): &(_, BackendStateSnapshot)| live.view.is_healthy();
    (!backends.is_empty()).then(|| enabled && backends.iter().any(healthy))
}

/// Returns the average time to the first byte over several backends, in milliseconds, weighted by their successes.
pub(super) fn average_latency_ms<'a>(of: impl IntoIterator<Item = &'a BackendStateSnapshot>) -> Option<f64> {
    let measured = of.into_iter().filter_map(|live| Some((live.average_latency?, live.successes().max(1) as f64)));
    let (sum, count) = measured.fold((0.0, 0.0), |(sum, count), (latency, n)| (sum + millis(latency) * n, count + n));
    (count > 0.0).then(|| sum / count)
}

/// Converts a duration to milliseconds.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Returns the model with this public name or table id, disabled or not.
pub(super) fn find_model(snapshot: &Snapshot, name: &str) -> Result<Arc<Model>, Rejection> {
    let catalog = snapshot.catalog.load();
    let models = catalog.models();
    let found =
        models.iter().find(|model| **model.name() == *name).or_else(|| models.iter().find(|m| **m.id() == *name));
    found.cloned().ok_or_else(|| no_such_model("the model does not exist on this gateway"))
}

/// The error response of a handler.
pub(super) struct Rejection(Box<Refusal>);

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        refuse(&self.0)
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(refusal))
    }
}

pub(super) fn no_such_model(message: &'static str) -> Rejection {
    let refusal = Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
    refusal.code("model_not_found").param("model").into()
}

pub(super) fn no_such_user(param: &'static str) -> Rejection {
    let message = "there is no user with this id; use the id in the configuration, not the name or the token";
    let refusal = Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
    refusal.code("user_not_found").param(param).into()
}

/// Returns the rejection of a query without a required parameter.
pub(super) fn missing(param: &'static str) -> Rejection {
    let message = format!("the query needs `{param}`, as in `?{param}=…`");
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message).param(param).into()
}

/// [`Query`] whose rejection has the shape of all errors.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let message = rejection.body_text();
                Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message).into())
            }
        }
    }
}

/// Deserializes a parameter; an empty value counts as absent.
pub(super) fn filled<'de, D: Deserializer<'de>>(text: D) -> Result<Option<String>, D::Error> {
    Ok(Some(String::deserialize(text)?).filter(|text| !text.is_empty()))
}

/// Deserializes a boolean parameter.
pub(super) fn switch<'de, D: Deserializer<'de>>(text: D) -> Result<bool, D::Error> {
    match &*String::deserialize(text)? {
        "true" | "1" => Ok(true),
        "" | "false" | "0" => Ok(false),
        _ => Err(serde::de::Error::custom("must be `true` or `false`")),
    }
}
