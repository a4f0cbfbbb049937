//! The values of keys, users and teams, as they are written in commands.

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::output::Fail;

/// Values of keys, users and teams.
#[derive(Args, Clone, Debug)]
pub(super) struct Values {
    /// A label for people.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Names or ids of the models that may be used, separated by commas; empty for all.
    #[arg(long, value_name = "LIST")]
    models: Option<String>,
    /// Tags, separated by commas.
    #[arg(long, value_name = "LIST")]
    tags: Option<String>,
    /// A limit, such as `requests_per_minute=60`, `cost_per_day=5.00` or `models.gpt-4o.tokens_per_day=100000`; may be
    /// given several times. The limits given replace all limits before; `none` removes them.
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<String>,
}

impl Values {
    /// Returns what was given as members of a request.
    pub(super) fn members(&self) -> Result<Map<String, Value>, Fail> {
        let mut members = Map::new();
        if let Some(name) = &self.name {
            members.insert("name".to_owned(), json!(name));
        }
        if let Some(models) = &self.models {
            members.insert("models".to_owned(), json!(list(models)));
        }
        if let Some(tags) = &self.tags {
            members.insert("tags".to_owned(), json!(list(tags)));
        }
        if !self.limits.is_empty() {
            members.insert("limits".to_owned(), limits(&self.limits)?);
        }
        Ok(members)
    }
}

/// Returns the items of a list that are separated by commas.
fn list(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// Reads limits such as `models.gpt-4o.cost_per_day=5.00`. A model's name may have dots, a limit's has none.
fn limits(given: &[String]) -> Result<Value, Fail> {
    let mut limits = json!({});
    if given == ["none"] {
        return Ok(limits);
    }
    for limit in given {
        let wrong = || Fail::new(format!("`{limit}` is not a limit; write one like `requests_per_minute=60`"));
        let (path, text) = limit.split_once('=').ok_or_else(wrong)?;
        let (model, name) = match path.strip_prefix("models.").and_then(|rest| rest.rsplit_once('.')) {
            Some((model, name)) => (Some(model), name),
            None => (None, path),
        };
        let value =
            if name.starts_with("cost_") { json!(text) } else { json!(text.parse::<u64>().map_err(|_| wrong())?) };
        match model {
            Some(model) => limits["models"][model][name] = value,
            None => limits[name] = value,
        }
    }
    Ok(limits)
}

/// Reads a period such as `30d`, `12h`, `45m` or `90s`, in seconds.
pub(super) fn period(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u32>().ok().and_then(|number| i64::from(number).checked_mul(seconds))
}

/// Reads a time, or a period from now on.
pub(super) fn expiry(text: &str) -> Result<String, Fail> {
    if let Some(seconds) = period(text) {
        let at = Timestamp::now().checked_add(SignedDuration::from_secs(seconds));
        return at.map(|at| format!("{at:.0}")).map_err(|_| Fail::new(format!("`{text}` is too long")));
    }
    let message = || Fail::new(format!("`{text}` is no time; write `2027-01-31T00:00:00Z`, or a period such as `30d`"));
    text.parse::<Timestamp>().map(|_| text.to_owned()).map_err(|_| message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_limits_of_all_models_and_of_one() {
        let given = ["requests_per_minute=60", "cost_total=5.00", "models.gpt-4.1.tokens_per_day=9"];
        let read = limits(&given.map(str::to_owned)).unwrap();
        let wanted = json!({
            "requests_per_minute": 60, "cost_total": "5.00", "models": { "gpt-4.1": { "tokens_per_day": 9 } },
        });
        assert_eq!(read, wanted);
        assert_eq!(limits(&["none".to_owned()]).unwrap(), json!({}));
        for bad in ["requests_per_minute", "tokens_per_day=many"] {
            assert!(limits(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_times_and_periods() {
        assert_eq!(["90s", "45m", "12h", "30d"].map(period), [Some(90), Some(2_700), Some(43_200), Some(2_592_000)]);
        assert_eq!(["", "d", "1w", "-1d", "1.5h"].map(period), [None; 5]);
        assert!(expiry("30d").unwrap().ends_with('Z'));
        assert_eq!(expiry("2027-01-31T00:00:00Z").unwrap(), "2027-01-31T00:00:00Z");
        assert!(expiry("tomorrow").is_err());
    }
}
