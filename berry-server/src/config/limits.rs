//! Reads `limits` of users and teams.

use berry_tower::spend::{Money, SpendLimits};
use indexmap::IndexMap;

use super::reader::Table;

/// `[users.<id>.limits]` and `[teams.<id>.limits]`; what is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Requests in an hour.
    pub requests_per_hour: Option<u64>,
    /// Requests in a day.
    pub requests_per_day: Option<u64>,
    /// Tokens in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Tokens in an hour.
    pub tokens_per_hour: Option<u64>,
    /// Tokens in a day.
    pub tokens_per_day: Option<u64>,
    /// Cost in a calendar day.
    pub cost_per_day: Option<Money>,
    /// Cost in a calendar month.
    pub cost_per_month: Option<Money>,
    /// Cost in all.
    pub cost_total: Option<Money>,
    /// Requests in flight.
    pub max_concurrent_requests: Option<u64>,
    /// Limits of single models, by name or table id.
    pub models: IndexMap<String, Limits>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The key of the first limit of cost, if there is one.
    pub(super) fn cost_key(&self) -> Option<&'static str> {
        let keys = [
            ("cost_per_day", self.cost_per_day),
            ("cost_per_month", self.cost_per_month),
            ("cost_total", self.cost_total),
        ];
        keys.into_iter().find_map(|(key, limit)| limit.map(|_| key))
    }

    /// Returns the limits as the layers take them; `name` turns a model's id into its name.
    pub(super) fn to_spend(&self, name: &dyn Fn(&str) -> String) -> SpendLimits {
        let mut limits = SpendLimits::new();
        let counts: [Bound<u64>; 7] = [
            (self.requests_per_minute, SpendLimits::requests_per_minute),
            (self.requests_per_hour, SpendLimits::requests_per_hour),
            (self.requests_per_day, SpendLimits::requests_per_day),
            (self.tokens_per_minute, SpendLimits::tokens_per_minute),
            (self.tokens_per_hour, SpendLimits::tokens_per_hour),
            (self.tokens_per_day, SpendLimits::tokens_per_day),
            (self.max_concurrent_requests, SpendLimits::max_concurrent_requests),
        ];
        for (limit, add) in counts {
            limits = limit.into_iter().fold(limits, add);
        }
        let costs: [Bound<Money>; 3] = [
            (self.cost_per_day, SpendLimits::cost_per_day),
            (self.cost_per_month, SpendLimits::cost_per_month),
            (self.cost_total, SpendLimits::cost_total),
        ];
        for (limit, add) in costs {
            limits = limit.into_iter().fold(limits, add);
        }
        self.models
            .iter()
            .fold(limits, |limits, (model, of_model)| limits.for_model(name(model), of_model.to_spend(name)))
    }
}

/// A limit of the file, and the setter that adds it.
type Bound<T> = (Option<T>, fn(SpendLimits, T) -> SpendLimits);

/// The highest number that a shared store counts exactly.
pub(crate) const MAX_COUNT: u64 = 1 << 52;

/// All tables of limits have the same keys, so the guide describes them once.
const KIND: &str = "users.*.limits";

pub(super) fn read(mut t: Table<'_>) -> Limits {
    let models = t.tables_by_id("models", KIND).into_iter().map(|(id, mut t)| {
        let limits = read_numbers(&mut t);
        t.finish();
        (id.to_owned(), limits)
    });
    let models = models.collect();
    let limits = Limits { models, ..read_numbers(&mut t) };
    t.finish();
    limits
}

fn read_numbers(t: &mut Table<'_>) -> Limits {
    let limits = Limits {
        requests_per_minute: count(t, "requests_per_minute"),
        requests_per_hour: count(t, "requests_per_hour"),
        requests_per_day: count(t, "requests_per_day"),
        tokens_per_minute: count(t, "tokens_per_minute"),
        tokens_per_hour: count(t, "tokens_per_hour"),
        tokens_per_day: count(t, "tokens_per_day"),
        cost_per_day: cost(t, "cost_per_day"),
        cost_per_month: cost(t, "cost_per_month"),
        cost_total: cost(t, "cost_total"),
        max_concurrent_requests: count(t, "max_concurrent_requests"),
        models: IndexMap::new(),
    };
    let nanos = |money: Option<Money>| money.map(Money::nanos);
    let requests = ["requests_per_minute", "requests_per_hour", "requests_per_day"];
    in_order(t, requests, [limits.requests_per_minute, limits.requests_per_hour, limits.requests_per_day]);
    let tokens = ["tokens_per_minute", "tokens_per_hour", "tokens_per_day"];
    in_order(t, tokens, [limits.tokens_per_minute, limits.tokens_per_hour, limits.tokens_per_day]);
    let costs = ["cost_per_day", "cost_per_month", "cost_total"];
    in_order(t, costs, [nanos(limits.cost_per_day), nanos(limits.cost_per_month), nanos(limits.cost_total)]);
    limits
}

/// A limit of a longer window that is below that of a shorter one is a mistake.
fn in_order(t: &Table<'_>, keys: [&'static str; 3], limits: [Option<u64>; 3]) {
    let given: Vec<_> = keys.into_iter().zip(limits).filter_map(|(key, limit)| Some((key, limit?))).collect();
    for pair in given.windows(2) {
        let [(shorter, few), (longer, many)] = [pair[0], pair[1]];
        if few > many {
            t.error(longer, format_args!("is less than `{shorter}`, which could never be used up"));
        }
    }
}

fn count(t: &mut Table<'_>, key: &'static str) -> Option<u64> {
    let mut count = 0;
    t.whole(key, 1..=MAX_COUNT, &mut count);
    (count > 0).then_some(count)
}

fn cost(t: &mut Table<'_>, key: &'static str) -> Option<Money> {
    let cost = money(t, key)?;
    if cost == Money::ZERO || cost > Money::MAX_LIMIT {
        t.error(key, format_args!("must be more than 0 and at most {}", Money::MAX_LIMIT));
        return None;
    }
    Some(cost)
}

/// An amount of dollars, as text.
pub(super) fn money(t: &mut Table<'_>, key: &'static str) -> Option<Money> {
    if let Some(toml::de::DeValue::Integer(_) | toml::de::DeValue::Float(_)) = t.take(key) {
        t.error(key, "must be text, so that it is exact: write it in quotes, like `\"5.00\"`");
        return None;
    }
    let text = t.string(key)?;
    text.parse().map_err(|error| t.error(key, error)).ok()
}
