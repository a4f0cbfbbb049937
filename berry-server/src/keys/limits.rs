//! Limits as JSON, with the keys that the configuration has.

use std::borrow::Cow;

use berry_tower::spend::{Money, SpendLimits};
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type, schema::AdditionalProperties},
};

use crate::config::MAX_COUNT;

/// A limit of a count: its key, what it counts, and the setter that adds it.
type Count = (&'static str, &'static str, fn(SpendLimits, u64) -> SpendLimits);
/// A limit of cost: its key, its window, and the setter that adds it.
type Cost = (&'static str, &'static str, fn(SpendLimits, Money) -> SpendLimits);

const COUNTS: [Count; 7] = [
    ("requests_per_minute", "Requests in a minute.", SpendLimits::requests_per_minute),
    ("requests_per_hour", "Requests in an hour.", SpendLimits::requests_per_hour),
    ("requests_per_day", "Requests in a day.", SpendLimits::requests_per_day),
    ("tokens_per_minute", "Input and output tokens in a minute.", SpendLimits::tokens_per_minute),
    ("tokens_per_hour", "Input and output tokens in an hour.", SpendLimits::tokens_per_hour),
    ("tokens_per_day", "Input and output tokens in a day.", SpendLimits::tokens_per_day),
    ("max_concurrent_requests", "Requests in flight.", SpendLimits::max_concurrent_requests),
];
const COSTS: [Cost; 3] = [
    ("cost_per_day", "Dollars in a calendar day in UTC, as text.", SpendLimits::cost_per_day),
    ("cost_per_month", "Dollars in a calendar month in UTC, as text.", SpendLimits::cost_per_month),
    ("cost_total", "Dollars in all, as text.", SpendLimits::cost_total),
];
/// Dollars above 0, up to those that a limit may have.
const DOLLARS: &str = r"^(?=.*[1-9])[0-9]{1,6}(\.[0-9]{1,9})?$";

/// Describes limits; what is absent is not limited.
pub(crate) struct Limits;

impl PartialSchema for Limits {
    fn schema() -> RefOr<Schema> {
        let models = ObjectBuilder::new()
            .description(Some("The same limits for single models, by their public names."))
            .additional_properties(Some(described("The limits of a model.")));
        described("Limits; what is absent is not limited.").property("models", models).into()
    }
}

impl ToSchema for Limits {
    fn name() -> Cow<'static, str> {
        "Keys.Limits".into()
    }
}

fn described(about: &str) -> ObjectBuilder {
    let mut object = ObjectBuilder::new()
        .description(Some(about))
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    for (key, about, _) in COUNTS {
        let count = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(MAX_COUNT));
        object = object.property(key, count.description(Some(about)));
    }
    for (key, about, _) in COSTS {
        let dollars = ObjectBuilder::new().schema_type(Type::String).pattern(Some(DOLLARS));
        object = object.property(key, dollars.description(Some(about)));
    }
    object
}

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
        if let Some((.., add)) = COUNTS.iter().find(|(key, ..)| key == name) {
            let count = whole(value).filter(|count| (1..=MAX_COUNT).contains(count));
            let message = || format!("{path}.{name} must be a whole number from 1 to {MAX_COUNT}");
            limits = add(limits, count.ok_or_else(message)?);
        } else if let Some((.., add)) = COSTS.iter().find(|(key, ..)| key == name) {
            let money = value.as_str().and_then(|text| text.parse::<Money>().ok());
            let money = money.filter(|money| (Money::from_nanos(1)..=Money::MAX_LIMIT).contains(money));
            let most = Money::MAX_LIMIT;
            let message =
                || format!("{path}.{name} must be dollars as text, such as \"5.00\", above 0 and at most {most}");
            limits = add(limits, money.ok_or_else(message)?);
        } else if name != "models" {
            let keys = COUNTS.iter().map(|(key, ..)| *key).chain(COSTS.iter().map(|(key, ..)| *key));
            let known = keys.chain(["models"]).collect::<Vec<_>>().join(", ");
            return Err(format!("{path}.{name} is unknown; limits are {known}"));
        }
    }
    Ok(limits)
}

/// Returns a whole number, which JSON may write as `60.0`, too.
fn whole(value: &Value) -> Option<u64> {
    let float = || value.as_f64().filter(|number| number.fract() == 0.0 && (1.0..=MAX_COUNT as f64).contains(number));
    value.as_u64().or_else(|| float().map(|number| number as u64))
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
        assert!(!parse(&json!({ "requests_per_day": 60.0 })).unwrap().is_empty());
        for (bad, told) in [
            (json!([]), "must be an object"),
            (json!({ "requests_per_week": 1 }), "limits.requests_per_week is unknown"),
            (json!({ "tokens_per_day": 0 }), "limits.tokens_per_day must be a whole number"),
            (json!({ "tokens_per_day": 1.5 }), "limits.tokens_per_day must be a whole number"),
            (json!({ "tokens_per_day": (1_u64 << 52) + 1 }), "to 4503599627370496"),
            (json!({ "cost_total": 5 }), "limits.cost_total must be dollars as text"),
            (json!({ "cost_total": "0" }), "above 0"),
            (json!({ "cost_total": "10000000" }), "at most 9007199.254740992"),
            (json!({ "models": { "m": { "tokens_per_day": "x" } } }), "limits.models.m.tokens_per_day"),
        ] {
            let message = parse(&bad).unwrap_err();
            assert!(message.contains(told), "{bad}: {message}");
        }
    }
}
