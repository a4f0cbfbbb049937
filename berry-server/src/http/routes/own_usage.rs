//! What the caller itself has spent, and what is left.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use berry_tower::spend::{LimitUsage, Measure, Money};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    admin::{
        payload::{database, refused},
        spending::{Usage, range},
    },
    status::{Params, Rejection, filled},
    tags,
};
use crate::{
    config::build::Caller,
    ledger::{By, UsageQuery, sum},
    state::Snapshot,
};

/// The query of `/v1/usage`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// From this time on, as RFC 3339 or a date in UTC; without it, the beginning of the month.
    #[param(value_type = Option<String>, pattern = "^([0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?)?$")]
    #[serde(default, deserialize_with = "filled")]
    from: Option<String>,
    /// Before this time; without it, now.
    #[param(value_type = Option<String>, pattern = "^([0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?)?$")]
    #[serde(default, deserialize_with = "filled")]
    to: Option<String>,
}

/// What the caller has spent.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage::OwnUsage)]
pub(super) struct OwnUsage {
    /// The user; null for the key of a team.
    user: Option<String>,
    /// The team.
    team: Option<String>,
    /// The id of the key, if it was made at run time.
    key: Option<String>,
    /// What all keys of the user have spent, by day and model; what this key has spent, if it is that of a team.
    usage: Usage,
    /// The limits and what is left of them; null while the store of the limits does not answer.
    limits: Option<Vec<OwnLimit>>,
}

/// A limit of the caller.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage::OwnLimit)]
struct OwnLimit {
    /// Whose limit it is: `key`, `user` or `team`.
    of: &'static str,
    /// The id of the key, user or team.
    id: String,
    /// The model that it is for; null for all models together.
    model: Option<String>,
    /// `requests`, `tokens`, `cost` or `concurrency`.
    measure: &'static str,
    /// The window, such as `minute`, `day`, `month` or `total`.
    window: String,
    /// The limit; dollars for a cost.
    limit: String,
    /// What is left of it.
    remaining: String,
    /// In how many seconds all of it is there again; null if that is never or not known.
    reset_seconds: Option<u64>,
}

impl OwnLimit {
    fn of(usage: &LimitUsage) -> Self {
        let measure = usage.limit.measure();
        let amount = |units: u64| match measure {
            Measure::Cost => Money::from_nanos(units).to_string(),
            _ => units.to_string(),
        };
        let left = usage.usage;
        let reset = left.reset().as_secs();
        Self {
            of: usage.subject.kind(),
            id: usage.subject.id().to_string(),
            model: usage.model.as_ref().map(ToString::to_string),
            measure: measure.name(),
            window: window(&usage.limit.rule().window_name()),
            limit: amount(left.limit()),
            remaining: amount(left.remaining()),
            // The end of a window that never ends is no number for people.
            reset_seconds: (reset < 366 * 86_400).then_some(reset),
        }
    }
}

/// Returns the name that a limit's key has: the days of a cost are those of the calendar.
fn window(name: &str) -> String {
    name.trim_start_matches("utc_").to_owned()
}

/// What the caller has spent, its limits, and what is left of them. The request itself spends nothing.
#[utoipa::path(get, path = "/v1/usage", tag = tags::USAGE, params(Query), responses((status = 200, body = OwnUsage)))]
pub(super) async fn own_usage(
    State(snapshot): State<Arc<Snapshot>>,
    Extension(caller): Extension<Arc<Caller>>,
    Params(query): Params<Query>,
) -> Result<Json<OwnUsage>, Rejection> {
    let subject = |kind: &str| caller.account.subject(kind).map(|subject| subject.id().to_string());
    let (from, to) = range(query.from.as_deref(), query.to.as_deref())?;
    let key = caller.key_id().map(str::to_owned);
    let only = match (subject("user"), &key) {
        (Some(user), _) => vec![(By::User, user)],
        (None, key) => vec![(By::Key, key.clone().unwrap_or_default())],
    };
    let query = UsageQuery { from, to, by: vec![By::Day, By::Model], only };
    let rows = sum(database(&snapshot)?, &query).await.map_err(|error| refused(error.into()))?;
    let limits = caller.account.usage(&*snapshot.store).await.ok();
    Ok(Json(OwnUsage {
        user: subject("user"),
        team: subject("team"),
        key,
        usage: Usage::new(&query, &rows),
        limits: limits.map(|limits| limits.iter().map(OwnLimit::of).collect()),
    }))
}
