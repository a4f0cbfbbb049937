//! Limits as JSON, with the keys that the configuration has.

use berry_tower::spend::{Money, SpendLimits};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Limits; what is absent is not limited.
#[derive(Serialize, ToSchema)]
#[schema(as = Keys::Limits)]
pub(super) struct Limits {
    /// Requests in a minute.
    requests_per_minute: Option<u64>,
    /// Requests in an hour.
    requests_per_hour: Option<u64>,
    /// Requests in a day.
    requests_per_day: Option<u64>,
    /// Input and output tokens in a minute.
    tokens_per_minute: Option<u64>,
    /// Input and output tokens in an hour.
    tokens_per_hour: Option<u64>,
    /// Input and output tokens in a day.
    tokens_per_day: Option<u64>,
    /// Dollars in a calendar day in UTC, as text.
    cost_per_day: Option<String>,
    /// Dollars in a calendar month in UTC, as text.
    cost_per_month: Option<String>,
    /// Dollars in all, as text.
    cost_total: Option<String>,
    /// Requests in flight.
    max_concurrent_requests: Option<u64>,
    /// The same limits for single models, by their public names.
    #[schema(value_type = std::collections::BTreeMap<String, Object>)]
    models: (),
}

const KNOWN: &str = "requests_per_minute, requests_per_hour, requests_per_day, tokens_per_minute, tokens_per_hour, \
                     tokens_per_day, cost_per_day, cost_per_month, cost_total, max_concurrent_requests, models";

/// Reads limits.
///
/// # Errors
/// Returns a message that names the key and the cure.
pub(crate) fn parse(limits: &Value) -> Result<SpendLimits, String> {
    let Value::Object(members) = limits else {
        return Err("limits must be an object, such as {\"requests_per_minute\": 60}".to_owned());
    };
    let mut read = windows("limits", members)?;
    match members.get("models") {
        None => {}
        Some(Value::Object(models)) => {
            for (model, limits) in models {
                let path = format!("limits.models.{model}");
                let Value::Object(members) = limits else { return Err(format!("{path} must be an object")) };
                if members.contains_key("models") {
                    return Err(format!("{path}.models: the limits of a model have no models; remove it"));
                }
                read = read.for_model(model.as_str(), windows(&path, members)?);
            }
        }
        Some(_) => return Err("limits.models must be an object with the limits of each model".to_owned()),
    }
    Ok(read)
}

fn windows(path: &str, members: &Map<String, Value>) -> Result<SpendLimits, String> {
    let mut limits = SpendLimits::new();
    for (name, value) in members {
        let count = || {
            let count = value.as_u64().filter(|count| (1..=1 << 53).contains(count));
            count.ok_or_else(|| format!("{path}.{name} must be a whole number of at least 1"))
        };
        let money = || {
            let money = value.as_str().and_then(|text| text.parse::<Money>().ok());
            let money = money.filter(|money| (Money::from_nanos(1)..=Money::MAX_LIMIT).contains(money));
            money.ok_or_else(|| format!("{path}.{name} must be dollars as text, such as \"5.00\", above 0"))
        };
        limits = match name.as_str() {
            "requests_per_minute" => limits.requests_per_minute(count()?),
            "requests_per_hour" => limits.requests_per_hour(count()?),
            "requests_per_day" => limits.requests_per_day(count()?),
            "tokens_per_minute" => limits.tokens_per_minute(count()?),
            "tokens_per_hour" => limits.tokens_per_hour(count()?),
            "tokens_per_day" => limits.tokens_per_day(count()?),
            "cost_per_day" => limits.cost_per_day(money()?),
            "cost_per_month" => limits.cost_per_month(money()?),
            "cost_total" => limits.cost_total(money()?),
            "max_concurrent_requests" => limits.max_concurrent_requests(count()?),
            "models" => limits,
            _ => return Err(format!("{path}.{name} is unknown; limits are {KNOWN}")),
        };
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_every_limit_and_names_what_is_wrong() {
        let all = json!({
            "requests_per_minute": 1, "requests_per_hour": 2, "requests_per_day": 3, "tokens_per_minute": 4,
            "tokens_per_hour": 5, "tokens_per_day": 6, "cost_per_day": "1", "cost_per_month": "2.5",
            "cost_total": "3", "max_concurrent_requests": 7, "models": { "m": { "cost_total": "0.01" } },
        });
        let read = parse(&all).unwrap();
        assert_eq!((read.of_all().len(), read.of_model("m").len()), (10, 1));
        assert!(parse(&json!({})).unwrap().is_empty());
        for (bad, told) in [
            (json!([]), "must be an object"),
            (json!({ "requests_per_week": 1 }), "limits.requests_per_week is unknown"),
            (json!({ "tokens_per_day": 0 }), "limits.tokens_per_day must be a whole number"),
            (json!({ "cost_total": 5 }), "limits.cost_total must be dollars as text"),
            (json!({ "cost_total": "0" }), "above 0"),
            (json!({ "models": { "m": { "tokens_per_day": "x" } } }), "limits.models.m.tokens_per_day"),
        ] {
            let message = parse(&bad).unwrap_err();
            assert!(message.contains(told), "{bad}: {message}");
        }
    }
}
