//! The sums of the ledger, as JSON or CSV.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::payload::{database, invalid, refused};
use crate::{
    http::routes::{
        status::{Params, Rejection, filled, rfc3339},
        tags,
    },
    ledger::{By, Sums, UsageQuery, UsageRow, sum},
    state::Snapshot,
};

/// The query of `/admin/usage`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http::routes) struct Query {
    /// From this time on, as RFC 3339 or a date in UTC; without it, the beginning of the month.
    #[param(value_type = Option<String>, pattern = "^([0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?)?$")]
    #[serde(default, deserialize_with = "filled")]
    pub(in crate::http::routes) from: Option<String>,
    /// Before this time; without it, now.
    #[param(value_type = Option<String>, pattern = "^([0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?)?$")]
    #[serde(default, deserialize_with = "filled")]
    pub(in crate::http::routes) to: Option<String>,
    /// What the sums are kept apart by: `user`, `team`, `key`, `model`, `backend`, `day`, separated by commas.
    #[param(value_type = Option<String>, pattern = "^(user|team|key|model|backend|day)(,(user|team|key|model|backend|day))*$|^$")]
    #[serde(default, deserialize_with = "filled")]
    by: Option<String>,
    /// Only this user.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "filled")]
    user: Option<String>,
    /// Only this team, as the innermost one.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "filled")]
    team: Option<String>,
    /// Only this key, by its id.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "filled")]
    key: Option<String>,
    /// Only this model, by its public name.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "filled")]
    model: Option<String>,
    /// `json` or `csv`.
    #[param(value_type = Option<String>, pattern = "^(json|csv)?$")]
    #[serde(default, deserialize_with = "filled")]
    format: Option<String>,
}

/// The response of `/admin/usage`.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage::Usage)]
pub(in crate::http::routes) struct Usage {
    /// The beginning of the time.
    pub(in crate::http::routes) from: String,
    /// The end of the time.
    pub(in crate::http::routes) to: String,
    /// What the sums are kept apart by.
    pub(in crate::http::routes) by: Vec<&'static str>,
    /// The sums of each combination of values, sorted by them.
    pub(in crate::http::routes) data: Vec<Entry>,
    /// The sums of all.
    pub(in crate::http::routes) total: Sums,
}

/// The sums of one combination of values.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage::Entry)]
pub(in crate::http::routes) struct Entry {
    /// The values, such as `user`; null where there is none.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, Object>)]
    values: BTreeMap<&'static str, Option<String>>,
    #[serde(flatten)]
    sums: Sums,
}

/// Returns the milliseconds of a time or a date.
pub(in crate::http::routes) fn time(param: &'static str, text: &str) -> Result<i64, Rejection> {
    let date = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    let at = text.parse::<Timestamp>().ok().or_else(date);
    let message = format!("`{param}` must be a time like `2027-01-31T00:00:00Z` or a date like `2027-01-31`");
    at.map(Timestamp::as_millisecond).ok_or_else(|| invalid(Some(param), &message))
}

/// Returns the beginning of the month in UTC.
fn month(now: Timestamp) -> i64 {
    let today = now.to_zoned(TimeZone::UTC).date();
    let first = today.first_of_month().to_zoned(TimeZone::UTC);
    first.map_or(0, |at| at.timestamp().as_millisecond())
}

/// Returns the time of a query.
pub(in crate::http::routes) fn range(from: Option<&str>, to: Option<&str>) -> Result<(i64, i64), Rejection> {
    let now = Timestamp::now();
    let from = from.map_or_else(|| Ok(month(now)), |text| time("from", text))?;
    // A row that was just written belongs to it, too.
    let to = to.map_or_else(|| Ok(now.as_millisecond() + 1), |text| time("to", text))?;
    if from > to { Err(invalid(Some("from"), "`from` is after `to`")) } else { Ok((from, to)) }
}

impl Usage {
    pub(in crate::http::routes) fn new(query: &UsageQuery, rows: &[UsageRow]) -> Self {
        let mut total = Sums::default();
        rows.iter().for_each(|row| total.add(&row.sums));
        let entry = |row: &UsageRow| {
            let value = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
            let values = query.by.iter().map(|by| by.name()).zip(row.values.iter().map(value)).collect();
            Entry { values, sums: row.sums }
        };
        let moment = |millis| Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), rfc3339);
        Self {
            from: moment(query.from),
            to: moment(query.to),
            by: query.by.iter().map(|by| by.name()).collect(),
            data: rows.iter().map(entry).collect(),
            total,
        }
    }
}

/// The sums of requests, tokens and cost over a time, kept apart by what is asked for.
#[utoipa::path(
    get,
    path = "/admin/usage",
    tag = tags::ADMIN,
    params(Query),
    responses((status = 200, content((Usage = "application/json"), (String = "text/csv")))),
)]
pub(in crate::http::routes) async fn usage(
    State(snapshot): State<Arc<Snapshot>>,
    Params(query): Params<Query>,
) -> Result<Response, Rejection> {
    let is_csv = match query.format.as_deref() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(_) => return Err(invalid(Some("format"), "`format` must be `json` or `csv`")),
    };
    let mut by = Vec::new();
    for name in query.by.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let message = "`by` must be a list of `user`, `team`, `key`, `model`, `backend`, `day`, separated by commas";
        let one = name.parse().map_err(|()| invalid(Some("by"), message))?;
        if !by.contains(&one) {
            by.push(one);
        }
    }
    let (from, to) = range(query.from.as_deref(), query.to.as_deref())?;
    let only = [(By::User, query.user), (By::Team, query.team), (By::Key, query.key), (By::Model, query.model)];
    let only = only.into_iter().filter_map(|(by, value)| Some((by, value?))).collect();
    let query = UsageQuery { from, to, by, only };
    let rows = sum(database(&snapshot)?, &query).await.map_err(|error| refused(error.into()))?;
    if !is_csv {
        return Ok(Json(Usage::new(&query, &rows)).into_response());
    }
    let file = "attachment; filename=\"usage.csv\"";
    Ok(([(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, file)], csv(&query, &rows)).into_response())
}

/// Writes RFC 4180 with a line for the names.
fn csv(query: &UsageQuery, rows: &[UsageRow]) -> String {
    let names = query.by.iter().map(|by| by.name()).chain(Sums::NAMES);
    let mut text = names.collect::<Vec<_>>().join(",") + "\r\n";
    for row in rows {
        let sums = row.sums.texts();
        let fields = row.values.iter().map(|value| field(value)).chain(sums);
        text.push_str(&fields.collect::<Vec<_>>().join(","));
        text.push_str("\r\n");
    }
    text
}

/// Quotes a field where that is needed. A spreadsheet would run a field that begins like a formula.
fn field(value: &str) -> String {
    let value = if value.starts_with(['=', '+', '-', '@', '\t']) { format!("'{value}") } else { value.to_owned() };
    if value.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_csv_that_no_spreadsheet_runs() {
        let sums = Sums { requests: 1, cost: 2_500_000, ..Sums::default() };
        let query = UsageQuery { from: 0, to: 1, by: vec![By::User, By::Day], only: Vec::new() };
        let row = |user: &str| UsageRow { values: vec![user.to_owned(), "2027-01-31".to_owned()], sums };
        let text = csv(&query, &[row("a,\"b\""), row("=1+1")]);
        let lines: Vec<_> = text.split("\r\n").collect();
        assert!(lines[0].starts_with("user,day,requests,failed,input_tokens"));
        assert_eq!(lines[1], "\"a,\"\"b\"\"\",2027-01-31,1,0,0,0,0,0,0,0.0025,0.00");
        assert!(lines[2].starts_with("'=1+1,"));
    }

    #[test]
    fn reads_times_and_dates() {
        assert_eq!(time("from", "1970-01-02").ok(), Some(86_400_000));
        assert_eq!(time("from", "1970-01-01T01:00:00+01:00").ok(), Some(0));
        assert!(time("from", "yesterday").is_err());
        assert!(range(Some("2027-01-02"), Some("2027-01-01")).is_err());
    }
}
