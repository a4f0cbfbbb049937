//! Sums of the ledger over a time.

use std::{collections::BTreeMap, str::FromStr};

use berry_tower::spend::Money;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::row::HOUR_MS;
use crate::database::{Database, DatabaseError, Row, Value};

const DAY_MS: i64 = 86_400_000;

/// What sums are kept apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum By {
    User,
    Team,
    Key,
    Model,
    Backend,
    Day,
}

impl By {
    pub(crate) const ALL: [Self; 6] = [Self::User, Self::Team, Self::Key, Self::Model, Self::Backend, Self::Day];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Team => "team",
            Self::Key => "key",
            Self::Model => "model",
            Self::Backend => "backend",
            Self::Day => "day",
        }
    }

    /// The expression in the table of hours.
    const fn of_hours(self) -> &'static str {
        match self {
            Self::User => "user_id",
            Self::Team => "team_id",
            Self::Key => "key_id",
            Self::Model => "model",
            Self::Backend => "backend",
            Self::Day => "hour / 86400000",
        }
    }

    /// The expression in the table of single rows.
    const fn of_rows(self) -> &'static str {
        match self {
            Self::User => "COALESCE(user_id, '')",
            Self::Team => "COALESCE(team_id, '')",
            Self::Key => "COALESCE(key_id, '')",
            Self::Model => "COALESCE(model, '')",
            Self::Backend => "COALESCE(provider || ':' || backend_model, '')",
            Self::Day => "finished_at / 86400000",
        }
    }
}

impl FromStr for By {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|by| by.name() == text).ok_or(())
    }
}

/// Which rows are added up, and how.
#[derive(Clone, Debug)]
pub(crate) struct UsageQuery {
    /// From this time on, in milliseconds since 1970.
    pub(crate) from: i64,
    /// Before this time.
    pub(crate) to: i64,
    pub(crate) by: Vec<By>,
    /// Only rows with these values.
    pub(crate) only: Vec<(By, String)>,
}

/// Sums of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Usage::Sums)]
pub(crate) struct Sums {
    /// The finished requests.
    pub(crate) requests: u64,
    /// Those without a complete answer, refused ones included.
    pub(crate) failed: u64,
    /// The input tokens, cached ones included.
    pub(crate) input_tokens: u64,
    /// The input tokens that were read from a cache.
    pub(crate) cached_tokens: u64,
    /// The input tokens that were written to a cache.
    pub(crate) cache_write_tokens: u64,
    /// The output tokens, reasoning included.
    pub(crate) output_tokens: u64,
    /// The output tokens that are reasoning.
    pub(crate) reasoning_tokens: u64,
    /// The cost in dollars, exact.
    #[serde(serialize_with = "dollars")]
    #[schema(value_type = String)]
    pub(crate) cost: u64,
    /// What failed attempts have cost beside it, in dollars.
    #[serde(serialize_with = "dollars")]
    #[schema(value_type = String)]
    pub(crate) wasted_cost: u64,
}

fn dollars<S: serde::Serializer>(nanos: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Money::from_nanos(*nanos))
}

impl Sums {
    pub(crate) const NAMES: [&str; 9] = [
        "requests",
        "failed",
        "input_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
        "cost",
        "wasted_cost",
    ];

    fn of(row: &Row, first: usize) -> Self {
        let at = |index: usize| u64::try_from(row.integer(first + index)).unwrap_or_default();
        Self {
            requests: at(0),
            failed: at(1),
            input_tokens: at(2),
            cached_tokens: at(3),
            cache_write_tokens: at(4),
            output_tokens: at(5),
            reasoning_tokens: at(6),
            cost: at(7),
            wasted_cost: at(8),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.input_tokens += other.input_tokens;
        self.cached_tokens += other.cached_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.output_tokens += other.output_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.cost += other.cost;
        self.wasted_cost += other.wasted_cost;
    }

    /// Returns the sums as text, in the order of [`NAMES`](Self::NAMES).
    pub(crate) fn texts(&self) -> [String; 9] {
        [
            self.requests.to_string(),
            self.failed.to_string(),
            self.input_tokens.to_string(),
            self.cached_tokens.to_string(),
            self.cache_write_tokens.to_string(),
            self.output_tokens.to_string(),
            self.reasoning_tokens.to_string(),
            Money::from_nanos(self.cost).to_string(),
            Money::from_nanos(self.wasted_cost).to_string(),
        ]
    }
}

/// The sums of one combination of values.
#[derive(Clone, Debug)]
pub(crate) struct UsageRow {
    /// The values, in the order of the query; empty where there is none.
    pub(crate) values: Vec<String>,
    pub(crate) sums: Sums,
}

const TOKENS: [&str; 7] = [
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nanos",
    "wasted_nanos",
];

/// Adds up the ledger. Whole hours come from their sums, which outlive the single rows; the hours that the times cut come
/// from single rows.
pub(crate) async fn sum(database: &Database, query: &UsageQuery) -> Result<Vec<UsageRow>, DatabaseError> {
    let first = query.from.div_euclid(HOUR_MS) + i64::from(query.from.rem_euclid(HOUR_MS) != 0);
    let (first, last) = (first * HOUR_MS, query.to.div_euclid(HOUR_MS) * HOUR_MS);
    let mut all: BTreeMap<Vec<String>, Sums> = BTreeMap::new();
    if first <= last {
        add_hours(database, query, (first, last), &mut all).await?;
        add_rows(database, query, (query.from, first), &mut all).await?;
        add_rows(database, query, (last, query.to), &mut all).await?;
    } else {
        add_rows(database, query, (query.from, query.to), &mut all).await?;
    }
    Ok(all.into_iter().map(|(values, sums)| UsageRow { values, sums }).collect())
}

async fn add_hours(
    database: &Database,
    query: &UsageQuery,
    range: (i64, i64),
    all: &mut BTreeMap<Vec<String>, Sums>,
) -> Result<(), DatabaseError> {
    let sums = ["requests", "failed"].into_iter().chain(TOKENS).map(add_up).collect::<Vec<_>>().join(", ");
    let (sql, params) = select(query, "berry_usage_hours", "hour", range, &sums, By::of_hours);
    add(database.query(sql, params).await?, query, all);
    Ok(())
}

async fn add_rows(
    database: &Database,
    query: &UsageQuery,
    range: (i64, i64),
    all: &mut BTreeMap<Vec<String>, Sums>,
) -> Result<(), DatabaseError> {
    if range.0 >= range.1 {
        return Ok(());
    }
    let counts = "COUNT(*), CAST(COALESCE(SUM(CASE WHEN outcome <> 'complete' THEN 1 ELSE 0 END), 0) AS BIGINT), ";
    let sums = counts.to_owned() + &TOKENS.map(add_up).join(", ");
    let (sql, params) = select(query, "berry_ledger", "finished_at", range, &sums, By::of_rows);
    add(database.query(sql, params).await?, query, all);
    Ok(())
}

fn add_up(column: &str) -> String {
    format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT)")
}

fn select(
    query: &UsageQuery,
    table: &str,
    time: &str,
    (from, to): (i64, i64),
    sums: &str,
    of: fn(By) -> &'static str,
) -> (String, Vec<Value>) {
    let columns: Vec<_> = query.by.iter().map(|by| of(*by)).collect();
    let mut params: Vec<Value> = vec![from.into(), to.into()];
    let mut sql = String::from("SELECT ");
    columns.iter().for_each(|column| sql.push_str(&format!("{column}, ")));
    sql.push_str(&format!("{sums} FROM {table} WHERE {time} >= $1 AND {time} < $2"));
    for (by, value) in &query.only {
        params.push(value.as_str().into());
        sql.push_str(&format!(" AND {} = ${}", of(*by), params.len()));
    }
    if !columns.is_empty() {
        sql.push_str(&format!(" GROUP BY {}", columns.join(", ")));
    }
    (sql, params)
}

fn add(rows: Vec<Row>, query: &UsageQuery, all: &mut BTreeMap<Vec<String>, Sums>) {
    for row in rows {
        let value = |(index, by): (usize, &By)| match by {
            By::Day => day(row.integer(index)),
            _ => row.text(index).to_owned(),
        };
        let values: Vec<String> = query.by.iter().enumerate().map(value).collect();
        let sums = Sums::of(&row, query.by.len());
        if sums.requests > 0 {
            all.entry(values).or_default().add(&sums);
        }
    }
}

/// Formats a number of days since 1970 as a date.
fn day(days: i64) -> String {
    let at = Timestamp::from_millisecond(days.saturating_mul(DAY_MS));
    at.map_or_else(|_| String::new(), |at| at.to_string().chars().take(10).collect())
}
