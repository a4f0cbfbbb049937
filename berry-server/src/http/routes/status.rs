//! What the status endpoints share: the moment that an answer is about, models by name, what is
//! known of a model's backends, and the query's parameters.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, Query},
    response::{IntoResponse, Response},
};
use berry_tower::{
    backend::{Backend, BackendId, BackendState, BackendStateSnapshot, Billing, Model, PREMIUM, View},
    breaker::State as Circuit,
    render::Refusal,
    select::candidates::{ADMIN, Ask, explain},
};
use http::{StatusCode, request::Parts};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tokio::time::Instant;

use super::refusals::refuse;
use crate::state::Snapshot;

/// The moment that an answer is about, on the clock that states are kept by and on the wall's.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) wall: Timestamp,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { now: Instant::now(), wall: Timestamp::now() }
    }

    /// Itself, as RFC 3339 in UTC.
    pub(super) fn timestamp(&self) -> String {
        rfc3339(self.wall)
    }

    /// When something was that happened so long before; what never happened stays unknown.
    pub(super) fn ago(&self, ago: Option<Duration>) -> Option<String> {
        let at = self.wall.checked_sub(jiff::SignedDuration::try_from(ago?).ok()?).ok()?;
        Some(rfc3339(at))
    }
}

/// A time as RFC 3339 in UTC, to the millisecond.
pub(super) fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// What is known of one of a model's backends.
pub(super) struct Known<'a> {
    pub(super) backend: &'a Backend,
    pub(super) state: BackendStateSnapshot,
    /// The number that the strategy weighs it by; 0 for one that it never sees.
    pub(super) effective_weight: f64,
}

impl Known<'_> {
    /// It and its provider are switched on.
    pub(super) fn is_enabled(&self) -> bool {
        is_enabled(self.backend)
    }

    /// Healthy, or on its way back to that.
    pub(super) fn is_healthy(&self) -> bool {
        self.state.view.is_healthy()
    }

    pub(super) fn provider(&self) -> String {
        self.backend.id.provider.to_string()
    }

    pub(super) fn model(&self) -> String {
        self.backend.id.model.to_string()
    }

    /// All its tags, the one that marks it as dear included.
    pub(super) fn tags(&self) -> Vec<String> {
        let premium = self.backend.premium.then_some(PREMIUM);
        self.backend.tags.iter().map(|tag| &**tag).chain(premium).map(str::to_owned).collect()
    }

    pub(super) fn billing_mode(&self) -> &'static str {
        match self.backend.billing {
            Billing::PerToken => "per_token",
            Billing::PerRequest => "per_request",
        }
    }
}

/// What is known of a model's backends, in the order of the file.
pub(super) fn known<'a>(model: &'a Model, moment: &Moment) -> Vec<Known<'a>> {
    let admin = [Arc::from(ADMIN)];
    let ask = Ask { tags: &admin, ..Ask::default() };
    let known = |explained: berry_tower::select::candidates::Explained<'a>| Known {
        backend: explained.backend,
        // The very state that the weight was told by, so that the two agree.
        state: BackendStateSnapshot { view: explained.view, ..explained.backend.state.snapshot(moment.now) },
        effective_weight: if is_enabled(explained.backend) { explained.effective_weight } else { 0.0 },
    };
    explain(model, &ask, moment.now).into_iter().map(known).collect()
}

/// The name of a backend's state: what bars it, or else the stage of its health.
pub(super) fn state(backend: &Backend, view: &View, circuit: Circuit) -> &'static str {
    match () {
        () if !is_enabled(backend) => "disabled",
        () if circuit.index() != 0 => circuit.name(),
        () if view.cooling.is_some() => "cooling_down",
        () if view.is_full(backend.max_in_flight) => "full",
        () => view.stage.name(),
    }
}

fn is_enabled(backend: &Backend) -> bool {
    backend.enabled && backend.provider.enabled
}

/// The backends of a provider, each once however many models share it, by name.
pub(super) fn of_provider<'a>(
    catalog: &'a berry_tower::backend::Snapshot,
    provider: &str,
    moment: &Moment,
) -> Vec<(&'a BackendId, BackendStateSnapshot)> {
    let of = |(id, _): &(&BackendId, &Arc<BackendState>)| &*id.provider == provider;
    let mut found: Vec<_> = catalog.states().filter(of).map(|(id, live)| (id, live.snapshot(moment.now))).collect();
    found.sort_by(|(a, _), (b, _)| a.model.cmp(&b.model));
    found
}

/// Whether a provider can serve: it is switched on and one of its backends is healthy. Of one that
/// no model uses, this is not known.
pub(super) fn provider_health(enabled: bool, backends: &[(&BackendId, BackendStateSnapshot)]) -> Option<bool> {
    let healthy = |(_, live): &(_, BackendStateSnapshot)| live.view.is_healthy();
    (!backends.is_empty()).then(|| enabled && backends.iter().any(healthy))
}

/// The average time to the first byte over several backends, in milliseconds, each counting as
/// much as it has succeeded.
pub(super) fn average_latency_ms<'a>(of: impl IntoIterator<Item = &'a BackendStateSnapshot>) -> Option<f64> {
    let measured = of.into_iter().filter_map(|live| Some((live.average_latency?, live.successes().max(1) as f64)));
    let (sum, count) = measured.fold((0.0, 0.0), |(sum, count), (latency, n)| (sum + millis(latency) * n, count + n));
    (count > 0.0).then(|| sum / count)
}

/// A duration in milliseconds.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The model of this public name, or else of this table id; a disabled one too.
pub(super) fn find_model(snapshot: &Snapshot, name: &str) -> Result<Arc<Model>, Refused> {
    let catalog = snapshot.catalog.load();
    let models = catalog.models();
    let found = models.iter().find(|model| &*model.name == name).or_else(|| models.iter().find(|m| &*m.id == name));
    found.cloned().ok_or_else(|| no_such_model("the model does not exist on this gateway"))
}

/// A request that is refused.
pub(super) struct Refused(Box<Refusal>);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refuse(&self.0)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(refusal))
    }
}

pub(super) fn no_such_model(message: &'static str) -> Refused {
    let refusal = Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
    refusal.code("model_not_found").param("model").into()
}

pub(super) fn no_such_user(param: &'static str) -> Refused {
    let message = "there is no user with this id; ask by the id in the configuration, not by name or token";
    let refusal = Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
    refusal.code("user_not_found").param(param).into()
}

/// A parameter of the query that is needed and not there.
pub(super) fn missing(param: &'static str) -> Refused {
    let message = format!("the query needs `{param}`, as in `?{param}=…`");
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message).param(param).into()
}

/// The query's parameters; what cannot be read is refused in the shape of all errors.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let message = rejection.body_text();
                Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message).into())
            }
        }
    }
}

/// A parameter without a value is as good as none.
pub(super) fn filled<'de, D: Deserializer<'de>>(text: D) -> Result<Option<String>, D::Error> {
    Ok(Some(String::deserialize(text)?).filter(|text| !text.is_empty()))
}

/// A switch in the query.
pub(super) fn switch<'de, D: Deserializer<'de>>(text: D) -> Result<bool, D::Error> {
    match &*String::deserialize(text)? {
        "true" | "1" => Ok(true),
        "" | "false" | "0" => Ok(false),
        _ => Err(serde::de::Error::custom("must be `true` or `false`")),
    }
}
