//! A user's rate limits and what is left of them.

use std::sync::Arc;

use axum::{Json, extract::State};
use berry_tower::{
    rate_limit::{Window, WindowUsage},
    spend::{LimitUsage, Measure},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    config::build::Caller,
    http::routes::status::{Moment, Params, Rejection, filled, missing, no_such_user},
    http::routes::tags,
    state::Snapshot,
};

/// The query of `/admin/rate-limit-usage`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http::routes) struct Query {
    /// The user's id in the configuration.
    #[param(required = true, value_type = String, min_length = 1)]
    #[serde(default, deserialize_with = "filled")]
    user_id: Option<String>,
}

/// The response of `/admin/rate-limit-usage`.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage::RateLimitUsage)]
pub(in crate::http::routes) struct RateLimitUsage {
    /// The user's id.
    user_id: String,
    /// The limits.
    limits: Numbers,
    /// What is left of them.
    remaining: Numbers,
    /// The time of the response.
    timestamp: String,
}

/// A number for each limit; null if there is no limit.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = Usage::Numbers)]
struct Numbers {
    /// Requests per minute.
    requests_per_minute: Option<u32>,
    /// Requests per hour.
    requests_per_hour: Option<u32>,
    /// Requests per day.
    requests_per_day: Option<u32>,
    /// Concurrent requests.
    max_concurrent_requests: Option<u32>,
}

impl RateLimitUsage {
    fn of(caller: &Caller, moment: &Moment) -> Self {
        let (mut limits, mut remaining) = (Numbers::default(), Numbers::default());
        if let Some(quota) = &caller.quota {
            let used = quota.usage();
            let most = quota.limits().max_concurrent();
            let numbers = |of: fn(WindowUsage) -> u32, concurrent| Numbers {
                requests_per_minute: used.get(Window::MINUTE).map(of),
                requests_per_hour: used.get(Window::HOUR).map(of),
                requests_per_day: used.get(Window::DAY).map(of),
                max_concurrent_requests: concurrent,
            };
            limits = numbers(|usage| usage.limit, most);
            remaining = numbers(|usage| usage.remaining, most.map(|most| most.saturating_sub(used.in_flight)));
        }
        Self { user_id: caller.id.to_string(), limits, remaining, timestamp: moment.timestamp() }
    }

    /// Adds the limits of requests that a store counts.
    fn add(&mut self, counted: &[LimitUsage]) {
        let own = counted.iter().filter(|it| it.subject.kind() == "user" && it.model.is_none());
        for LimitUsage { limit, usage, .. } in own {
            let window = limit.rule().window_name();
            let slot = |numbers: &mut Numbers, number: u64| {
                let slot = match (limit.measure(), &*window) {
                    (Measure::Requests, "minute") => &mut numbers.requests_per_minute,
                    (Measure::Requests, "hour") => &mut numbers.requests_per_hour,
                    (Measure::Requests, "day") => &mut numbers.requests_per_day,
                    (Measure::Concurrency, _) => &mut numbers.max_concurrent_requests,
                    _ => return,
                };
                *slot = Some(u32::try_from(number).unwrap_or(u32::MAX));
            };
            slot(&mut self.limits, usage.limit());
            slot(&mut self.remaining, usage.remaining());
        }
    }
}

/// A user's limits and what is left of them. The request spends nothing. An unknown user is a 404.
#[utoipa::path(
    get,
    path = "/admin/rate-limit-usage",
    tag = tags::ADMIN,
    params(Query),
    responses((status = 200, body = RateLimitUsage), (status = 400, description = "The query is invalid."), (status = 404, description = "There is no such user.")),
)]
pub(super) async fn rate_limit_usage(
    State(snapshot): State<Arc<Snapshot>>,
    Params(query): Params<Query>,
) -> Result<Json<RateLimitUsage>, Rejection> {
    let id = query.user_id.ok_or_else(|| missing("user_id"))?;
    let caller = snapshot.callers.get(&id).ok_or_else(|| no_such_user("user_id"))?;
    let mut usage = RateLimitUsage::of(caller, &Moment::now());
    // While the store is away, its limits are not known.
    usage.add(&caller.account.usage(&*snapshot.store).await.unwrap_or_default());
    Ok(Json(usage))
}
